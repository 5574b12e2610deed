"""The platform's commands through the kernel's ioctl, to the simulator and by raw pointers: one suite for
both.

The second way is how a real ``/dev/sev`` is driven: `calls.perform` puts memory at real addresses, and a
stand-in for the kernel reads and writes it there.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.simulator.bench import Bench, configuration
from wasmkeep.hardware import psp_sev
from wasmkeep.hardware.calls import Call, File, IoctlRefused, Pointer, Result, perform
from wasmkeep.hardware.frames import decode_reply, decode_request, encode_call, encode_reply, result_memory
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.simulator.board import Board, HostConnection
from wasmkeep.simulator.cpu import CpuKind, GuestCpu, GuestPlan
from wasmkeep.simulator.guest_factory import GuestFactory
from wasmkeep.simulator.products import PRODUCTS
from wasmkeep.simulator.sev_device import SevDevice
from wasmkeep.simulator.sev_kernel import SevKernel
from wasmkeep.simulator.user_memory import UserMemory


class NoCpu:
    """A board without a processor for guests."""

    name, reason = "kvm", ""

    def create(self, plan: GuestPlan) -> GuestCpu:
        raise OSError(errno.ENOMEM, "no guests here")

    def close(self) -> None:
        pass


class RawMemory(UserMemory):
    """This process's own memory, as a kernel reaches it."""

    def __init__(self) -> None:
        super().__init__([])

    def view(self, address: int, size: int) -> bytes:
        return ctypes.string_at(address, size)

    def write(self, address: int, data: bytes) -> None:
        ctypes.memmove(address, data, len(data))


Device = Callable[[Bench, Call], Result]


def device_of(bench: Bench) -> SevDevice:
    return SevDevice(bench.processor, SevKernel(bench.processor.sev, bench.processor.slots, snp=True))


def by_frames(bench: Bench, call: Call) -> Result:
    cpu: CpuKind = NoCpu()
    kernel = SevKernel(bench.processor.sev, bench.processor.slots, snp=True)
    factory = GuestFactory(bench.processor, kernel, cpu)
    host = HostConnection(Board(device_of(bench), factory, {}))
    request = decode_request(memoryview(b"".join(encode_call(call).buffers)))
    reply, _ = host.perform(request)
    arrived = decode_reply(memoryview(encode_reply(reply)))
    return Result(arrived.value, result_memory(call, arrived))


def by_pointers(bench: Bench, call: Call) -> Result:
    def ioctl(_descriptor: int, number: int, argument: int) -> int:
        value = device_of(bench).ioctl(number, argument, RawMemory())
        if value < 0:
            raise OSError(-value, "as a kernel says it")
        return value

    return perform(3, call, ioctl)


@pytest.fixture(params=[by_frames, by_pointers], ids=["frames", "pointers"])
def device(request: pytest.FixtureRequest) -> Device:
    result: Device = request.param
    return result


def done(device: Device, bench: Bench, call: Call) -> tuple[bytes, ...]:
    return psp_sev.check(call, device(bench, call))


def test_status_says_versions_tcbs_and_guests(device: Device) -> None:
    bench = Bench(configuration("turin"))
    bench.started()
    status = psp_sev.decode_status(done(device, bench, psp_sev.snp_platform_status()))
    firmware = bench.settings.firmware
    assert (status.api_major, status.api_minor, status.build) == (
        firmware.major,
        firmware.minor,
        firmware.build,
    )
    assert status.initialized
    assert status.guest_count == 1
    assert (status.current_tcb, status.reported_tcb) == (
        bench.settings.current_tcb,
        bench.settings.reported_tcb,
    )
    assert not (status.mask_chip_id)
    assert not (status.mask_chip_key)
    assert not (status.vlek_loaded)


def test_configuration_is_set_and_shown(device: Device) -> None:
    bench = Bench()
    older = bench.settings.reported_tcb - 1
    done(device, bench, psp_sev.snp_set_config(reported_tcb=older, mask_chip_id=True, mask_chip_key=True))
    status = psp_sev.decode_status(done(device, bench, psp_sev.snp_platform_status()))
    assert (status.reported_tcb, status.mask_chip_id, status.mask_chip_key) == (older, True, True)
    assert bench.endorsed == [bench.settings.reported_tcb, older]
    done(device, bench, psp_sev.snp_set_config(reported_tcb=0))
    status = psp_sev.decode_status(done(device, bench, psp_sev.snp_platform_status()))
    assert (status.reported_tcb, status.mask_chip_id) == (bench.settings.committed_tcb, False)


BAD_TCBS = {"boot loader": 1, "SNP": 1 << 48, "microcode": 1 << 56, "reserved": 1 << 16}


