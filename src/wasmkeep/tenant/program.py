"""A compiled, laid out program: the program part of a package, byte for byte, and what traps need.

Source: docs/protocol.md, section 4, "Program part". The bytes depend only on the module, the compiler's
version and the target; their SHA-256 is the program digest, which the keep proves back.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from wasmkeep.errors import ProgramError

__all__ = ["Fixed", "Program", "Protection", "Relocation", "Run", "Segment", "TrapTables", "encode_part"]

LAYOUT_VERSION: Final = 2
"""Raised whenever the same module and compiler would give other bytes; part of the cache's key. The examples'
recorded digests say which layout they are of, and are not recorded anew under the same number."""

MAGIC: Final = b"WKPROG01"
HEADER: Final = struct.Struct("<8sIIII QQQQ II 64s 64x")
_SEGMENT: Final = struct.Struct("<QQQII")
_RELOCATION: Final = struct.Struct("<QII")
_RUN: Final = struct.Struct("<II")

WINDOW_START: Final = 0x4000_0000
WINDOW_END: Final = 0x8000_0000
SEGMENT_ALIGNMENT: Final = 2 << 20
MAX_SEGMENTS: Final = 8
MAX_SEGMENT_BYTES: Final = 512 << 20
MAX_RELOCATIONS: Final = 65_536
MAX_RUNS: Final = 65_536
MAX_TARGET_BYTES: Final = 64

BUILTIN_MEMORY_GROW: Final = 64
BUILTIN_MEMORY_COPY: Final = 65
BUILTIN_MEMORY_FILL: Final = 66
BUILTIN_TRAP: Final = 67


class Protection(IntEnum):
    READ = 1
    READ_WRITE = 2
    READ_EXECUTE = 3


@dataclass(frozen=True, slots=True)
class Segment:
    """``memory_size`` bytes at ``address``; the first of them are ``content``, the others zero."""

    address: int
    memory_size: int
    protection: Protection
    content: bytes


@dataclass(frozen=True, slots=True)
class Relocation:
    """The u64 at ``address`` becomes the address of the keep's ``builtin``."""

    address: int
    builtin: int


@dataclass(frozen=True, slots=True)
class Run:
    """Initial content of linear memory, at ``offset``."""

    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Fixed:
    """The addresses a keep needs, and the memory's size in 64 KiB pages."""

    vmctx: int
    start: int
    entry: int
    memory_definition: int
    memory_minimum: int
    memory_maximum: int


@dataclass(frozen=True, slots=True)
class TrapTables:
    """What turns an address into a function and a trap's name; decoded only when something trapped.

    ``text_size`` bytes at `WINDOW_START` are the program's own text. ``symbols`` holds, for each function in
    ascending order, {offset u32, size u32, function index u32}; ``names`` the texts, NUL-separated, in the
    same order (empty where unknown); ``codes`` wasmtime's own table of trapping instructions.
    """

    text_size: int
    symbols: bytes
    names: bytes
    codes: bytes


@dataclass(frozen=True, slots=True)
class Program:
    """``part`` is delivered as it is; ``digest`` is its SHA-256. Made by `wasmkeep.tenant.compile` only."""

    target: str
    part: bytes
    digest: bytes
    memory_minimum: int
    memory_maximum: int
    traps: TrapTables


def encode_part(
    target: str,
    fixed: Fixed,
    segments: Sequence[Segment],
    relocations: Sequence[Relocation],
    runs: Sequence[Run],
) -> tuple[bytes, bytes]:
    """The program part's bytes and their SHA-256.

    :raises ProgramError: ``program.size``: it exceeds what a keep accepts.
    """
    encoded = target.encode("ascii")
    _check_bounds(encoded, segments, relocations, runs)
    pieces = [
        HEADER.pack(
            MAGIC,
            len(segments),
            len(relocations),
            len(runs),
            0,
            fixed.vmctx,
            fixed.start,
            fixed.entry,
            fixed.memory_definition,
            fixed.memory_minimum,
            fixed.memory_maximum,
            encoded,
        )
    ]
    pieces += [_SEGMENT.pack(x.address, x.memory_size, len(x.content), x.protection, 0) for x in segments]
    pieces += [x.content for x in segments]
    pieces += [_RELOCATION.pack(x.address, x.builtin, 0) for x in relocations]
    for run in runs:
        pieces += [_RUN.pack(run.offset, len(run.content)), run.content]
    part = b"".join(pieces)
    return part, hashlib.sha256(part).digest()


def _check_bounds(
    target: bytes, segments: Sequence[Segment], relocations: Sequence[Relocation], runs: Sequence[Run]
) -> None:
    if len(target) > MAX_TARGET_BYTES:
        raise ValueError("a target's name longer than its field")
    _check("segments", len(segments), MAX_SEGMENTS)
    _check("relocations", len(relocations), MAX_RELOCATIONS)
    _check("runs of initial data", len(runs), MAX_RUNS)
    for segment in segments:
        _check("bytes in one segment", segment.memory_size, MAX_SEGMENT_BYTES)
        _check("addresses used", segment.address + segment.memory_size, WINDOW_END)


def _check(what: str, found: int, most: int) -> None:
    if found > most:
        raise ProgramError(
            "program.size",
            f"the compiled program is too large for a keep: too many {what}",
            found=str(found),
            required=f"at most {most}",
            meaning="nothing was sent",
            remedy="build a smaller program",
        )
