"""A trap in the program's own words: what it is called, where it happened, who had called.

The keep reports addresses (docs/protocol.md section 3, TRAP) and knows nothing of WebAssembly; the tenant
compiled the program and has its tables. A trap is named by wasmtime's code for the instruction where it
happened; where the stack ran into its guard, or the keep's own code ended the program, there is none.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Protocol

from wasmkeep.tenant import wasmtime_facts as facts
from wasmkeep.tenant.program import WINDOW_START, Program, TrapTables
from wasmkeep.tenant.trap_symbols import FunctionFinder

__all__ = ["Report", "Trap", "describe"]

STACK_GUARD: Final = range(0x60_0000, 0x80_0000)
"""Below the program's stack: nothing but a stack that ran over reaches it."""
LINEAR_MEMORY: Final = range(0x1_0000_0000, 0x3_0020_0000)
"""Linear memory and its guard: 4 GiB each, beginning within the first 2 MiB."""
PAGE_FAULT: Final = 14

_BLOCK: Final = struct.Struct("<II")


class Report(Protocol):
    """What a keep reports of a trap; x86's numbers, addresses in the keep."""

    @property
    def vector(self) -> int: ...
    @property
    def instruction(self) -> int: ...
    @property
    def fault_address(self) -> int: ...
    @property
    def memory_length(self) -> int: ...
    @property
    def frames(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class Trap:
    """``name`` is wasmtime's word for the trap; ``detail`` what is known beyond it, perhaps nothing;
    ``backtrace`` the functions under way, innermost first, as ``name+0x12`` (bytes of machine code)."""

    name: str
    detail: str
    backtrace: tuple[str, ...]


def describe(report: Report, program: Program) -> Trap:
    """Name a trap of ``program``. Never raises: what cannot be named is said to be unknown."""
    tables = program.traps
    finder = FunctionFinder(tables)
    offset = report.instruction - WINDOW_START
    code = trap_code(tables, offset) if 0 <= offset < tables.text_size else None
    name, detail = _name(report, code)
    backtrace: list[str] = []
    if 0 <= offset < tables.text_size:
        backtrace += finder.describe(offset)
    for address in report.frames:
        # A return address is the instruction after the call: one byte back is inside the call.
        backtrace += finder.describe(address - 1 - WINDOW_START)
    return Trap(name, detail, tuple(backtrace))


def _name(report: Report, code: int | None) -> tuple[str, str]:
    fault = report.fault_address if report.vector == PAGE_FAULT else None
    if fault is not None and fault in STACK_GUARD:
        return facts.TRAP_NAMES[facts.TRAP_STACK_OVERFLOW], ""
    if code is None:
        return "unknown trap", f"x86 vector {report.vector} at 0x{report.instruction:x}"
    name = facts.TRAP_NAMES.get(code, f"wasmtime trap {code}")
    if code == facts.TRAP_MEMORY_OUT_OF_BOUNDS and fault is not None:
        if fault in LINEAR_MEMORY:
            place = f"address 0x{fault - LINEAR_MEMORY.start:x}"
        else:
            place = "address beyond 4 GiB"
        return name, f"{place}; the memory has {report.memory_length} bytes"
    return name, ""


def trap_code(tables: TrapTables, offset: int) -> int | None:
    """wasmtime's code for the instruction at ``offset`` in the text; None where it has none.

    The table: {entries u32, blocks u32}, blocks × {first offset u32, position u32}, then the blocks, each
    {usual code u8} and up to 128 × LEB128 (distance from the entry before) << 1 | other code follows
    (crates/environ/src/compile/trap_encoding.rs).
    """
    try:
        return _search(tables.codes, offset)
    except (struct.error, IndexError):
        return None


def _search(codes: bytes, offset: int) -> int | None:
    entries, blocks = _BLOCK.unpack_from(codes)
    low, high = 0, blocks
    while low < high:
        middle = (low + high) // 2
        if _BLOCK.unpack_from(codes, 8 + 8 * middle)[0] <= offset:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return None
    at, position = _BLOCK.unpack_from(codes, 8 * low)
    position += 8 + 8 * blocks
    usual = codes[position]
    position += 1
    for _ in range(min(facts.TRAP_BLOCK_ENTRIES, entries - (low - 1) * facts.TRAP_BLOCK_ENTRIES)):
        token = shift = 0
        while True:
            byte = codes[position]
            position += 1
            token |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        at += token >> 1
        code = usual
        if token & 1:
            code = codes[position]
            position += 1
        if at >= offset:
            return code if at == offset else None
    return None