@pytest.mark.parametrize("component", BAD_TCBS)
def test_no_component_may_be_reported_above_the_committed(device: Device, component: str) -> None:
    bench = Bench()
    call = psp_sev.snp_set_config(reported_tcb=bench.settings.committed_tcb + BAD_TCBS[component])
    with pytest.raises(FirmwareError) as refused:
        done(device, bench, call)
    assert refused.value.status == SevStatus.INVALID_PARAM
    assert bench.processor.configuration == bench.settings


@pytest.mark.parametrize("position", [8, 12, 63])
def test_reserved_bits_of_a_configuration_are_refused(device: Device, position: int) -> None:
    bench = Bench()
    good = psp_sev.snp_set_config(reported_tcb=0)
    spoilt = bytearray(good.memory[1])
    spoilt[position] |= 0x80
    call = Call(good.name, good.file, good.number, (good.memory[0], bytes(spoilt)), good.pointers)
    with pytest.raises(FirmwareError) as refused:
        done(device, bench, call)
    assert refused.value.status == SevStatus.INVALID_PARAM


def test_commit_makes_the_running_firmware_the_least(device: Device) -> None:
    facts = configuration()
    bench = Bench(configuration(committed_tcb=facts.current_tcb - 1, reported_tcb=facts.current_tcb - 1))
    done(device, bench, psp_sev.snp_commit())
    after = bench.processor.configuration
    assert (after.committed_tcb, after.reported_tcb) == (facts.current_tcb, facts.current_tcb)
    assert bench.endorsed[-1] == facts.current_tcb


def test_a_reported_tcb_held_back_on_purpose_stays_back_at_a_commit(device: Device) -> None:
    facts = configuration()
    bench = Bench(configuration(committed_tcb=facts.current_tcb - 1, reported_tcb=facts.current_tcb - 2))
    done(device, bench, psp_sev.snp_commit())
    assert bench.processor.configuration.reported_tcb == facts.current_tcb - 2


@pytest.mark.parametrize("product", ["milan", "turin"])
def test_the_chip_says_who_it_is(device: Device, product: str) -> None:
    bench = Bench(configuration(product))
    assert psp_sev.decode_id(done(device, bench, psp_sev.get_id())) == bench.chip.chip_id
    assert any(bench.chip.chip_id[8:]) is (product == "milan")


def test_too_little_room_for_the_identity_is_answered_with_how_much(device: Device) -> None:
    call = psp_sev.get_id(0)
    result = device(Bench(), call)
    with pytest.raises(FirmwareError) as refused:
        psp_sev.check(call, result)
    assert refused.value.status == SevStatus.INVALID_LENGTH
    assert psp_sev.SevUserDataGetId2.from_buffer_copy(result.memory[1]).length == 64


def issue(command: int, *memory: bytes) -> Call:
    argument = bytes(psp_sev.SevIssueCmd(cmd=command))
    pointers = (Pointer(0, 4, 1),) if memory else ()
    return Call("TEST", File.SEV, psp_sev.SEV_ISSUE_CMD, (argument, *memory), pointers)


@pytest.mark.parametrize("command", range(9, 13))
def test_a_processor_without_snp_has_none_of_its_commands(device: Device, command: int) -> None:
    product = PRODUCTS["rome"]
    bench = Bench(replace(configuration(), product=product))
    result = device(bench, issue(command, bytes(64)))
    assert result.value == -errno.EINVAL


def test_what_no_kernel_knows_is_refused_by_the_kernel() -> None:
    bench = Bench()
    for call, number in (
        (issue(99), errno.EINVAL),
        (Call("TEST", File.SEV, 0x1234, (bytes(16),)), errno.ENOTTY),
        (Call("TEST", File.SEV, psp_sev.SEV_ISSUE_CMD, (bytes(15),)), errno.EFAULT),
        (Call("TEST", File.SEV, psp_sev.SEV_ISSUE_CMD), errno.EFAULT),
        (issue(psp_sev.SevCommand.SNP_PLATFORM_STATUS), errno.EFAULT),
        (issue(psp_sev.SevCommand.SNP_PLATFORM_STATUS, bytes(31)), errno.EFAULT),
    ):
        result = by_frames(bench, call)
        assert result.value == -number
        with pytest.raises(IoctlRefused):
            psp_sev.check(call, Result(result.value, (bytes(16),)))


def test_user_memory_is_only_what_was_brought() -> None:
    from wasmkeep.hardware.frames import Segment

    memory = UserMemory([Segment(0x1000, bytes(PAGE)), Segment(0x5000, b"abc")])
    assert memory.read(0x5001, 2) == b"bc"
    for address, size in ((0x0FFF, 1), (0x1000, PAGE + 1), (0x1FFF, 2), (0x5003, 1), (1 << 64, 1)):
        with pytest.raises(OSError, match="no such user memory"):
            memory.read(address, size)
        with pytest.raises(OSError, match="no such user memory"):
            memory.write(address, bytes(size))
    memory.write(0x5001, b"X")
    memory.write(0x5002, b"Y")
    assert memory.written() == (Segment(0x5000, b"aXY"),)
