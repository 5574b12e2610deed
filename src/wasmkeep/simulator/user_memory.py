"""The memory of the host's process as far as a frame brought it along: what copy_from_user and copy_to_user
reach.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TypeVar

from wasmkeep.hardware.frames import Segment
from wasmkeep.hardware.psp_sev import MAX_BLOB
from wasmkeep.hardware.structures import Structure, size_of

S = TypeVar("S", bound=Structure)


class UserMemory:
    """Segments by address. What is written goes back with the reply, whole segments, each once."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = {segment.address: segment.data for segment in segments}
        self._written: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """A copy of `size` bytes at `address`, from one segment. Raises OSError EFAULT."""
        return bytes(self.view(address, size))

    def view(self, address: int, size: int) -> bytes | memoryview:
        """The same without a copy, for as long as the call lasts."""
        exact = self._segments.get(address)
        if exact is not None and len(exact) == size:
            return exact
        for start, data in self._segments.items():
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        raise OSError(errno.EFAULT, "no such user memory")

    def blob(self, address: int, size: int) -> bytes:
        """A copy of what a user hands the firmware (psp_copy_user_blob): something, and at most 16 KiB.

        Raises OSError EINVAL or EFAULT.
        """
        if not address or not 0 < size <= MAX_BLOB:
            raise OSError(errno.EINVAL, "no blob, or larger than any")
        return self.read(address, size)

    def structure(self, kind: type[S], address: int) -> S:
        """A copy of the structure at `address`. Raises OSError EFAULT."""
        return kind.from_buffer_copy(self.view(address, size_of(kind)))

    def write(self, address: int, data: bytes) -> None:
        """Write inside one segment. Raises OSError EFAULT."""
        for start, held in self._segments.items():
            offset = address - start
            if offset >= 0 and offset + len(data) <= len(held):
                changed = b"".join((held[:offset], data, held[offset + len(data) :]))
                self._segments[start] = self._written[start] = changed
                return
        raise OSError(errno.EFAULT, "no such user memory")

    def written(self) -> tuple[Segment, ...]:
        return tuple(Segment(address, data) for address, data in self._written.items())
