"""Memory of a virtual machine: one anonymous mapping, with a shared window mapped into it in place.

One mapping means one KVM memory slot, and each slot costs a tenth of a millisecond to make.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

# The mmap module of Python 3.11 lacks these (asm-generic/mman.h, mman-common.h).
_MADV_POPULATE_WRITE = 23
_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
_PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE


class Memory:
    """`size` bytes of zeros, taken from the system as they are touched; left out of core dumps.

    Reads and writes go through `view`; nobody may keep a slice of it beyond `close`.
    """

    def __init__(self, size: int) -> None:
        """Raises OSError where the system has no room."""
        self.size = size
        self._mapping = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
        self.address = ctypes.addressof(ctypes.c_uint8.from_buffer(self._mapping))
        self.view = memoryview(self._mapping)
        _libc.madvise(self.address, size, mmap.MADV_DONTDUMP)

    def share(self, offset: int, size: int, descriptor: int) -> None:
        """Replace `size` bytes at `offset` by the file's, shared with everyone who maps it."""
        if offset % mmap.PAGESIZE or size % mmap.PAGESIZE or not 0 <= offset <= self.size - size:
            raise ValueError("a window lies inside the memory, on whole pages")
        flags = mmap.MAP_SHARED | _MAP_FIXED
        result = _libc.mmap(self.address + offset, size, _PROTECTION, flags, descriptor, 0)
        if result != self.address + offset:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def populate(self, offset: int, size: int) -> None:
        """Have the system put pages there now, in one go: ten times cheaper than one fault a page.

        A hint: where the kernel cannot (before 5.14), pages come as they are touched.
        """
        if not 0 <= offset <= self.size - size:
            raise ValueError("outside the memory")
        _libc.madvise(self.address + offset, size, _MADV_POPULATE_WRITE)

    def prefer_large_pages(self, offset: int) -> None:
        """From `offset` on, have the system give 2 MiB at a first touch: for memory that is used in bulk.

        A hint: where the kernel has no large pages, small ones come as before.
        """
        if not 0 <= offset <= self.size or offset % mmap.PAGESIZE:
            raise ValueError("outside the memory")
        if offset < self.size:
            _libc.madvise(self.address + offset, self.size - offset, mmap.MADV_HUGEPAGE)

    def close(self) -> None:
        """Give the memory back. Raises BufferError while a slice of `view` is held."""
        self.view.release()
        self._mapping.close()


# Nobody can cut it short under the other: touching what is cut off would kill the process that does.
_WINDOW_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def create_window(size: int) -> int:
    """A shared window of zeros as a descriptor, sealed against resizing by whoever gets it."""
    descriptor = os.memfd_create("wasmkeep-window", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _WINDOW_SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
