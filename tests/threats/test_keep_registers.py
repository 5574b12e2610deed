"""What a hypervisor does with a running keep's registers on plain SEV, and cannot do on SEV-ES.

It looks: interrupted at random moments, a keep has round keys of its record keys in its vector registers.
Where it exits by itself it leaves nothing there (``tests/keep/test_pre_attested.py``), which is no help.
It alters: with other registers the keep's own code copies any private memory into the shared window.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import random
import time
from collections.abc import Callable

import pytest

from tests.hostile.lying_host import prepared
from tests.threats.keeps import (
    DATA,
    FLOODED,
    ON_KVM,
    AttackedGuest,
    AttackingHost,
    TenantsKeys,
    deployed,
    flooding,
)
from wasmkeep.hardware.calls import IoctlRefused
from wasmkeep.hardware.kvm_structures import Regs
from wasmkeep.hardware.machine_calls import WINDOW_GPA
from wasmkeep.hardware.machine_guest import Exit, ExitKind
from wasmkeep.hardware.sev_guest_commands import VcpuState
from wasmkeep.hardware.sev_guest_vm import SevGuest
from wasmkeep.image import MachineKind, read_image
from wasmkeep.image.elf import load_segments
from wasmkeep.tenant.preparation import Prepared

pytestmark = ON_KVM

SHORTEST_WAIT, LONGEST_WAIT = 0.000005, 0.0002  # seconds that a keep runs before it is interrupted
RUNS = 20  # at most, until enough was seen; one or two nearly always do

TEXT, DATA_SIZE = 0x11_0000, 0xC000  # of the image (keep/src/layout.zig)


class Looking:
    """What a hypervisor collects: halves of vector registers, or the errors it gets instead of them."""

    def __init__(self, enough: Callable[[Looking], bool]) -> None:
        self.seen: set[bytes] = set()
        self.refused: list[int] = []
        self.goes_on = True
        self._enough = enough
        self._wait = LONGEST_WAIT

    async def moment(self, running: asyncio.Future[Exit]) -> bool:
        """Let the keep run for a while; whether it still does. Waits grow shorter where it does not."""
        until = time.monotonic() + random.uniform(0, self._wait)
        while not running.done() and time.monotonic() < until:  # noqa: ASYNC110 - shorter than a timer's
            await asyncio.sleep(0)
        factor = 0.7 if running.done() else 1.1
        self._wait = min(LONGEST_WAIT, max(SHORTEST_WAIT, self._wait * factor))
        return not running.done()

    async def look(self, guest: SevGuest) -> None:
        try:
            registers = await guest.registers()
        except IoctlRefused as refused:
            self.refused.append(refused.number)
        else:
            for vector in registers.vectors:
                self.seen.update((vector[:16], vector[16:]))
        self.goes_on = not self._enough(self)


class InterruptedGuest(AttackedGuest):
    """A keep's guest, stopped at random moments."""

    _guest: SevGuest

    def __init__(self, guest: SevGuest, looking: Looking) -> None:
        super().__init__(guest)
        self._looking = looking

    async def run(self) -> Exit:
        while True:
            running = asyncio.ensure_future(self._guest.run())
            if self._looking.goes_on and await self._looking.moment(running):
                await self._guest.interrupt()
            end = await running
            if end.kind is not ExitKind.INTERRUPTED:
                return end
            await self._looking.look(self._guest)


@pytest.fixture(scope="module")
def flood(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return flooding(tmp_path_factory.mktemp("flood"))


def looked_at(tee: str, goods: Prepared, enough: Callable[[Looking], bool]) -> Looking:
    """Keeps of one kind, one after the other, until that is enough."""
    looking = Looking(enough)
    for _ in range(RUNS):
        wrap = functools.partial(InterruptedGuest, looking=looking)
        result = deployed(tee, goods, functools.partial(AttackingHost, wrap=wrap))
        assert result.error is None, "nobody notices"
        assert result.stdout == FLOODED
        if not looking.goes_on:
            return looking
    pytest.fail(f"{RUNS} keeps of {tee}, and not enough: {len(looking.seen)}, {len(looking.refused)}")


def test_registers_of_a_keep_are_seen_on_plain_sev_and_not_on_sev_es(
    flood: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = TenantsKeys(monkeypatch)
    looking = looked_at("sev", flood, lambda looking: bool(tenant.caught(looking.seen)))
    assert not looking.refused

    looking = looked_at("sev-es", flood, lambda looking: len(looking.refused) >= 50)
    assert set(looking.refused) == {errno.EINVAL}
    assert not looking.seen


# Altering them


def copy_instruction(tee: str) -> int:
    """The address of a ``rep movsb`` in the keep's code, which anybody can read."""
    for segment in load_segments(read_image(MachineKind(tee))):
        if segment.address == TEXT and (at := segment.data.find(b"\xf3\xa4")) >= 0:
            return TEXT + at
    raise AssertionError("no rep movsb in the image: look for another way")


class CopyingGuest(AttackedGuest):
    """A guest that its host has copy what it keeps in memory, at its first exit after the session began."""

    _guest: SevGuest

    def __init__(self, guest: SevGuest, tee: str, loot: list[bytes], refused: list[int]) -> None:
        super().__init__(guest)
        self._tee = tee
        self._loot = loot
        self._refused = refused
        self._exits = 0

    async def run(self) -> Exit:
        end = await self._guest.run()
        self._exits += 1
        if self._exits != 2:  # the first is the offer
            return end
        assert end.kind is ExitKind.VMGEXIT
        try:
            await self._redirect()
        except IoctlRefused as refused:
            self._refused.append(refused.number)
            return end
        end = await self._guest.run()
        self._loot.append(bytes(self._guest.window[:DATA_SIZE]))
        return end

    async def _redirect(self) -> None:
        state = await self._guest.vcpu_state()
        regs = Regs.from_buffer_copy(state.regs)
        regs.rip, regs.rsi, regs.rdi, regs.rcx = copy_instruction(self._tee), DATA, WINDOW_GPA, DATA_SIZE
        await self._guest.set_vcpu_state(VcpuState(bytes(regs), state.sregs, state.xsave))


def test_registers_of_a_keep_are_altered_on_plain_sev_and_not_on_sev_es(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The keep's data, both record keys in it, comes out in plaintext. On SEV-ES the session goes its way."""
    for tee in ("sev", "sev-es"):
        tenant = TenantsKeys(monkeypatch)
        loot: list[bytes] = []
        refused: list[int] = []
        wrap = functools.partial(CopyingGuest, tee=tee, loot=loot, refused=refused)
        result = deployed(tee, prepared(), functools.partial(AttackingHost, wrap=wrap))
        assert len(tenant.keys) == 2
        if tee == "sev":
            assert all(each.key in loot[0] for each in tenant.keys)
        else:
            assert not loot
            assert refused == [errno.EINVAL]
            assert (result.error, result.stdout) == (None, b"7\n")
