"""One timer for many waits."""

from __future__ import annotations

import asyncio

from tests.host.daemon import run
from wasmkeep.host.endings import Ending, timed_out
from wasmkeep.host.watch import Watch


def test_only_a_wait_that_is_too_long_expires() -> None:
    async def scenario() -> None:
        expired: list[Ending] = []
        watch = Watch(expired.append)
        for _ in range(100):
            with watch.limit(0.05, "short"):
                await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert expired == []
        with watch.limit(10, "long"):
            await asyncio.sleep(0)
        with watch.limit(0.02, "shorter than the one before"):
            await asyncio.sleep(0.1)
        assert expired == [timed_out("shorter than the one before", 0.02)]
        watch.close()

    run(scenario())


def test_a_timer_that_comes_early_looks_again() -> None:
    async def scenario() -> None:
        expired: list[Ending] = []
        watch = Watch(expired.append)
        with watch.limit(0.02, "first"):
            pass
        with watch.limit(0.1, "second"):
            await asyncio.sleep(0.05)
            assert expired == []
            await asyncio.sleep(0.1)
        assert expired == [timed_out("second", 0.1)]

    run(scenario())
