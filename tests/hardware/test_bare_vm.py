"""A bare machine on this computer's KVM: in the open where there is no SEV, and then it says so."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Iterator

import pytest

from tests.machines import HAS_KVM
from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware import bare_vm, kvm_sev
from wasmkeep.hardware import kvm_structures as k
from wasmkeep.hardware.bare_vm import BareVm, Encryption, RealSevPlatform
from wasmkeep.hardware.calls import Call, IoctlRefused, Result
from wasmkeep.hardware.kvm import INTERRUPT_SIGNAL, Kvm
from wasmkeep.hardware.kvm_sev import KvmSevCmd, SevCmdId
from wasmkeep.hardware.machine_calls import View
from wasmkeep.hardware.machine_guest import ExitKind
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus

MEMORY = 64 << 10
CODE = 0x1000
# mov al, 3; add al, 4; mov dx, 0x3f8; out dx, al; hlt
ADD = bytes.fromhex("b003 0404 baf803 ee f4")

needs_kvm = [
    pytest.mark.kvm,
    pytest.mark.skipif(not HAS_KVM, reason="/dev/kvm is not here or not permitted"),
]
pytestmark = needs_kvm


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(INTERRUPT_SIGNAL)
    yield
    signal.signal(INTERRUPT_SIGNAL, before)


async def prepared(program: bytes = ADD, encryption: Encryption = Encryption.NONE) -> BareVm:
    vm = await BareVm.create(MEMORY, encryption)
    await vm.host_write(CODE, program)
    await vm.set_entry(CODE)
    return vm


def test_it_says_seven_and_that_it_is_not_encrypted() -> None:
    async def test() -> None:
        async with await prepared() as vm:
            out = await vm.run()
            assert (out.kind, out.port, out.data) == (ExitKind.OUTPUT, 0x3F8, b"\x07")
            assert (await vm.registers()).general["rax"] & 0xFF == 7
            assert (await vm.run()).kind is ExitKind.HALTED
            assert await vm.host_read(CODE, len(ADD)) == ADD
            assert (vm.encrypted, vm.reason) == (False, "encryption was not asked for")

    asyncio.run(test())


def test_descriptors_come_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        test_it_says_seven_and_that_it_is_not_encrypted()
    assert len(os.listdir("/proc/self/fd")) == before


def test_inputs_are_answered() -> None:
    program = bytes.fromhex("e420 e621 b80010 8ed8 a00000 e622 f4")

    async def test() -> None:
        async with await prepared(program) as vm:
            assert (await vm.run()).kind is ExitKind.INPUT
            assert (await vm.run(b"\x5a")).data == b"\x5a"
            load = await vm.run()
            assert (load.kind, load.gpa, load.size) == (ExitKind.MMIO, 0x1_0000, 1)
            assert (await vm.run(b"\xa5")).data == b"\xa5"

    asyncio.run(test())


def test_it_is_interrupted_cancelled_and_closed_while_it_runs() -> None:
    async def test() -> None:
        vm = await prepared(b"\xeb\xfe")
        running = asyncio.ensure_future(vm.run())
        await asyncio.sleep(0.05)
        await vm.interrupt()
        assert (await running).kind is ExitKind.INTERRUPTED
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await vm.run()
        running = asyncio.ensure_future(vm.run())
        await asyncio.sleep(0.05)
        await vm.close()
        assert (await running).kind is ExitKind.ENDED
        await vm.close()

    asyncio.run(test())


def test_what_only_an_encrypted_machine_takes_is_refused_by_name() -> None:
    async def test() -> None:
        async with await prepared() as vm:
            for action in (vm.launch_start(1), vm.launch_measure(), vm.attestation_report(bytes(16))):
                with pytest.raises(PlatformUnavailable) as refused:
                    await action
                assert refused.value.check == "platform.vm.unencrypted"
            with pytest.raises(PlatformUnavailable) as refused:
                await vm.host_read(0, 16, View.COLD_BOOT)
            assert refused.value.check == "platform.vm.view"
            with pytest.raises(IoctlRefused):
                await vm.host_read(MEMORY - 1, 2)

    asyncio.run(test())


def test_a_real_mode_entry_is_below_one_mebibyte() -> None:
    async def test() -> None:
        async with await prepared() as vm:
            with pytest.raises(ValueError, match="1 MiB"):
                await vm.set_entry(1 << 20)

    asyncio.run(test())


def refusal(path: str, error: OSError) -> object:
    real = os.open

    def opened(name: str, *arguments: int) -> int:
        if name == path:
            raise error
        return real(name, *arguments)

    return opened


MISSING = {
    "platform.device.absent": FileNotFoundError(errno.ENOENT, "No such file or directory"),
    "platform.device.permission": PermissionError(errno.EACCES, "Permission denied"),
    "platform.device.unusable": OSError(errno.ENODEV, "No such device"),
}


@pytest.mark.parametrize("device", ["/dev/kvm", "/dev/sev"])
@pytest.mark.parametrize("check", MISSING)
def test_what_is_missing_is_told_apart(monkeypatch: pytest.MonkeyPatch, device: str, check: str) -> None:
    monkeypatch.setattr(os, "open", refusal(device, MISSING[check]))
    with pytest.raises(PlatformUnavailable) as refused:
        asyncio.run(BareVm.create(MEMORY, Encryption.REQUIRED))
    assert refused.value.check == check
    assert device in refused.value.message
    if device == "/dev/sev":
        with pytest.raises(PlatformUnavailable) as refused:
            RealSevPlatform()
        assert refused.value.check == check

    async def in_the_open() -> str:
        async with await prepared(encryption=Encryption.WHERE_POSSIBLE) as vm:
            assert not vm.encrypted
            assert (await vm.run()).data == b"\x07"
            return vm.reason

    if device == "/dev/sev":
        assert "/dev/sev" in asyncio.run(in_the_open())


class Sev:
    """A KVM with SEV in front of the real one: its own commands are answered here, as a kernel's would be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, types: int, init: int = 0, status: int = 0) -> None:
        """`init` is the errno of INIT and INIT2, `status` the firmware's where it is EIO."""
        self.seen: list[tuple[str, int]] = []
        self._init, self._status = init, status
        real = os.open

        def opened(name: str, *arguments: int) -> int:
            return real("/dev/null" if name == "/dev/sev" else name, *arguments)

        create = Kvm.create_vm
        monkeypatch.setattr(os, "open", opened)
        monkeypatch.setattr(Kvm, "vm_types", lambda _: types)
        monkeypatch.setattr(Kvm, "create_vm", lambda kvm, _type=0: create(kvm))
        monkeypatch.setattr(bare_vm, "perform", self.perform)

    def perform(self, _descriptor: int, call: Call) -> Result:
        if call.number != kvm_sev.KVM_MEMORY_ENCRYPT_OP:
            self.seen.append((call.name, 0))
            return Result(0, call.memory)
        argument = KvmSevCmd.from_buffer_copy(call.memory[0])
        self.seen.append((call.name, argument.sev_fd))
        if self._init and argument.id in (SevCmdId.INIT, SevCmdId.INIT2):
            argument.error = self._status
            return Result(-self._init, (bytes(argument), *call.memory[1:]))
        return Result(0, call.memory)


