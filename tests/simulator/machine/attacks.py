"""What whoever owns the computer can do to a bare guest: each attack as a function, to be tried with and
without protection. None uses anything that the hypervisor, a device or a screwdriver would not have.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.simulator.machine.bare import BareGuest, Computer
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.machine_calls import RunState
from wasmkeep.simulator.save_area import GENERAL, XMM_COUNT

# Looking at memory


def scrape(guest: BareGuest) -> bytes:
    """Root's ``dd`` of the guest's memory, through the hypervisor's mapping."""
    return guest.raw(0, guest.cpu.size)


def dma(guest: BareGuest) -> bytes:
    """A device reads the pages it found in the guest's nested table."""
    pages = [guest.cpu.nested.lookup(gpa) for gpa in range(0, guest.cpu.size, PAGE)]
    return b"".join(guest.computer.controller.read(page, PAGE) for page in pages)


def cold_boot(computer: Computer) -> bytes:
    """The memory modules, taken out and read elsewhere: no memory controller between."""
    return computer.dram.read(0, computer.dram.size)


def escape(victim: BareGuest, attacker: BareGuest, gpa: int, window: int) -> None:
    """An attacker who broke out of its own guest into the hypervisor maps a victim's page into itself."""
    attacker.cpu.nested.remap(window, victim.cpu.nested.lookup(gpa))


# Registers at an exit


def registers(guest: BareGuest) -> bytes:
    """Everything that a hypervisor finds where a guest's registers may be: its save area, and the VMSA."""
    area = guest.cpu.block.save
    general = b"".join(area[name].to_bytes(8, "little") for name in GENERAL)
    vectors = b"".join(area.xmm(number) for number in range(XMM_COUNT))
    return general + vectors + guest.computer.controller.read(guest.cpu.block.vmsa, PAGE)


def set_register(guest: BareGuest, name: str, value: int) -> None:
    """Between two entries, as any hypervisor may that emulates an instruction."""
    guest.cpu.block.save[name] = value


def tamper_with_vmsa(guest: BareGuest, at: int) -> None:
    """Flip a bit of the saved registers' ciphertext."""
    address = guest.cpu.block.vmsa + at
    byte = guest.computer.controller.read(address, 1)[0]
    guest.computer.controller.write(address, bytes([byte ^ 1]))


def replay_vmsa(guest: BareGuest, between: Callable[[], RunState]) -> None:
    """Put the registers of an earlier exit back, as ciphertext."""
    address = guest.cpu.block.vmsa
    earlier = guest.computer.controller.read(address, PAGE)
    between()
    guest.computer.controller.write(address, earlier)


# Ciphertext moved in time and space


def replay(guest: BareGuest, gpa: int, between: Callable[[], RunState]) -> None:
    """Put a page's earlier ciphertext back where it was."""
    earlier = guest.raw(gpa, PAGE)
    between()
    guest.computer.controller.write(guest.cpu.spa(gpa, PAGE), earlier)


def move(guest: BareGuest, gpa: int, to: int) -> None:
    """Copy a page's ciphertext to another address."""
    guest.computer.controller.write(guest.cpu.spa(to, PAGE), guest.raw(gpa, PAGE))


def remap(guest: BareGuest, gpa: int, behind: int) -> None:
    """Show the guest, at `gpa`, its own page from `behind`."""
    guest.cpu.nested.remap(gpa, guest.cpu.nested.lookup(behind))
