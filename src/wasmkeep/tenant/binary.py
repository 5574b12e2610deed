"""Reading WebAssembly's binary encoding: bounded, strict, one error for everything malformed.

Source: WebAssembly core specification, "Binary Format", sections "Values" and "Conventions". Integers are
LEB128 of a fixed greatest length; a padded encoding is legal (linkers leave room that way), a set bit
beyond the integer's width is not. Floats and vectors are kept as their raw little-endian bits.
"""

from __future__ import annotations

from typing import Final

from wasmkeep.errors import ProgramError

__all__ = ["MAX_NAME_BYTES", "Reader", "malformed", "unsupported"]

MAX_NAME_BYTES: Final = 100_000
"""Longest import, export or function name, in bytes (the limit browsers and wasmtime share)."""


def malformed(message: str, *, found: str = "", required: str = "") -> ProgramError:
    """A module that is not valid WebAssembly: truncated, out of bounds, contradictory."""
    return ProgramError(
        "program.malformed",
        f"not a valid WebAssembly module: {message}",
        found=found,
        required=required,
        meaning="nothing was sent",
        remedy="check that the file is complete, and rebuild it",
    )


def unsupported(feature: str, *, found: str = "", remedy: str = "") -> ProgramError:
    """A module that may be valid, but uses a feature the keep does not run; ``feature`` is its name."""
    return ProgramError(
        "program.unsupported",
        f"the program needs {feature}, which wasmkeep does not run",
        found=found,
        meaning="nothing was sent",
        remedy=remedy or "build the program without it; docs/programs.md lists what runs",
    )


class Reader:
    """A cursor over ``data[start:end]``; every read is checked against ``end``.

    All methods raise `ProgramError` (``program.malformed``) where the bytes do not allow the read.
    """

    __slots__ = ("data", "end", "position", "what")

    def __init__(self, data: bytes, start: int, end: int, what: str) -> None:
        if not 0 <= start <= end <= len(data):
            raise ValueError("reader outside its data")
        self.data = data
        self.position = start
        self.end = end
        self.what = what

    def at_end(self) -> bool:
        return self.position >= self.end

    def byte(self) -> int:
        if self.position >= self.end:
            raise self._truncated()
        value = self.data[self.position]
        self.position += 1
        return value

    def take(self, size: int) -> bytes:
        start = self.skip(size)
        return self.data[start : start + size]

    def skip(self, size: int) -> int:
        """Step over ``size`` bytes; returns the position they start at."""
        if size > self.end - self.position:
            raise self._truncated()
        start = self.position
        self.position += size
        return start

    def u32(self) -> int:
        # One byte is by far the commonest length; the loop below is the rule.
        if self.position < self.end:
            first = self.data[self.position]
            if first < 0x80:
                self.position += 1
                return first
        return self._unsigned(32)

    def s32(self) -> int:
        return self._signed(32)

    def s64(self) -> int:
        return self._signed(64)

    def count(self, limit: int, what: str, *, each: int = 1) -> int:
        """A vector's length: at most ``limit``, and no more than the bytes left can hold.

        ``each`` is the least number of bytes one element takes, so that nothing is allocated for elements
        that cannot be there.
        """
        value = self.u32()
        if value > limit:
            raise malformed(f"too many {what}", found=str(value), required=f"at most {limit}")
        if value * each > self.end - self.position:
            raise self._truncated()
        return value

    def name(self) -> str:
        size = self.count(MAX_NAME_BYTES, "bytes in a name")
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError as error:
            raise malformed(f"a name in the {self.what} is not UTF-8") from error

    def part(self, size: int, what: str) -> Reader:
        """The next ``size`` bytes as a reader of their own."""
        start = self.skip(size)
        return Reader(self.data, start, start + size, what)

    def finish(self) -> None:
        """Every byte must have been read."""
        if self.position != self.end:
            raise malformed(f"{self.end - self.position} bytes too many in the {self.what}")

    def _truncated(self) -> ProgramError:
        return malformed(f"the {self.what} ends early", found=f"end at byte {self.end}")

    def _unsigned(self, bits: int) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise malformed(f"an integer in the {self.what} is longer than {bits} bits")
        if value >> bits:
            raise malformed(f"an integer in the {self.what} is longer than {bits} bits")
        return value

    def _signed(self, bits: int) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise malformed(f"an integer in the {self.what} is longer than {bits} bits")
        if byte & 0x40:
            value -= 1 << shift
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise malformed(f"an integer in the {self.what} is longer than {bits} bits")
        return value
