"""What matters here of an ELF file: its loadable segments, checked (ELF-64, System V ABI chapter 5)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

from wasmkeep.errors import InputError

__all__ = ["MAX_IMAGE_SIZE", "MAX_SEGMENTS", "Segment", "load_segments"]

MAX_IMAGE_SIZE = 16 * 1024 * 1024
"""Bytes of one image file; a keep has about a hundred thousand."""
MAX_SEGMENTS = 64

_HEADER = struct.Struct("<16s H H I Q Q Q I H H H H H H")
_PROGRAM_HEADER = struct.Struct("<I I Q Q Q Q Q Q")
_IDENT = b"\x7fELF\x02\x01\x01"  # ELF-64, little-endian, version 1
_TYPE_EXECUTABLE, _MACHINE_X86_64, _PT_LOAD = 2, 62, 1
_ADDRESS_LIMIT = 1 << 48


@dataclass(frozen=True, slots=True)
class Segment:
    """One PT_LOAD: ``data`` at ``address``, zeros up to ``size`` bytes."""

    address: int
    size: int
    data: bytes


def load_segments(elf: bytes) -> tuple[Segment, ...]:
    """The loadable segments of an executable, by ascending address; empty ones are left out.

    Raises `InputError` ``image.malformed``: not a static little-endian x86-64 executable, a header or a
    segment outside the file, virtual and physical address that differ, segments that overlap.
    """
    if len(elf) > MAX_IMAGE_SIZE:
        raise malformed(f"{len(elf)} bytes", f"at most {MAX_IMAGE_SIZE} bytes")
    if len(elf) < _HEADER.size or not elf.startswith(_IDENT):
        raise malformed("another file", "an ELF-64 little-endian file")
    _, kind, machine, _, _, offset, _, _, _, entry_size, count, _, _, _ = _HEADER.unpack_from(elf)
    if kind != _TYPE_EXECUTABLE or machine != _MACHINE_X86_64:
        raise malformed(f"ELF type {kind}, machine {machine}", "a static x86-64 executable")
    if entry_size != _PROGRAM_HEADER.size or not 1 <= count <= MAX_SEGMENTS:
        raise malformed(f"{count} program headers of {entry_size} bytes", f"1 to {MAX_SEGMENTS} of 56 bytes")
    if offset + count * entry_size > len(elf):
        raise malformed("program headers past the end", "inside the file")
    segments = [
        _segment(elf, _PROGRAM_HEADER.unpack_from(elf, offset + index * entry_size)) for index in range(count)
    ]
    present = sorted((entry for entry in segments if entry and entry.size), key=lambda entry: entry.address)
    for lower, upper in pairwise(present):
        if lower.address + lower.size > upper.address:
            raise malformed(f"segments overlap at {upper.address:#x}", "segments apart")
    return tuple(present)


def _segment(elf: bytes, header: tuple[int, ...]) -> Segment | None:
    kind, _, offset, virtual, physical, file_size, memory_size, _ = header
    if kind != _PT_LOAD:
        return None
    if virtual != physical:
        raise malformed(f"segment at {virtual:#x}, physically {physical:#x}", "one address")
    if file_size > memory_size or offset + file_size > len(elf) or virtual + memory_size > _ADDRESS_LIMIT:
        raise malformed(f"segment at {virtual:#x} past the end", "inside file and address space")
    return Segment(virtual, memory_size, elf[offset : offset + file_size])


def malformed(found: str, required: str) -> InputError:
    """The error for an image that cannot be launched."""
    return InputError(
        "image.malformed",
        "the keep's image cannot be read",
        found=found,
        required=required,
        remedy="build it again with `make image`",
    )
