"""The chip has few key slots. Exhausting them denies service, and gives nobody another's key."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.machines import machine
from tests.simulator.driving import run
from tests.simulator.machine.bare import Computer
from tests.simulator.sev.bench import Bench
from tests.threats.bare import (
    EMULATED_SEV,
    SECRET,
    SECRET_AT,
    created,
    image,
    opened,
    page,
    status_of,
    without_owner,
)
from wasmkeep.errors import SystemFailure
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.core.engine import LINES_BASE
from wasmkeep.simulator.core.lines import Lines
from wasmkeep.simulator.memory_controller import C_BIT, MemoryController

SLOTS = 3
COPY = image(b"\xf4")


def test_key_slots_exhausted() -> None:
    """Guests without encryption have no limit, and no protection: a full machine runs more of those only."""

    async def whole() -> None:
        few = machine("--slots", str(SLOTS), "--min-sev-asid", "1")
        async with opened(few) as platform, AsyncExitStack() as guests:
            seen = []
            for _ in range(SLOTS):
                guest = await guests.enter_async_context(without_owner(platform, EMULATED_SEV, COPY))
                seen.append(await guest.host_read(SECRET_AT, 16))
            with pytest.raises(SystemFailure) as refusal:
                await created(platform, EMULATED_SEV)
            assert status_of(refusal) is SevStatus.RESOURCE_LIMIT
            # The control: a machine without protection takes on whatever it is given.
            for _ in range(2 * SLOTS):
                plain = await guests.enter_async_context(
                    without_owner(platform, EMULATED_SEV.unprotected, COPY)
                )
                assert await plain.host_read(SECRET_AT, 16) == SECRET[:16]
            # Nobody has a slot with somebody else: the same contents never look the same.
            assert len({*seen, SECRET[:16]}) == SLOTS + 1
        async with opened(few) as platform, without_owner(platform, EMULATED_SEV, COPY) as guest:
            assert await guest.host_read(SECRET_AT, 16) not in {*seen, SECRET[:16]}

    run(whole())
    # The firmware has its own limit, whatever a kernel hands out.
    bench = Bench()
    for _ in range(bench.slots.count):
        bench.ok(Command.LAUNCH_START)
    assert bench.refused(Command.LAUNCH_START) is SevStatus.RESOURCE_LIMIT


def test_an_asid_reused_without_flush() -> None:
    """A core's cache knows lines by ASID. Unflushed, the next guest with that ASID is served the last one's
    plaintext; so the firmware activates nothing in a used slot before WBINVD and DF_FLUSH.
    """
    bench, computer = Bench(), Computer()
    controller = MemoryController(computer.dram, bench.slots)
    asid, spa = bench.slots.min_sev_asid, computer.pages.allocate(PAGE)
    victim, successor = (int(bench.ok(Command.LAUNCH_START).handle) for _ in range(2))

    bench.ok(Command.ACTIVATE, handle=victim, asid=asid)
    cache = Lines(memoryview(bytearray(LINES_BASE + 4 * PAGE)), controller)
    cache.use(asid)
    controller.store(spa | C_BIT, page(SECRET), asid)
    assert cache.read(spa | C_BIT, len(SECRET)) == SECRET
    bench.ok(Command.DEACTIVATE, handle=victim)

    # The firmware's refusals, in its order: a flush of the fabric needs one of the cores.
    fields = {"handle": successor, "asid": asid}
    assert bench.refused(Command.ACTIVATE, **fields) is SevStatus.DFFLUSH_REQUIRED
    assert bench.refused(Command.DF_FLUSH) is SevStatus.WBINVD_REQUIRED
    assert bench.refused(Command.ACTIVATE, **fields) is SevStatus.DFFLUSH_REQUIRED

    # The control: a slot that is filled without asking the firmware, with the cache as it is.
    bench.slots._dirty.clear()
    bench.ok(Command.ACTIVATE, **fields)
    assert cache.read(spa | C_BIT, len(SECRET)) == SECRET
    bench.ok(Command.DEACTIVATE, handle=successor)

    cache.drop()
    bench.slots.wbinvd()
    bench.ok(Command.DF_FLUSH)
    bench.ok(Command.ACTIVATE, **fields)
    assert cache.read(spa | C_BIT, len(SECRET)) != SECRET
