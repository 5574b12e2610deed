"""A MOV between a register and memory that is no memory, done by the hypervisor for a guest whose registers
it has: the forms that compilers and drivers use for MMIO.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.simulator.core.instructions import GENERAL, prefixes
from wasmkeep.simulator.save_area import SaveArea

_OPERAND_SIZE, _ADDRESS_SIZE, _LONG, _DEFAULT_BIG = 0x66, 0x67, 1 << 9, 1 << 10


@dataclass(frozen=True, slots=True)
class Move:
    """`value` is what is written, None of a read. `register` takes a read, extended to `width` bytes."""

    size: int
    length: int
    value: int | None = None
    register: str = ""
    high_byte: bool = False
    width: int = 0
    signed: bool = False

    def finish(self, area: SaveArea, data: bytes) -> None:
        """Step over the instruction, which read `data` (of `size` bytes, or more)."""
        area["rip"] += self.length
        if self.value is not None:
            return
        value = int.from_bytes(data[: self.size], "little", signed=self.signed) & (1 << 8 * self.width) - 1
        if self.width >= 4:
            area[self.register] = value
        else:
            shift = 8 if self.high_byte else 0
            mask = (1 << 8 * self.width) - 1 << shift
            area[self.register] = area[self.register] & ~mask | value << shift


class _Reader:
    def __init__(self, code: bytes) -> None:
        self._code = code
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self._code[self.at - 1]

    def number(self, size: int) -> int:
        self.at += size
        part = self._code[self.at - size : self.at]
        if len(part) < size:
            raise IndexError
        return int.from_bytes(part, "little", signed=True)


def decode(code: bytes, area: SaveArea) -> Move | None:
    """The instruction at RIP, or None where it is none of these. `code`: up to 15 bytes of it."""
    try:
        return _decode(code, area)
    except IndexError:
        return None


def _decode(code: bytes, area: SaveArea) -> Move | None:
    attributes = area.segment("cs").attributes
    long_mode, big = bool(attributes & _LONG), bool(attributes & (_LONG | _DEFAULT_BIG))
    count = prefixes(code, long_mode=long_mode)
    legacy, reader = code[:count], _Reader(code)
    reader.at = count
    rex = legacy[-1] if long_mode and legacy and legacy[-1] & 0xF0 == 0x40 else 0
    wide = 8 if rex & 8 else 4 if big != (_OPERAND_SIZE in legacy) else 2
    address = 8 if long_mode else 4 if big != (_ADDRESS_SIZE in legacy) else 2
    opcode = reader.byte()
    if opcode in (0xA0, 0xA1, 0xA2, 0xA3):  # AL or eAX and an address
        reader.number(address)
        size = wide if opcode & 1 else 1
        return _move(reader, area, size, 0, rex, writes=opcode >= 0xA2)
    if opcode == 0x0F and (extension := reader.byte()) in (0xB6, 0xB7, 0xBE, 0xBF):
        number = _mod_rm(reader, address)
        size = 2 if extension & 1 else 1
        name = GENERAL[number | (rex & 4) << 1]
        return Move(size, reader.at, register=name, width=wide, signed=extension >= 0xBE)
    if opcode in (0x88, 0x89, 0x8A, 0x8B):
        number = _mod_rm(reader, address)
        size = wide if opcode & 1 else 1
        return _move(reader, area, size, number | (rex & 4) << 1, rex, writes=opcode < 0x8A)
    if opcode in (0xC6, 0xC7) and _mod_rm(reader, address) == 0:
        size = wide if opcode & 1 else 1
        value = reader.number(min(size, 4)) & (1 << 8 * size) - 1
        return Move(size, reader.at, value=value)
    return None


def _move(reader: _Reader, area: SaveArea, size: int, number: int, rex: int, *, writes: bool) -> Move:
    high_byte = size == 1 and not rex and 4 <= number < 8  # AH, CH, DH, BH
    name = GENERAL[number - 4 if high_byte else number]
    if not writes:
        return Move(size, reader.at, register=name, high_byte=high_byte, width=size)
    value = area[name] >> (8 if high_byte else 0) & (1 << 8 * size) - 1
    return Move(size, reader.at, value=value)


def _mod_rm(reader: _Reader, address: int) -> int:
    """Pass over an operand in memory; the other operand's number."""
    byte = reader.byte()
    mode, number, memory = byte >> 6, byte >> 3 & 7, byte & 7
    if mode == 3:
        raise IndexError  # a register: no access to memory
    if address == 2:
        reader.number(2 if mode == 2 or (mode == 0 and memory == 6) else mode)
        return number
    base = reader.byte() & 7 if memory == 4 else memory
    reader.number(4 if mode == 2 or (mode == 0 and base == 5) else mode)
    return number
