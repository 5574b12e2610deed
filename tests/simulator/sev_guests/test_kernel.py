"""What KVM itself refuses of SEV's commands, before the firmware hears of them; key slots; small print."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from tests.machines import machine
from tests.simulator.driving import run
from tests.simulator.sev_guests.driving import KVM, MACHINE_CPU, MEMORY, PAGE, bare_platform
from wasmkeep.hardware import kvm_sev_calls, kvm_snp, machine_calls
from wasmkeep.hardware import kvm_structures as k
from wasmkeep.hardware.calls import Call, File, IoctlRefused
from wasmkeep.hardware.connection import Answer, Connection, connect
from wasmkeep.hardware.frames import encode_call
from wasmkeep.hardware.kvm_sev import KvmSevCmd, KvmSevInit, SevCmdId, VmType, command
from wasmkeep.hardware.machine_calls import GUEST_HVA, CpuChoice, GuestFlags
from wasmkeep.hardware.reset_state import reset_vmsa
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.hardware.simulated import Platform

pytestmark = pytest.mark.skipif(MACHINE_CPU != "kvm", reason="/dev/kvm is not here or not permitted")


def create(vm_type: VmType, memory: int = MEMORY, flags: GuestFlags = GuestFlags(0)) -> Call:  # noqa: B008
    return machine_calls.create_guest(memory, vm_type, flags=flags)


PLAIN_VM, SEV_VM = create(VmType.DEFAULT), create(VmType.SEV)
ES_VM = create(VmType.SEV_ES, 8 << 20, GuestFlags.WINDOW)
SNP_VM = create(VmType.SNP, 8 << 20, GuestFlags.WINDOW)
INIT, ES_INIT = kvm_sev_calls.init(), kvm_sev_calls.es_init()
INIT2, ES_INIT2 = kvm_sev_calls.init2(ghcb_version=0), kvm_sev_calls.init2()
START = kvm_sev_calls.launch_start(1)
SEV_GUEST = (SEV_VM, INIT2, START)
HALF_PAGE = GUEST_HVA + PAGE // 2


def spoilt_init(**fields: int) -> Call:
    return command(SevCmdId.INIT2, bytes(KvmSevInit(**fields)))


REFUSALS: dict[str, tuple[Sequence[Call], Call, int]] = {
    "no guest": ((), START, errno.EBADF),
    "an unknown VM type": ((), create(VmType.TDX), errno.EINVAL),
    "software protection": ((), create(VmType.SW_PROTECTED), errno.EINVAL),
    "half a page of memory": ((), create(VmType.SEV, PAGE // 2), errno.EINVAL),
    "no memory": ((), create(VmType.SEV, 0), errno.EINVAL),
    "a keep of 64 KiB": ((), create(VmType.SEV, MEMORY, GuestFlags.WINDOW), errno.EINVAL),
    "a bare SNP guest": ((), create(VmType.SNP), errno.EOPNOTSUPP),
    "a bare SEV-ES guest on a CPU without #VC": ((), create(VmType.SEV_ES), errno.EOPNOTSUPP),
    "a keep on the emulated CPU": (
        (),
        machine_calls.create_guest(8 << 20, VmType.SEV, cpu=CpuChoice.EMULATED),
        errno.EOPNOTSUPP,
    ),
    "two guests": ((SEV_VM,), SEV_VM, errno.EBUSY),
    "INIT2 of a plain VM": ((PLAIN_VM,), INIT2, errno.EINVAL),
    "INIT of a SEV VM": ((SEV_VM,), INIT, errno.EINVAL),
    "ES_INIT of a SEV-ES VM": ((ES_VM,), ES_INIT, errno.EINVAL),
    "INIT2 twice": ((SEV_VM, INIT2), INIT2, errno.EINVAL),
    "INIT twice": ((PLAIN_VM, INIT), INIT, errno.EINVAL),
    "ES_INIT once registers were set": (
        (PLAIN_VM, machine_calls.set_regs(k.Regs(rip=PAGE, rflags=2))),
        ES_INIT,
        errno.EINVAL,
    ),
    "ES_INIT once there is an initial state": (
        (PLAIN_VM, machine_calls.set_vmsa(reset_vmsa(PAGE))),
        ES_INIT,
        errno.EINVAL,
    ),
    "INIT2 with flags": ((SEV_VM,), spoilt_init(flags=1), errno.EINVAL),
    "INIT2 with a feature": ((SEV_VM,), spoilt_init(vmsa_features=2), errno.EINVAL),
    "INIT2 with a GHCB for plain SEV": ((SEV_VM,), ES_INIT2, errno.EINVAL),
    "INIT2 with a GHCB that nobody knows": ((ES_VM,), kvm_sev_calls.init2(ghcb_version=3), errno.EINVAL),
    "a launch before INIT": ((SEV_VM,), START, errno.ENOTTY),
    "a region before INIT": ((SEV_VM,), kvm_sev_calls.register_region(GUEST_HVA, PAGE), errno.ENOTTY),
    "SNP's launch of a SEV guest": ((SEV_VM, INIT2), kvm_snp.snp_launch_start(0x3_0000), errno.EINVAL),
    "SEV's launch of an SNP guest": ((SNP_VM, ES_INIT2), START, errno.EPERM),
    "GUEST_STATUS of an SNP guest": ((SNP_VM, ES_INIT2), kvm_sev_calls.guest_status(), errno.EPERM),
    "LAUNCH_UPDATE_VMSA without SEV-ES": (SEV_GUEST, kvm_sev_calls.launch_update_vmsa(), errno.ENOTTY),
    "LAUNCH_UPDATE_VMSA without a state": (
        (ES_VM, ES_INIT2, kvm_sev_calls.launch_start(5)),
        kvm_sev_calls.launch_update_vmsa(),
        errno.EINVAL,
    ),
    "SEND_UPDATE_VMSA": (SEV_GUEST, command(SevCmdId.SEND_UPDATE_VMSA), errno.EINVAL),
    "RECEIVE_UPDATE_VMSA": (SEV_GUEST, command(SevCmdId.RECEIVE_UPDATE_VMSA), errno.EINVAL),
    "CERT_EXPORT": (SEV_GUEST, command(SevCmdId.CERT_EXPORT), errno.EINVAL),
    "LAUNCH_UPDATE_DATA of nothing": (
        SEV_GUEST,
        kvm_sev_calls.launch_update_data(GUEST_HVA, 0),
        errno.EINVAL,
    ),
    "LAUNCH_UPDATE_DATA past the end": (
        SEV_GUEST,
        kvm_sev_calls.launch_update_data(GUEST_HVA + MEMORY - 16, 32),
        errno.EFAULT,
    ),
    "LAUNCH_UPDATE_DATA before the beginning": (
        SEV_GUEST,
        kvm_sev_calls.launch_update_data(GUEST_HVA - 16, 32),
        errno.EFAULT,
    ),
    "LAUNCH_UPDATE_DATA around the end of the world": (
        SEV_GUEST,
        kvm_sev_calls.launch_update_data((1 << 64) - 16, 32),
        errno.EINVAL,
    ),
    "a measurement larger than any blob": (SEV_GUEST, kvm_sev_calls.launch_measure(0x4001), errno.EINVAL),
    "a secret without header": (
        SEV_GUEST,
        kvm_sev_calls.launch_secret(b"", GUEST_HVA, bytes(16)),
        errno.EINVAL,
    ),
    "a secret of nothing": (SEV_GUEST, kvm_sev_calls.launch_secret(bytes(52), GUEST_HVA, b""), errno.EINVAL),
    "a secret for another process": (
        SEV_GUEST,
        kvm_sev_calls.launch_secret(bytes(52), 0x1000, bytes(16)),
        errno.EFAULT,
    ),
    "a report larger than any blob": (
        SEV_GUEST,
        kvm_sev_calls.attestation_report(bytes(16), 0x4001),
        errno.EINVAL,
    ),
    "a journey to nobody": (SEV_GUEST, kvm_sev_calls.send_start(b"", b"", b""), errno.EINVAL),
    "a packet across pages": (SEV_GUEST, kvm_sev_calls.send_update_data(HALF_PAGE, PAGE), errno.EINVAL),
    "an arrival of nobody": (
        (SEV_VM, INIT2),
        kvm_sev_calls.receive_start(1, b"", b""),
        errno.EINVAL,
    ),
    "a packet into two pages": (
        SEV_GUEST,
        kvm_sev_calls.receive_update_data(bytes(52), HALF_PAGE, bytes(PAGE)),
        errno.EINVAL,
    ),
    "a packet without header": (
        SEV_GUEST,
        kvm_sev_calls.receive_update_data(b"", GUEST_HVA, bytes(16)),
        errno.EINVAL,
    ),
    "debugging nothing": (SEV_GUEST, kvm_sev_calls.dbg_decrypt(GUEST_HVA, 0), errno.EINVAL),
    "a region of nothing": (SEV_GUEST, kvm_sev_calls.register_region(GUEST_HVA, 0), errno.EINVAL),
    "a region past the end": (SEV_GUEST, kvm_sev_calls.register_region(GUEST_HVA, MEMORY + 1), errno.EFAULT),
    "a region that is none": (SEV_GUEST, kvm_sev_calls.unregister_region(GUEST_HVA, PAGE), errno.EINVAL),
    "registers of an SNP guest": ((SNP_VM,), machine_calls.get_regs(), errno.EINVAL),
    "registers of a SEV-ES guest": ((ES_VM, ES_INIT2), machine_calls.get_xsave(), errno.EINVAL),
    "setting those of a SEV-ES guest": ((ES_VM,), machine_calls.set_regs(k.Regs()), errno.EINVAL),
    "a write into an SNP guest": ((SNP_VM,), machine_calls.host_write(0x1000, b"x"), errno.EFAULT),
    "a look from nowhere": ((SEV_VM,), Call("x", File.MACHINE, 4, (bytes(24),)), errno.EFAULT),
    "padding": (
        (SEV_VM,),
        Call("x", INIT2.file, INIT2.number, (bytes(KvmSevCmd(id=22, pad0=1)),)),
        errno.EINVAL,
    ),
}


async def answers(calls: Sequence[Call]) -> list[Answer]:
    connection = Connection(connect(machine(cpu=MACHINE_CPU).socket))
    try:
        futures = connection.submit([encode_call(call) for call in calls])
        return [await future for future in futures]
    finally:
        await connection.close()


@pytest.mark.parametrize("name", REFUSALS)
def test_what_kvm_refuses(name: str) -> None:
    before, call, number = REFUSALS[name]
    *done, last = run(answers((*before, call)))
    assert [answer.result.value for answer in done] == [0] * len(before)
    assert last.result.value == -number


FIRMWARE_REFUSALS: dict[str, tuple[Sequence[Call], Call, SevStatus]] = {
    "an address inside a block": (
        SEV_GUEST,
        kvm_sev_calls.launch_update_data(GUEST_HVA + 8, 16),
        SevStatus.INVALID_ADDRESS,
    ),
    "half a block": (SEV_GUEST, kvm_sev_calls.launch_update_data(GUEST_HVA, 24), SevStatus.INVALID_LENGTH),
    "finishing what was not measured": (
        SEV_GUEST,
        kvm_sev_calls.launch_finish(),
        SevStatus.INVALID_GUEST_STATE,
    ),
    "a launch in a slot that is taken": (SEV_GUEST, START, SevStatus.ASID_OWNED),
    "a command without a guest": (
        (SEV_VM, INIT2),
        kvm_sev_calls.launch_measure(),
        SevStatus.INVALID_PLATFORM_STATE,
    ),
    "sending what does not run": (
        SEV_GUEST,
        kvm_sev_calls.send_finish(),
        SevStatus.INVALID_GUEST_STATE,
    ),
    "receiving what was launched here": (
        SEV_GUEST,
        kvm_sev_calls.receive_finish(),
        SevStatus.INVALID_GUEST_STATE,
    ),
}


@pytest.mark.parametrize("name", FIRMWARE_REFUSALS)
def test_what_the_firmware_refuses_through_kvm(name: str) -> None:
    before, call, status = FIRMWARE_REFUSALS[name]
    *done, last = run(answers((*before, call)))
    assert [answer.result.value for answer in done] == [0] * len(before)
    assert last.result.value == -errno.EIO
    assert KvmSevCmd.from_buffer_copy(last.result.memory[0]).error == status


QUERIES = {
    "LAUNCH_MEASURE": ((), kvm_sev_calls.launch_measure(0), 48),
    "GET_ATTESTATION_REPORT": (
        (kvm_sev_calls.launch_measure(),),
        kvm_sev_calls.attestation_report(bytes(16), 0),
        208,
    ),
    "SEND_START": (
        (kvm_sev_calls.launch_measure(), kvm_sev_calls.launch_finish()),
        kvm_sev_calls.send_start(b"x", b"x", b"x", 0),
        128,
    ),
}


@pytest.mark.parametrize("name", QUERIES)
def test_queries_say_how_much_room_an_answer_takes(name: str) -> None:
    before, call, needed = QUERIES[name]
    last = run(answers((*SEV_GUEST, *before, call)))[-1]
    assert last.result.value == -errno.EIO
    assert KvmSevCmd.from_buffer_copy(last.result.memory[0]).error == SevStatus.INVALID_LENGTH
    assert kvm_sev_calls.needed_length(call, last.result) == needed


@pytest.mark.parametrize("cpu", [KVM])
def test_the_older_ways_make_sev_and_sev_es_guests(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on:
            async with await on.create_sev_guest(MEMORY, VmType.DEFAULT, cpu=cpu) as guest:
                await guest.init()
                await guest.launch_start(1)
                with pytest.raises(IoctlRefused) as refused:
                    await guest.run()
                assert refused.value.number == errno.EPERM
                await guest.registers()
            async with await on.create_sev_guest(8 << 20, VmType.DEFAULT, cpu=cpu, window=True) as guest:
                await guest.init(es=True)
                await guest.launch_start(5)
                with pytest.raises(IoctlRefused) as refused:
                    await guest.registers()
                assert refused.value.number == errno.EINVAL

    run(test())


@pytest.mark.parametrize("cpu", [KVM])
def test_regions_are_given_back_as_they_were_taken(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on, await on.create_sev_guest(MEMORY, cpu=cpu) as guest:
            await guest.register_region(0, MEMORY)
            with pytest.raises(IoctlRefused):
                await guest.unregister_region(0, PAGE)
            await guest.unregister_region(0, MEMORY)
            with pytest.raises(IoctlRefused):
                await guest.unregister_region(0, MEMORY)

    run(test())


SLOTS = ("--slots", "5", "--min-sev-asid", "4")  # three for SEV-ES and SNP, two for plain SEV


async def refused_slot(on: Platform, vm_type: VmType) -> None:
    window = vm_type is not VmType.SEV
    with pytest.raises(FirmwareError) as refused:
        await on.create_sev_guest(8 << 20, vm_type, window=window)
    assert (refused.value.command, refused.value.status) == ("INIT2", SevStatus.RESOURCE_LIMIT)


def test_key_slots_run_out_and_come_back_flushed() -> None:
    async def test() -> None:
        async with bare_platform(*SLOTS) as on:
            tees = {tee.kind: tee.slots for tee in on.description.tees}
            assert tees == {"snp": 3, "sev-es": 3, "sev": 2}
            plain = [await on.create_sev_guest(MEMORY) for _ in range(2)]
            await refused_slot(on, VmType.SEV)
            es = [await on.create_sev_guest(8 << 20, VmType.SEV_ES, window=True) for _ in range(3)]
            await refused_slot(on, VmType.SEV_ES)
            for guest in plain:
                await guest.launch_start(1)
            for _ in range(5):  # each time in a slot that was somebody's
                await plain.pop(0).close()
                plain.append(await on.create_sev_guest(MEMORY))
                await plain[-1].launch_start(1)
            await es.pop().close()
            es.append(await on.create_sev_guest(8 << 20, VmType.SEV_ES, window=True))
            for guest in (*plain, *es):
                await guest.close()
            assert (await on.sev_status()).guest_count == 0

    run(test())


def test_snp_and_sev_es_guests_share_their_slots() -> None:
    async def test() -> None:
        async with bare_platform(*SLOTS) as on:
            es = [await on.create_sev_guest(8 << 20, VmType.SEV_ES, window=True) for _ in range(3)]
            snp = await on.create_guest(8 << 20)
            with pytest.raises(FirmwareError) as refused:
                await snp.launch_start(0x3_0000)
            assert refused.value.status == SevStatus.RESOURCE_LIMIT
            await es.pop().close()
            await snp.launch_start(0x3_0000)
            await refused_slot(on, VmType.SEV_ES)
            for guest in es:
                await guest.close()
            await snp.close()

    run(test())


def test_a_machine_of_the_first_generation_has_fifteen_slots_and_no_snp() -> None:
    async def test() -> None:
        opened = await Platform.open(machine(product="naples", cpu=MACHINE_CPU).socket)
        try:
            kinds = {tee.kind: tee.slots for tee in opened.description.tees}
            assert "snp" not in kinds
            assert opened.description.slots + opened.description.sev_slots == 15
            guests = [await opened.create_sev_guest(MEMORY) for _ in range(kinds["sev"])]
            await refused_slot(opened, VmType.SEV)
            for guest in guests:
                await guest.close()
            with pytest.raises(IoctlRefused) as refused:
                await opened.create_guest(8 << 20)
            assert refused.value.number == errno.EINVAL
        finally:
            await opened.close()

    run(test())
