"""Whoever reads memory without being the guest: root on the host, another guest, a device, a cold boot."""

from __future__ import annotations

from tests.machines import machine
from tests.simulator.driving import run
from tests.simulator.machine.bare import Computer
from tests.threats.bare import (
    ANY,
    COPY_SECRET,
    ENCRYPTED,
    PRINT_SECRET,
    SECRET,
    SECRET_AT,
    Kind,
    image,
    opened,
    without_owner,
)
from wasmkeep.hardware.machine_calls import View
from wasmkeep.hardware.machine_guest import ExitKind
from wasmkeep.hardware.sev_guest_vm import SevGuest

COPY_AT = 0x3000
SAID_BY_PLAIN = "the guest is not encrypted: the attack works"


async def looked(guest: SevGuest, kind: Kind, view: View) -> tuple[bytes, bytes]:
    """Both places of the secret as `view` reads them, after the guest read the one and wrote the other."""
    assert (await guest.run()).kind is ExitKind.HALTED
    seen = [await guest.host_read(at, len(SECRET), view) for at in (SECRET_AT, COPY_AT)]
    return seen[0], seen[1]


def seen_by(view: View, kind: Kind) -> tuple[tuple[bytes, bytes], bytes]:
    """The two places as `view` reads them; and everything of that guest's that it reads."""

    async def whole() -> tuple[tuple[bytes, bytes], bytes]:
        async with opened(machine()) as platform, without_owner(platform, kind, image(COPY_SECRET)) as guest:
            both = await looked(guest, kind, view)
            return both, await guest.host_read(0, 64 << 10, view)

    return run(whole())


def attacked(view: View, kind: Kind) -> None:
    both, everything = seen_by(view, kind.unprotected)
    assert both == (SECRET, SECRET), SAID_BY_PLAIN
    assert COPY_SECRET in everything
    both, everything = seen_by(view, kind)
    assert both[0] != both[1], "the same plaintext at two addresses does not look the same"
    for piece in (SECRET[at : at + 8] for at in range(0, len(SECRET), 8)):
        assert piece not in everything
    assert COPY_SECRET[:8] not in everything


@ANY
def test_memory_scrape_by_root(kind: Kind) -> None:
    """``dd`` of the guest's memory by whoever is root on the host."""
    attacked(View.HYPERVISOR, kind)


@ANY
def test_dma(kind: Kind) -> None:
    """A device reads where its driver, or the attacker at its plug, tells it to."""
    attacked(View.DEVICE, kind)


@ANY
def test_cold_boot(kind: Kind) -> None:
    """The memory modules are taken out, cold, and read elsewhere: a running guest's part, then all of DRAM,
    where what an ended guest left behind still stands.
    """
    attacked(View.COLD_BOOT, kind)
    for sev in (False, True):
        computer = Computer()
        with computer.guest(image(COPY_SECRET), sev=sev, es=kind.es and sev) as guest:
            guest.cpu.run()
        modules = computer.dram.read(0, computer.dram.size)
        assert (SECRET in modules) is not sev
        assert (SECRET[16:24] in modules) is not sev
        assert (COPY_SECRET in modules) is not sev


@ENCRYPTED
def test_vm_escape_read(kind: Kind) -> None:
    """A guest that broke out of its own memory reads its neighbour's: with its own key, and without any."""
    for sev in (False, True):
        computer = Computer()
        victim_memory = image(COPY_SECRET)
        with computer.guest(victim_memory, sev=sev, es=kind.es and sev) as victim:
            victim.cpu.run()
            stolen = []
            for attacker_sev in (True, False):
                with computer.guest(image(PRINT_SECRET, bytes(64)), sev=attacker_sev) as attacker:
                    attacker.cpu.nested.remap(SECRET_AT, victim.cpu.spa(SECRET_AT, 4096))
                    stolen.append(attacker.printed())
            assert (stolen[1] == SECRET) is not sev
            assert len(stolen[0]) == len(SECRET)
            assert stolen[0] != SECRET
            # The victim itself still reads it.
            assert victim.cpu.read(SECRET_AT, len(SECRET)) == SECRET
