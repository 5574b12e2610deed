"""The next guest is begun ahead: it is used where it fits, gives its slot back where not, and never stays."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.machines import machine
from tests.simulator import tiny
from tests.simulator.driving import EITHER, POLICY, guests_left, launched, platform, run
from tests.simulator.tiny import MEMORY
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.hardware.shell import Shell
from wasmkeep.hardware.simulated import ExitKind, Platform


async def begun(on: Platform) -> Shell:
    """Begin the next guest and wait until the machine has done so."""
    on.begin_next()
    shell = on._spare
    assert shell is not None
    await asyncio.wait([shell._created, *shell._begun])
    return shell


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@EITHER
def test_the_next_guest_of_the_same_launch_is_the_one_begun(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on, await launched(on, tiny.EXIT_FOREVER):
            shell = await begun(on)
            async with await launched(on, tiny.EXIT_FOREVER) as guest:
                assert guest._connection is shell.connection
                assert (await guest.run()).kind is ExitKind.VMGEXIT

    run(test())


@EITHER
def test_it_is_begun_once_and_only_like_a_launch_that_was(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            on.begin_next()
            assert on._spare is None
            async with await launched(on, tiny.EXIT_FOREVER):
                shell = await begun(on)
                assert await begun(on) is shell

    run(test())


@EITHER
def test_one_of_another_launch_is_given_back_first(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on, await launched(on, tiny.EXIT_FOREVER):
            regions = tiny.launch_regions(tiny.EXIT_FOREVER, cpu)
            larger = 2 * MEMORY
            shell = await begun(on)
            async with await on.launch(
                larger, regions, tiny.vmsa(cpu), policy=POLICY, host_data=bytes(32)
            ) as guest:
                assert shell.connection.closed
                assert (await on.status()).guest_count == 2
                assert len(await guest.host_read(larger - 16, 16)) == 16
            shell = await begun(on)
            async with await launched(on, tiny.EXIT_FOREVER, policy=POLICY | 1 << 19):
                assert shell.connection.closed

    run(test())


@EITHER
def test_it_holds_a_slot_that_any_launch_may_have(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu, "--slots", "2") as on, await launched(on, tiny.EXIT_FOREVER):
            await guests_left(on, 1)
            for policy in (POLICY, POLICY | 1 << 19):
                await begun(on)
                assert ((await on.status()).guest_count, on.begun) == (2, 1)
                async with await launched(on, tiny.EXIT_FOREVER, policy=policy) as guest:
                    assert (await guest.run()).kind is ExitKind.VMGEXIT
                    assert on.begun == 0
                await guests_left(on, 1)

    run(test())


@EITHER
def test_one_that_found_no_slot_is_replaced(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu, "--slots", "2") as on:
            await guests_left(on, 0)
            first, second = await launched(on, tiny.EXIT_FOREVER), await launched(on, tiny.EXIT_FOREVER)
            shell = await begun(on)
            assert (shell.usable, on.begun) == (False, 0)
            with pytest.raises(FirmwareError) as refused:
                await launched(on, tiny.EXIT_FOREVER)
            assert refused.value.status == SevStatus.RESOURCE_LIMIT
            await first.close()
            async with await launched(on, tiny.EXIT_FOREVER) as guest:
                assert (await guest.run()).kind is ExitKind.VMGEXIT
            await second.close()

    run(test())


@EITHER
def test_nothing_stays_of_it(cpu: str) -> None:
    async def test() -> None:
        machine(cpu=cpu)  # booted, with the pipes that go with it
        before = descriptors()
        for number in range(6):
            async with platform(cpu) as on, await launched(on, tiny.EXIT_FOREVER):
                if number % 2:
                    await begun(on)
                else:
                    on.begin_next()  # and hung up on while it is made
            async with platform(cpu) as on:
                await guests_left(on, 0)
        assert descriptors() == before

    run(test())


@EITHER
def test_a_platform_that_closed_begins_nothing(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on, await launched(on, tiny.EXIT_FOREVER):
            pass
        on.begin_next()
        assert on._spare is None

    run(test())


@EITHER
def test_one_whose_machine_hung_up_is_replaced(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on, await launched(on, tiny.EXIT_FOREVER):
            shell = await begun(on)
            shell.connection.abandon()
            assert on.begun == 0
            async with await launched(on, tiny.EXIT_FOREVER) as guest:
                assert (await guest.run()).kind is ExitKind.VMGEXIT

    run(test())
