"""The machine through its socket, with guests that run: exits, windows, ends, and what a host may not do."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import stat
import struct
from pathlib import Path

import pytest

from tests.machines import BootedMachine, machine
from tests.simulator import tiny
from tests.simulator.driving import EITHER, ONLY_KVM, POLICY, SOAK, guests_left, launched, platform, run
from tests.simulator.tiny import MEMORY, PAGE, Region
from wasmkeep.hardware import ghcb, machine_calls, psp_sev
from wasmkeep.hardware.calls import IoctlRefused
from wasmkeep.hardware.connection import Connection, MachineGone, connect
from wasmkeep.hardware.frames import encode_call
from wasmkeep.hardware.machine_calls import ExitReason
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.hardware.simulated import Exit, ExitKind, Platform

DEBUG = 1 << 19
WINDOW = 0x20_0000


@EITHER
def test_a_guest_exits_and_goes_on_as_often_as_it_is_run(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            guest = await launched(on, tiny.EXIT_FOREVER)
            for _ in range(20):
                assert await guest.run() == Exit(ExitKind.VMGEXIT, ExitReason.IO)
            await guest.close()

    run(test())


@ONLY_KVM
def test_the_window_is_shared_while_the_guest_runs(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            guest, other = await launched(on, tiny.COUNT), await launched(on, tiny.COUNT)
            for number in (1, 41, 0x7FFFFFFF):
                struct.pack_into("<I", guest.window, 0x100, number)
                await guest.run()
                assert struct.unpack_from("<I", guest.window, 0x104)[0] == number + 1
            assert not any(other.window)
            await guest.close()
            await other.close()

    run(test())


@EITHER
def test_a_looping_guest_is_ended_at_any_time_and_costs_others_nothing(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            spinning, working = await launched(on, tiny.SPIN), await launched(on, tiny.EXIT_FOREVER)
            running = asyncio.ensure_future(spinning.run())
            for _ in range(10):
                assert (await working.run()).kind is ExitKind.VMGEXIT
            assert not running.done()
            await spinning.close()
            assert (await running).kind is ExitKind.ENDED
            await guests_left(on, 1)
            await working.close()
            await guests_left(on, 0)

    run(test())


@EITHER
def test_a_host_that_vanishes_takes_its_guests_with_it(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            guests = [await launched(on, tiny.SPIN) for _ in range(3)]
            runs = [asyncio.ensure_future(guest.run()) for guest in guests]
            await asyncio.sleep(0.05)
            for guest in guests:
                guest._connection.abandon()
            for ended in runs:
                with pytest.raises(MachineGone):
                    await ended
            await guests_left(on, 0)

    run(test())


@EITHER
def test_a_guest_that_dies_stays_dead_and_shows_no_registers(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            guest = await launched(on, tiny.CRASH)
            for _ in range(2):
                assert await guest.run() == Exit(ExitKind.SHUTDOWN, ExitReason.SHUTDOWN)
            await guest.close()

    run(test())


@ONLY_KVM
def test_only_a_guest_that_may_be_debugged_shows_where_it_died(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            guest = await launched(on, tiny.CRASH, POLICY | DEBUG)
            assert (await guest.run()).rip == tiny.CODE + 1
            await guest.close()

    run(test())


@ONLY_KVM
def test_another_port_ends_the_guest(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            guest = await launched(on, tiny.WRONG_PORT)
            assert await guest.run() == Exit(ExitKind.SHUTDOWN, ExitReason.IO)
            await guest.close()

    run(test())


@EITHER
@pytest.mark.parametrize(
    "spoilt", [(0x3B0, 0), (0x3B0, 3), (0x0CA, 1)], ids=["no SNP", "a feature", "VMPL 1"]
)
def test_a_state_that_cannot_run_fails_at_entry(cpu: str, spoilt: tuple[int, int]) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            state = bytearray(tiny.vmsa(cpu))
            state[spoilt[0]] = spoilt[1]
            regions = tiny.launch_regions(tiny.SPIN, cpu)
            guest = await on.launch(MEMORY, regions, bytes(state), policy=POLICY, host_data=bytes(32))
            assert await guest.run() == Exit(ExitKind.SHUTDOWN, ExitReason.FAIL_ENTRY)
            await guest.close()

    run(test())


def test_a_program_that_is_none_is_a_guest_that_dies() -> None:
    async def test() -> None:
        async with platform("process") as on:
            regions = tiny.process_regions(b"not a program")
            guest = await on.launch(MEMORY, regions, tiny.vmsa("process"), policy=POLICY, host_data=bytes(32))
            assert (await guest.run()).kind is ExitKind.SHUTDOWN
            await guest.close()

    run(test())


@EITHER
def test_whoever_reads_guest_memory_through_the_machine_sees_ciphertext(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            first, second = await launched(on, tiny.EXIT_FOREVER), await launched(on, tiny.EXIT_FOREVER)
            code = tiny.pages(tiny.EXIT_FOREVER.bare if cpu == "kvm" else tiny.elf(tiny.EXIT_FOREVER.linux))
            seen = await first.host_read(tiny.CODE, PAGE)
            assert seen == await first.host_read(tiny.CODE, PAGE)
            assert seen != await second.host_read(tiny.CODE, PAGE)
            assert code[:16] not in seen
            empty = await first.host_read(0x70_0000, 2 * PAGE)
            assert empty[:PAGE] != empty[PAGE:]
            assert bytes(16) not in empty
            assert await first.host_read(0x70_0000 + PAGE - 8, 16) == empty[PAGE - 8 : PAGE + 8]
            first.window[:5] = b"hello"
            assert (await first.host_read(WINDOW, 5)) == b"hello"
            straddling = await first.host_read(WINDOW - 16, 32)
            assert straddling[16:21] == b"hello"
            assert straddling[:16] != bytes(16)
            for gpa, size in ((MEMORY - 1, 2), (0, 0), (1 << 62, 1)):
                with pytest.raises(IoctlRefused):
                    await first.host_read(gpa, size)
            with pytest.raises(IoctlRefused):  # more than one call may ask for
                await first._perform(machine_calls.host_read(0, (1 << 20) + 1))
            assert len(await first.host_read(0, (1 << 20) + 1)) == (1 << 20) + 1
            await first.close()
            await second.close()

    run(test())


@EITHER
def test_slots_are_limited_and_come_back_when_a_guest_is_gone(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu, "--slots", "2") as on:
            assert on.description.slots == 2
            guests = [await launched(on, tiny.EXIT_FOREVER) for _ in range(2)]
            with pytest.raises(FirmwareError) as refused:
                await launched(on, tiny.EXIT_FOREVER)
            assert refused.value.status == SevStatus.RESOURCE_LIMIT
            assert refused.value.command == "SNP_LAUNCH_START"
            await guests[0].close()
            again = await launched(on, tiny.EXIT_FOREVER)
            assert (await again.run()).kind is ExitKind.VMGEXIT
            await again.close()
            await guests[1].close()

    run(test())


@EITHER
def test_many_guests_live_at_once(cpu: str) -> None:
    number = 200 if SOAK else 40

    async def test() -> None:
        async with platform(cpu) as on:
            guests = [await launched(on, tiny.EXIT_FOREVER) for _ in range(number)]
            assert (await on.status()).guest_count == number
            exits = await asyncio.gather(*(guest.run() for guest in guests))
            assert {each.kind for each in exits} == {ExitKind.VMGEXIT}
            await asyncio.gather(*(guest.close() for guest in guests))
            await guests_left(on, 0)

    run(test())


@EITHER
def test_the_steps_of_a_launch_are_the_same_as_the_launch_in_one(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            guest = await on.create_guest(MEMORY)
            await guest.launch_start(POLICY)
            for region in tiny.launch_regions(tiny.EXIT_FOREVER, cpu):
                await guest.launch_update(region.gpa, region.data or None, region.size, region.page_type)
            await guest.set_vmsa(tiny.vmsa(cpu))
            with pytest.raises(IoctlRefused) as refused:
                await guest.run()
            assert refused.value.number == errno.EPERM
            await guest.launch_finish(bytes(32))
            assert (await guest.run()).kind is ExitKind.VMGEXIT
            with pytest.raises(IoctlRefused) as refused:
                await guest.set_vmsa(tiny.vmsa(cpu))
            assert refused.value.number == errno.EBUSY
            await guest.close()

    run(test())


@EITHER
def test_a_launch_that_fails_leaves_nothing(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            regions = [*tiny.launch_regions(tiny.SPIN, cpu), Region(tiny.CODE, PAGE, tiny.ZERO)]
            with pytest.raises(FirmwareError) as refused:
                await on.launch(MEMORY, regions, tiny.vmsa(cpu), policy=POLICY, host_data=bytes(32))
            assert refused.value.status == SevStatus.INVALID_PAGE_STATE
            await guests_left(on, 0)

    run(test())


@EITHER
def test_a_byte_from_the_host_ends_a_run_as_a_signal_would(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            guest = await launched(on, tiny.SPIN)
            running, status = guest._connection.submit(
                [encode_call(machine_calls.run()), encode_call(psp_sev.snp_platform_status())]
            )
            assert (await running).result.value == -errno.EINTR
            assert (await status).result.value == 0
            again = asyncio.ensure_future(guest.run())
            await asyncio.sleep(0.05)
            assert not again.done()
            (status,) = guest._connection.submit([encode_call(psp_sev.snp_platform_status())])
            assert (await again).kind is ExitKind.ENDED
            assert (await status).result.value == 0
            await guest.close()

    run(test())


@EITHER
def test_a_run_without_a_guest_is_refused_and_costs_others_nothing(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            calls = [machine_calls.run(), machine_calls.run(), psp_sev.snp_platform_status()]
            answers = on._connection.submit([encode_call(call) for call in calls])
            values = [(await answer).result.value for answer in answers]
            assert values[-1] == 0
            assert {*values[:-1]} <= {-errno.EBADF, -errno.EINTR}
            guest = await launched(on, tiny.SPIN)  # and runs can still be interrupted
            running = asyncio.ensure_future(guest.run())
            await asyncio.sleep(0.05)
            await guest.close()
            assert (await running).kind is ExitKind.ENDED

    run(test())


@pytest.mark.parametrize(
    "nonsense", [b"\0" * 24, b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", struct.pack("<I", 24)]
)
def test_nonsense_ends_its_own_connection_only(nonsense: bytes) -> None:
    async def test() -> None:
        async with platform("process") as on:
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(machine(cpu="process").socket)
                stranger.send(nonsense)
                stranger.shutdown(socket.SHUT_WR)
                stranger.settimeout(30)
                assert stranger.recv(100) == b""
            assert (await on.status()).initialized

    run(test())


def test_a_host_cannot_resize_the_window_under_the_machine() -> None:
    async def test() -> None:
        connection = Connection(connect(machine(cpu="process").socket))
        answer = await connection.call(machine_calls.create_guest(MEMORY))
        assert answer.descriptor is not None
        for size in (0, 2 << 20):
            with pytest.raises(PermissionError):
                os.ftruncate(answer.descriptor, size)
        assert os.fstat(answer.descriptor).st_size == 1 << 20
        with pytest.raises(PermissionError):
            fcntl.fcntl(answer.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        os.close(answer.descriptor)
        await connection.close()

    run(test())


@EITHER
def test_the_machine_describes_itself_as_it_said_when_it_started(cpu: str) -> None:
    booted: BootedMachine = machine(cpu=cpu)

    async def test() -> None:
        async with platform(cpu) as on:
            said = on.description
            assert (said.cpu, f"sha256:{said.root_sha256}", said.product) == (cpu, booted.root, "genoa")
            assert Path(said.kds) == booted.kds
            assert (said.cpu_reason == "") is (cpu == "kvm")
            assert (await on.get_id()).hex() == said.chip_id
            status = await on.status()
            assert f"{status.api_major}.{status.api_minor}.{status.build}" == said.firmware

    run(test())


def test_the_socket_is_its_owners() -> None:
    mode = Path(machine(cpu="process").socket).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_machine_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MachineGone) as refused:
        run(Platform.open(str(tmp_path / "no")))
    assert refused.value.exit_code == 69


@EITHER
def test_the_kernel_passes_on_as_many_guest_requests_as_it_was_told(cpu: str) -> None:
    """What the window holds is no guest message, which the secure processor says; then it is the host's."""
    asked = struct.pack("<QQQ", ghcb.EXIT_GUEST_REQUEST, WINDOW + 2 * PAGE, WINDOW + 3 * PAGE)

    async def test(passing: int) -> bytes:
        async with (
            platform(cpu) as on,
            await launched(on, tiny.EXIT_FOREVER, guest_requests=passing) as guest,
        ):
            place = slice(ghcb.SW_EXITCODE, ghcb.SW_EXITCODE + len(asked))
            guest.window[place] = asked
            assert (await guest.run()).kind is ExitKind.VMGEXIT
            return bytes(guest.window[place])

    assert run(test(0)) == asked
    answered = struct.pack("<QQQ", ghcb.EXIT_GUEST_REQUEST, 0, SevStatus.INVALID_PARAM)
    assert run(test(1)) == answered
    # Asked again, the second address is the answer's status, which is that of no page.
    assert run(test(2)) == struct.pack("<QQQ", ghcb.EXIT_GUEST_REQUEST, 0, SevStatus.INVALID_ADDRESS)


@EITHER
def test_a_refused_launch_finish_is_the_first_runs_error(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            async with await launched(on, tiny.EXIT_FOREVER, identity=(bytes(96), bytes(4096))) as guest:
                with pytest.raises(FirmwareError, match="SNP_LAUNCH_FINISH"):
                    await guest.run()
            await guests_left(on, 0)

    run(test())