@pytest.mark.parametrize(("types", "init"), [(0b11101, "INIT2"), (1, "INIT")])
def test_where_the_processor_can_it_is_encrypted(
    monkeypatch: pytest.MonkeyPatch, types: int, init: str
) -> None:
    sev = Sev(monkeypatch, types)

    async def test() -> None:
        async with await BareVm.create(MEMORY) as vm:
            assert (vm.encrypted, vm.reason) == (True, "")
            await vm.launch_start(1)
            await vm.launch_update_data(CODE, ADD.ljust(16, b"\xf4"))
            await vm.launch_measure()
            await vm.launch_finish()

    asyncio.run(test())
    names = [name for name, _ in sev.seen]
    launch = ["LAUNCH_START", "LAUNCH_UPDATE_DATA", "LAUNCH_MEASURE", "LAUNCH_FINISH"]
    assert names == [init, "REG_REGION", *launch]
    descriptors = {descriptor for name, descriptor in sev.seen if name != "REG_REGION"}
    assert len(descriptors) == 1
    assert descriptors.pop() > 2


def test_a_kernel_without_the_feature_is_a_third_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Sev(monkeypatch, types=1, init=errno.ENOTTY)
    with pytest.raises(PlatformUnavailable) as refused:
        asyncio.run(BareVm.create(MEMORY, Encryption.REQUIRED))
    assert refused.value.check == "platform.kvm.sev"

    async def test() -> None:
        async with await BareVm.create(MEMORY) as vm:
            assert not vm.encrypted
            assert "makes no SEV guests" in vm.reason

    asyncio.run(test())


@pytest.mark.parametrize(
    ("number", "status", "expected"),
    [
        (errno.EIO, SevStatus.HWERROR_UNSAFE, SevStatus.HWERROR_UNSAFE),
        (errno.EBUSY, 0, SevStatus.RESOURCE_LIMIT),
    ],
)
def test_a_platform_that_refuses_is_a_fourth(
    monkeypatch: pytest.MonkeyPatch, number: int, status: int, expected: SevStatus
) -> None:
    Sev(monkeypatch, types=0b100, init=number, status=status)
    with pytest.raises(FirmwareError) as refused:
        asyncio.run(BareVm.create(MEMORY, Encryption.REQUIRED))
    assert refused.value.status == expected


def test_the_kernels_answer_about_types_is_asked_for() -> None:
    kvm = Kvm()
    try:
        assert kvm.vm_types() & 1
        assert k.CAP_VM_TYPES == 235
    finally:
        kvm.close()
