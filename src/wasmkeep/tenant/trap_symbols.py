"""Which function is where: kept beside a program, small and undecoded, until something traps."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Mapping
from typing import Final

from wasmkeep.tenant import wasmtime_facts as facts
from wasmkeep.tenant.elf import FactsChanged, ObjectFile, Symbol
from wasmkeep.tenant.program import TrapTables
from wasmkeep.tenant.wasm_types import Module

__all__ = ["FunctionFinder", "encode_symbols", "function_bodies"]

_ENTRY: Final = struct.Struct("<III")
_NO_FUNCTION: Final = 0xFFFF_FFFF
"""The index of code that is no function of the program: a trampoline."""


def function_bodies(compiled: ObjectFile) -> dict[int, Symbol]:
    """Where each function's body is, by function index.

    :raises FactsChanged: a symbol's name does not read as wasmtime writes it.
    """
    prefix = facts.SYMBOL_FUNCTION
    bodies: dict[int, Symbol] = {}
    for name, symbol in compiled.symbols.items():
        if name.startswith(prefix):
            number = name[len(prefix) :].partition("]")[0]
            if not number.isdecimal() or int(number) in bodies:
                raise FactsChanged(f"the symbol {name!r} names no function")
            bodies[int(number)] = symbol
    return bodies


def encode_symbols(module: Module, compiled: ObjectFile, bodies: Mapping[int, Symbol]) -> tuple[bytes, bytes]:
    """`TrapTables.symbols` and `TrapTables.names` of a compiled module."""
    entries = [
        (symbol.offset, symbol.size, function, module.names.get(function, ""))
        for function, symbol in bodies.items()
    ]
    entries += [
        (symbol.offset, symbol.size, _NO_FUNCTION, name)
        for name, symbol in compiled.symbols.items()
        if not name.startswith(facts.SYMBOL_FUNCTION)
    ]
    entries.sort()
    symbols = b"".join(_ENTRY.pack(offset, size, function) for offset, size, function, _ in entries)
    names = "\0".join(name.replace("\0", "\N{REPLACEMENT CHARACTER}") for *_, name in entries)
    return symbols, names.encode("utf-8", "replace")


class FunctionFinder:
    """The functions of one program by where they are; decodes the tables once."""

    def __init__(self, tables: TrapTables) -> None:
        self._entries = list(_ENTRY.iter_unpack(tables.symbols))
        self._names = tables.names.decode("utf-8", "replace").split("\0")

    def describe(self, offset: int) -> list[str]:
        """One line for the function of the program that holds ``offset`` in its text, else none.

        Trampolines are not the program's, and are left out.
        """
        position = bisect.bisect_right(self._entries, (offset, _NO_FUNCTION, _NO_FUNCTION)) - 1
        if position < 0:
            return []
        start, size, function = self._entries[position]
        if offset >= start + size or function == _NO_FUNCTION:
            return []
        name = self._names[position] if position < len(self._names) else ""
        return [f"{_printable(name) or f'function[{function}]'}+0x{offset - start:x}"]


def _printable(name: str) -> str:
    return name if name.isprintable() else "".join(x if x.isprintable() else "?" for x in name)
