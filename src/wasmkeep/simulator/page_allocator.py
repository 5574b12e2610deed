"""The host kernel's memory for guests: ranges of physical pages, zeroed when they are handed out.

What was given back stays in DRAM until somebody gets it: a cold-boot dump finds it, as in life.
"""

from __future__ import annotations

import errno
import threading

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.simulator.dram import Dram


class PageAllocator:
    """Ranges of whole pages, never the page at 0. Thread safe."""

    def __init__(self, dram: Dram) -> None:
        self._dram = dram
        self._lock = threading.Lock()
        self._next = PAGE
        self._free: dict[int, list[int]] = {}  # by size

    def allocate(self, size: int) -> int:
        """The address of `size` bytes of zeros. OSError ENOMEM where there is no room."""
        size = _rounded(size)
        with self._lock:
            returned = self._free.get(size)
            if returned:
                address = returned.pop()
            elif self._dram.holds(self._next, size):
                address, self._next = self._next, self._next + size
            else:
                raise OSError(errno.ENOMEM, "no physical memory left")
        self._dram.clear(address, size)
        return address

    def free(self, address: int, size: int) -> None:
        """Give back what `allocate` gave, once."""
        with self._lock:
            self._free.setdefault(_rounded(size), []).append(address)


def _rounded(size: int) -> int:
    """Up to a power of two: what was given back fits again, whatever sizes hosts think of."""
    return 1 << (max(size, PAGE) - 1).bit_length()
