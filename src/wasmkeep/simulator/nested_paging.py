"""A guest's nested page table: which system physical page stands behind each guest-physical one.

It is the hypervisor's. Before SNP nothing binds a page to its place: a hypervisor may map another page of the
same guest there, or the same page twice, and the guest cannot tell (`remap`).
"""

from __future__ import annotations

from wasmkeep.hardware.kvm_sev import PAGE


class NestedFault(Exception):
    """No memory behind `gpa`. `reserved`: the entry says so by a reserved bit, as KVM marks MMIO."""

    def __init__(self, gpa: int, *, reserved: bool) -> None:
        super().__init__(f"{gpa:#x}")
        self.gpa = gpa
        self.reserved = reserved


class NestedTable:
    """`size` bytes of guest-physical memory at `base`, until remapped; everything above is MMIO."""

    def __init__(self, base: int, size: int) -> None:
        self._base = base
        self.size = size
        self._remapped: dict[int, int | None] = {}  # by guest page address; None: not present

    def remap(self, gpa: int, spa: int) -> None:
        """Put the page at `spa` behind `gpa`; an SPA with C-bit is the host's own encrypted page (SME)."""
        self._check(gpa)
        self._remapped[gpa] = spa

    def unmap(self, gpa: int) -> None:
        """Have the guest's next access end in an exit."""
        self._check(gpa)
        self._remapped[gpa] = None

    def lookup(self, gpa: int) -> int:
        """The SPA behind a page address. Raises `NestedFault`."""
        if gpa >= self.size:
            raise NestedFault(gpa, reserved=True)
        spa = self._remapped.get(gpa, self._base + gpa)
        if spa is None:
            raise NestedFault(gpa, reserved=False)
        return spa

    def _check(self, gpa: int) -> None:
        if gpa % PAGE or not 0 <= gpa < self.size:
            raise ValueError("a page of the guest's memory")
