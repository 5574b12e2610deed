"""Physical memory: it holds whatever the memory controller stored, and gives it to whoever reads.

A cold-boot dump, a device's DMA and the hypervisor's ``dd`` are reads of it. Pages are made as they are
first written; the others are zero.
"""

from __future__ import annotations

from collections.abc import Iterator

from wasmkeep.hardware.kvm_sev import PAGE

ADDRESS_BITS = 48  # C-bit and whatever a page-table entry holds above are no part of an address


class Dram:
    """`size` bytes from address 0. Ranges outside are ValueError: ask `holds` first."""

    def __init__(self, size: int) -> None:
        if size % PAGE or not 0 < size <= 1 << ADDRESS_BITS:
            raise ValueError("physical memory is whole pages, at most 256 TiB")
        self.size = size
        self._pages: dict[int, bytearray] = {}

    def holds(self, address: int, size: int) -> bool:
        return address >= 0 and size >= 0 and address + size <= self.size

    def read(self, address: int, size: int) -> bytes:
        """A copy."""
        parts = []
        for page, start, end in self._split(address, size):
            stored = self._pages.get(page)
            parts.append(bytes(end - start) if stored is None else bytes(stored[start:end]))
        return b"".join(parts)

    def write(self, address: int, data: bytes | memoryview) -> None:
        done = 0
        for page, start, end in self._split(address, len(data)):
            stored = self._pages.get(page)
            if stored is None:
                stored = self._pages[page] = bytearray(PAGE)
            stored[start:end] = data[done : done + end - start]
            done += end - start

    def clear(self, address: int, size: int) -> None:
        """Zeros in whole pages, and what held them is given back."""
        first, last = address // PAGE, (address + size) // PAGE
        if last - first < len(self._pages):
            gone = [page for page in range(first, last) if page in self._pages]
        else:
            gone = [page for page in list(self._pages) if first <= page < last]
        for page in gone:
            del self._pages[page]

    def _split(self, address: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Page number, and begin and end within it, for each page of the range."""
        if not self.holds(address, size):
            raise ValueError("outside the physical memory")
        end = address + size
        while address < end:
            start = address % PAGE
            stop = min(PAGE, start + end - address)
            yield address // PAGE, start, stop
            address += stop - start
