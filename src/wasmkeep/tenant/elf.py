"""The ELF file that wasmtime's compiler gives: sections and function symbols, bounds-checked.

Source: System V gABI, chapter 4 (ELF header, section header, symbol table), 64-bit little-endian. The file
comes from the tenant's own compiler; a file that does not parse means that wasmtime changed, so that is a
plain error about facts (`FactsChanged`), never about the user's program.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["FactsChanged", "ObjectFile", "Symbol", "parse"]

_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")


class FactsChanged(RuntimeError):
    """What wasmtime produced contradicts `wasmkeep.tenant.wasmtime_facts`: a bug of wasmkeep's."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function's place in the text: offset from its start and size, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ObjectFile:
    text: bytes
    traps: bytes
    symbols: dict[str, Symbol]


def parse(data: bytes, *, text_section: str, traps_section: str) -> ObjectFile:
    """Sections and symbols of a compiled module.

    :raises FactsChanged: it is not the ELF file that wasmtime 50.0.1 makes.
    """
    try:
        sections = _sections(data)
        symbols = _symbols(data, sections)
        text = _bytes(data, sections[text_section])
        traps = _bytes(data, sections[traps_section])
    except (struct.error, KeyError, ValueError) as error:
        raise FactsChanged(f"the compiled module does not read as wasmtime's ELF: {error!r}") from error
    for name, symbol in symbols.items():
        if symbol.offset + symbol.size > len(text):
            raise FactsChanged(f"the symbol {name} lies outside the text")
    return ObjectFile(text, traps, symbols)


_Header = tuple[int, int, int, int, int, int, int, int, int, int]


def _sections(data: bytes) -> dict[str, _Header]:
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("no 64-bit little-endian ELF header")
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    if size != _SECTION.size:
        raise ValueError("section headers of another size")
    headers = [_SECTION.unpack_from(data, table + number * size) for number in range(count)]
    if names >= count:
        raise ValueError("no section names")
    strings = _bytes(data, headers[names])
    return {_string(strings, header[0]): header for header in headers}


def _symbols(data: bytes, sections: dict[str, _Header]) -> dict[str, Symbol]:
    table, strings = _bytes(data, sections[".symtab"]), _bytes(data, sections[".strtab"])
    if len(table) % _SYMBOL.size:
        raise ValueError("a symbol table of an odd size")
    symbols: dict[str, Symbol] = {}
    for name, info, _, _, value, size in _SYMBOL.iter_unpack(table):
        if info & 0x0F == 2:  # STT_FUNC
            symbols[_string(strings, name)] = Symbol(value, size)
    return symbols


def _bytes(data: bytes, header: _Header) -> bytes:
    offset, size = header[4], header[5]
    if offset + size > len(data):
        raise ValueError("a section outside the file")
    return data[offset : offset + size]


def _string(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode("utf-8")
