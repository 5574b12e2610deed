"""A shell for the next guest is made ahead: it is used where it fits, and never left behind."""

from __future__ import annotations

import asyncio
import os

from tests.machines import machine
from tests.simulator import tiny
from tests.simulator.driving import EITHER, POLICY, guests_left, launched, platform, run
from tests.simulator.tiny import MEMORY
from wasmkeep.hardware.shell import Shell
from wasmkeep.hardware.simulated import ExitKind, Platform


async def made_ahead(on: Platform) -> Shell:
    while on._spare is None:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0.005)
    return on._spare


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@EITHER
def test_the_next_guest_of_the_same_size_gets_the_shell(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on, await launched(on, tiny.EXIT_FOREVER):
            shell = await made_ahead(on)
            async with await launched(on, tiny.EXIT_FOREVER) as guest:
                assert guest._connection is shell.connection
                assert (await guest.run()).kind is ExitKind.VMGEXIT

    run(test())


@EITHER
def test_a_shell_of_another_size_is_given_back(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on, await launched(on, tiny.EXIT_FOREVER):
            shell = await made_ahead(on)
            regions = tiny.launch_regions(tiny.EXIT_FOREVER, cpu)
            larger = 2 * MEMORY
            async with await on.launch(
                larger, regions, tiny.vmsa(cpu), policy=POLICY, host_data=bytes(32)
            ) as guest:
                assert shell.connection.closed
                assert len(await guest.host_read(larger - 16, 16)) == 16

    run(test())


@EITHER
def test_a_shell_takes_no_slot_and_nothing_stays_of_it(cpu: str) -> None:
    async def test() -> None:
        machine(cpu=cpu)  # booted, with the pipes that go with it
        before = descriptors()
        for _ in range(5):
            async with platform(cpu) as on:
                async with await launched(on, tiny.EXIT_FOREVER):
                    await made_ahead(on)
                    assert (await on.status()).guest_count == 1
                await guests_left(on, 0)
        assert descriptors() == before

    run(test())


@EITHER
def test_a_platform_that_closes_makes_no_more_shells(cpu: str) -> None:
    """Closing waits for the machine; what was to be made meanwhile is not."""

    async def test() -> None:
        for delay in (0.0, 0.003, 0.005, 0.006):
            async with platform(cpu) as on, await launched(on, tiny.EXIT_FOREVER):
                await asyncio.sleep(delay)
            await asyncio.sleep(0.02)
            assert on._spare is None

    run(test())


@EITHER
def test_a_shell_whose_machine_hung_up_is_replaced(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on, await launched(on, tiny.EXIT_FOREVER):
            shell = await made_ahead(on)
            shell.connection.abandon()
            async with await launched(on, tiny.EXIT_FOREVER) as guest:
                assert (await guest.run()).kind is ExitKind.VMGEXIT

    run(test())
