"""A guest's own page tables: linear to guest-physical addresses (architecture manual volume 2, chapter 5).

Under SEV tables are read as encrypted whatever their entries say, and so is every access while the guest has
no paging; the C-bit of the last entry chooses for data (15.34.5). Legacy 32-bit tables have no room for the
bit: everything is encrypted there. Accessed and dirty bits are not set, protection keys and SMAP not checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.simulator.core.engine import Access
from wasmkeep.simulator.memory_controller import C_BIT

_PE_PG, _CR0_WP = 1 << 31 | 1 << 0, 1 << 16
_CR4_PSE, _CR4_PAE, _CR4_SMEP = 1 << 4, 1 << 5, 1 << 20
_EFER_LMA, _EFER_NXE = 1 << 10, 1 << 11
_PRESENT, _WRITABLE, _USER, _LARGE, _NO_EXECUTE = 1 << 0, 1 << 1, 1 << 2, 1 << 7, 1 << 63
_FAULT_PRESENT, _FAULT_WRITE, _FAULT_USER, _FAULT_FETCH = 1 << 0, 1 << 1, 1 << 2, 1 << 4
_ADDRESS = (1 << C_BIT.bit_length() - 1) - 1 & ~(PAGE - 1)  # bits 12 to 50
_TABLE_32 = 0xFFFF_F000

ReadEntry = Callable[[int, int], int]  # guest-physical address and size in bytes → entry


class PageFault(Exception):
    """#PF, with its error code."""

    def __init__(self, error: int) -> None:
        super().__init__(f"{error:#x}")
        self.error = error


@dataclass(frozen=True, slots=True)
class Paging:
    """What decides over a translation."""

    cr0: int
    cr3: int
    cr4: int
    efer: int
    user: bool

    @property
    def is_on(self) -> bool:
        return self.cr0 & _PE_PG == _PE_PG

    def fault(self, access: Access, *, present: bool) -> PageFault:
        error = _FAULT_PRESENT if present else 0
        error |= _FAULT_WRITE if access is Access.WRITE else 0
        error |= _FAULT_USER if self.user else 0
        no_execute = (self.cr4 & _CR4_PAE and self.efer & _EFER_NXE) or self.cr4 & _CR4_SMEP
        return PageFault(error | (_FAULT_FETCH if access is Access.FETCH and no_execute else 0))


@dataclass(frozen=True, slots=True)
class Walked:
    """A guest-physical page and whether data there goes through the guest's key."""

    gpa: int
    encrypted: bool


def walk(linear: int, access: Access, paging: Paging, read: ReadEntry) -> Walked:
    """Where the page at `linear` is. Raises `PageFault`, and whatever `read` raises."""
    if not paging.is_on:
        return Walked(linear & 0xFFFF_F000, encrypted=True)
    if paging.efer & _EFER_LMA:
        if linear + (1 << 47) & 0xFFFF_FFFF_FFFF_FFFF >= 1 << 48:  # a #GP or #SS in life
            raise paging.fault(access, present=False)
        return _walk_wide(linear, access, paging, read, paging.cr3 & _ADDRESS, 4)
    if paging.cr4 & _CR4_PAE:
        return _walk_wide(linear & 0xFFFF_FFFF, access, paging, read, paging.cr3 & 0xFFFF_FFE0, 3)
    return _walk_narrow(linear & 0xFFFF_FFFF, access, paging, read)


def _walk_wide(
    linear: int, access: Access, paging: Paging, read: ReadEntry, table: int, levels: int
) -> Walked:
    """Entries of eight bytes, 512 a table."""
    allowed = _WRITABLE | _USER
    executable = True
    level = levels
    while True:
        shift = 12 + 9 * (level - 1)
        entry = read(table + (linear >> shift & 0x1FF) * 8, 8)
        if not entry & _PRESENT:
            raise paging.fault(access, present=False)
        if not (levels == 3 and level == 3):  # the four entries at the top of PAE have no such bits
            allowed &= entry
            executable = executable and not (entry & _NO_EXECUTE and paging.efer & _EFER_NXE)
        if level == 1 or (level < 4 and entry & _LARGE and not (levels == level == 3)):
            _check(access, paging, allowed, executable=executable)
            inside = (1 << shift) - 1
            gpa = entry & _ADDRESS & ~inside | linear & inside & ~(PAGE - 1)
            return Walked(gpa, encrypted=bool(entry & C_BIT))
        table = entry & _ADDRESS
        level -= 1


def _walk_narrow(linear: int, access: Access, paging: Paging, read: ReadEntry) -> Walked:
    """Entries of four bytes, 1024 a table."""
    entry = read((paging.cr3 & _TABLE_32) + (linear >> 22) * 4, 4)
    if not entry & _PRESENT:
        raise paging.fault(access, present=False)
    if entry & _LARGE and paging.cr4 & _CR4_PSE:
        _check(access, paging, entry, executable=True)
        return Walked(entry & 0xFFC0_0000 | linear & 0x3F_F000, encrypted=True)
    allowed = entry
    entry = read((entry & _TABLE_32) + (linear >> 12 & 0x3FF) * 4, 4)
    if not entry & _PRESENT:
        raise paging.fault(access, present=False)
    _check(access, paging, allowed & entry, executable=True)
    return Walked(entry & _TABLE_32, encrypted=True)


def _check(access: Access, paging: Paging, allowed: int, *, executable: bool) -> None:
    """Raise the fault of a page that is there and must not be used so."""
    if paging.user and not allowed & _USER:
        raise paging.fault(access, present=True)
    if access is Access.WRITE and not allowed & _WRITABLE and (paging.user or paging.cr0 & _CR0_WP):
        raise paging.fault(access, present=True)
    if access is Access.FETCH:
        supervisor_in_user_page = paging.cr4 & _CR4_SMEP and not paging.user and allowed & _USER
        if not executable or supervisor_in_user_page:
            raise paging.fault(access, present=True)
