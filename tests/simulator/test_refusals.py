"""What a host may not ask: the kernel's refusals by errno, the firmware's by status."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import replace

import pytest

from tests.machines import machine
from tests.simulator import tiny
from tests.simulator.driving import POLICY, platform, run
from tests.simulator.tiny import MEMORY, PAGE
from wasmkeep.hardware import kvm_sev_calls, kvm_snp, machine_calls
from wasmkeep.hardware.calls import Call, File, IoctlRefused
from wasmkeep.hardware.connection import Connection, connect
from wasmkeep.hardware.frames import encode_call
from wasmkeep.hardware.sev_status import SevStatus

WINDOW = 0x20_0000


def changed(call: Call, segment: int, offset: int, value: bytes) -> Call:
    memory = list(call.memory)
    data = bytearray(memory[segment])
    data[offset : offset + len(value)] = value
    memory[segment] = bytes(data)
    return replace(call, memory=tuple(memory))


START = kvm_snp.snp_launch_start(POLICY)
UPDATE = kvm_snp.snp_launch_update(tiny.CODE, bytes(PAGE), PAGE, 1)
FINISH = kvm_snp.snp_launch_finish(bytes(32))
INIT2 = kvm_sev_calls.init2()
VMSA = machine_calls.set_vmsa(bytes(PAGE))

# What the kernel refuses before the firmware is asked: calls that go before, the call, and the errno.
KERNEL_REFUSALS: dict[str, tuple[list[Call], Call, int]] = {
    "launch before INIT2": ([], START, errno.ENOTTY),
    "INIT2 twice": ([INIT2], INIT2, errno.EINVAL),
    "INIT2 with a feature": ([], kvm_sev_calls.init2(vmsa_features=2), errno.EINVAL),
    "INIT2 with flags": ([], changed(INIT2, 1, 8, b"\1"), errno.EINVAL),
    "INIT2 for an older GHCB": ([], changed(INIT2, 1, 12, b"\1"), errno.EINVAL),
    "INIT2 with padding": ([], changed(INIT2, 1, 47, b"\1"), errno.EINVAL),
    "padding of the command": ([INIT2], changed(START, 0, 4, b"\1"), errno.EINVAL),
    "a SEV command": ([INIT2], changed(START, 0, 0, b"\2"), errno.EPERM),
    "an unknown SNP command": ([INIT2], changed(START, 0, 0, b"\xc8"), errno.EINVAL),
    "LAUNCH_START with flags": ([INIT2], changed(START, 1, 24, b"\1"), errno.EINVAL),
    "LAUNCH_START with padding": ([INIT2], changed(START, 1, 63, b"\1"), errno.EINVAL),
    "LAUNCH_UPDATE with flags": ([INIT2, START], changed(UPDATE, 1, 26, b"\1"), errno.EINVAL),
    "LAUNCH_UPDATE with padding": ([INIT2, START], changed(UPDATE, 1, 63, b"\1"), errno.EINVAL),
    "LAUNCH_UPDATE of a VMSA": ([INIT2, START], changed(UPDATE, 1, 24, b"\2"), errno.EINVAL),
    "LAUNCH_UPDATE of an unknown type": ([INIT2, START], changed(UPDATE, 1, 24, b"\7"), errno.EINVAL),
    "LAUNCH_UPDATE of nothing": ([INIT2, START], changed(UPDATE, 1, 16, bytes(8)), errno.EINVAL),
    "LAUNCH_UPDATE of half a page": ([INIT2, START], changed(UPDATE, 1, 16, b"\0\x08"), errno.EINVAL),
    "LAUNCH_UPDATE past the end": ([INIT2, START], changed(UPDATE, 1, 0, b"\0\x08"), errno.EINVAL),
    "LAUNCH_UPDATE of the window": ([INIT2, START], changed(UPDATE, 1, 0, b"\0\x02"), errno.EINVAL),
    "LAUNCH_UPDATE from nowhere": (
        [INIT2, START],
        replace(UPDATE, pointers=UPDATE.pointers[:1]),
        errno.EFAULT,
    ),
    "LAUNCH_FINISH without a VMSA": ([INIT2, START], FINISH, errno.EINVAL),
    "LAUNCH_FINISH with flags": ([INIT2, START, VMSA], changed(FINISH, 1, 54, b"\1"), errno.EINVAL),
    "LAUNCH_FINISH with padding": ([INIT2, START, VMSA], changed(FINISH, 1, 51, b"\1"), errno.EINVAL),
    "LAUNCH_FINISH with a switch of 2": ([INIT2, START, VMSA], changed(FINISH, 1, 18, b"\2"), errno.EINVAL),
    "LAUNCH_FINISH without its ID block": ([INIT2, START, VMSA], changed(FINISH, 1, 16, b"\1"), errno.EFAULT),
    "a second guest": ([], machine_calls.create_guest(MEMORY), errno.EBUSY),
    "an ioctl of no VM": ([], Call("X", File.VM, 0xAE41, (bytes(24),)), errno.ENOTTY),
    "an ioctl of no vCPU": ([], Call("X", File.VCPU, 0xAE81, (bytes(8),)), errno.ENOTTY),
    "an ioctl of /dev/kvm": ([], Call("X", File.KVM, 0xAE01, scalar=4), errno.ENOTTY),
    "an operation of no machine": ([], Call("X", File.MACHINE, 9), errno.ENOTTY),
    "a VMSA from nowhere": ([], replace(VMSA, pointers=()), errno.EFAULT),
    "running what is not launched": ([INIT2, START], machine_calls.run(), errno.EPERM),
}
FIRMWARE_REFUSALS: dict[str, tuple[list[Call], Call, SevStatus]] = {
    "LAUNCH_UPDATE before LAUNCH_START": ([INIT2], UPDATE, SevStatus.INVALID_GUEST_STATE),
    "LAUNCH_FINISH before LAUNCH_START": ([INIT2, VMSA], FINISH, SevStatus.INVALID_GUEST_STATE),
    "LAUNCH_START twice": ([INIT2, START], START, SevStatus.INVALID_GUEST_STATE),
    "LAUNCH_FINISH twice": ([INIT2, START, VMSA, FINISH], FINISH, SevStatus.INVALID_GUEST_STATE),
    "LAUNCH_UPDATE after LAUNCH_FINISH": (
        [INIT2, START, VMSA, FINISH],
        UPDATE,
        SevStatus.INVALID_GUEST_STATE,
    ),
    "a page twice": ([INIT2, START, UPDATE], UPDATE, SevStatus.INVALID_PAGE_STATE),
    "a bad policy": ([INIT2], kvm_snp.snp_launch_start(0x1_0000), SevStatus.POLICY_FAILURE),
}


async def answers(before: list[Call], call: Call) -> list[int]:
    connection = Connection(connect(machine(cpu="process").socket))
    try:
        calls = [machine_calls.create_guest(MEMORY), *before, call]
        results = []
        for answer in connection.submit([encode_call(each) for each in calls]):
            done = await answer
            if done.descriptor is not None:
                os.close(done.descriptor)
            results.append(done)
        assert [each.result.value for each in results[:-1]] == [0] * (len(calls) - 1)
        last = results[-1].result
        error = struct.unpack_from("<I", last.memory[0], 16)[0] if call.file is File.VM else 0
        return [last.value, error]
    finally:
        await connection.close()


@pytest.mark.parametrize("name", KERNEL_REFUSALS)
def test_what_the_kernel_refuses(name: str) -> None:
    before, call, number = KERNEL_REFUSALS[name]
    assert run(answers(before, call))[0] == -number


@pytest.mark.parametrize("name", FIRMWARE_REFUSALS)
def test_what_the_firmware_refuses(name: str) -> None:
    before, call, status = FIRMWARE_REFUSALS[name]
    assert run(answers(before, call)) == [-errno.EIO, status]


def test_an_update_comes_back_advanced_as_the_kernel_does() -> None:
    async def test() -> None:
        connection = Connection(connect(machine(cpu="process").socket))
        calls = [machine_calls.create_guest(MEMORY), INIT2, START, UPDATE]
        done = [await answer for answer in connection.submit([encode_call(each) for each in calls])]
        os.close(done[0].descriptor or 0)
        after = kvm_snp.KvmSevSnpLaunchUpdate.from_buffer_copy(done[-1].result.memory[1])
        assert (after.gfn_start, after.len) == (tiny.CODE // PAGE + 1, 0)
        await connection.close()

    run(test())


@pytest.mark.parametrize("memory", [0, 1 << 20, (8 << 20) + PAGE, 1 << 50])
def test_memory_a_guest_cannot_have_is_refused(memory: int) -> None:
    async def test() -> None:
        async with platform("process") as on:
            with pytest.raises(IoctlRefused) as refused:
                await on.create_guest(memory)
            assert refused.value.number == errno.EINVAL

    run(test())


def test_another_guests_context_and_unknown_commands_are_refused_by_the_firmware() -> None:
    request = machine_calls.guest_request(WINDOW, WINDOW + PAGE)
    foreign = changed(request, 0, 0, b"\1")
    unknown = replace(request, number=machine_calls.MachineOperation.FIRMWARE + 0xB0)
    for call, status in (
        (foreign, SevStatus.INVALID_GUEST),
        (unknown, SevStatus.INVALID_COMMAND),
        (request, SevStatus.INVALID_GUEST_STATE),
    ):
        assert run(answers([INIT2, START], call))[0] == status
