"""Reading a program part back from docs/protocol.md section 4: the bounds a keep enforces, asserted."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MIB2 = 2 << 20


@dataclass(frozen=True, slots=True)
class PartSegment:
    address: int
    memory_size: int
    protection: int
    content: bytes

    def holds(self, address: int, size: int = 1) -> bool:
        return self.address <= address and address + size <= self.address + self.memory_size


@dataclass(frozen=True, slots=True)
class Part:
    vmctx: int
    start: int
    entry: int
    memory_definition: int
    minimum: int
    maximum: int
    target: str
    segments: list[PartSegment]
    relocations: list[tuple[int, int]]
    runs: list[tuple[int, bytes]]

    def byte_at(self, address: int) -> bytes:
        segment = next(x for x in self.segments if x.holds(address))
        content = segment.content.ljust(segment.memory_size, b"\0")
        return content[address - segment.address :]

    def u64(self, address: int) -> int:
        return int.from_bytes(self.byte_at(address)[:8], "little")


def read(part: bytes) -> Part:
    """Decode ``part`` and assert every bound of its table."""
    magic, segments, relocations, runs, zero = struct.unpack_from("<8sIIII", part)
    vmctx, start, entry, memory, minimum, maximum = struct.unpack_from("<QQQQII", part, 0x18)
    target = part[0x40:0x80]
    assert magic == b"WKPROG01"
    assert zero == 0
    assert part[0x80:0xC0] == bytes(64)
    assert 1 <= segments <= 8
    assert relocations <= 65_536
    assert runs <= 65_536
    assert minimum <= maximum <= 65_536
    at = 0xC0
    headers = [struct.unpack_from("<QQQII", part, at + 32 * number) for number in range(segments)]
    at += 32 * segments
    found, end = [], 0x4000_0000
    for address, memory_size, file_size, protection, reserved in headers:
        assert reserved == 0
        assert address % MIB2 == 0
        assert address >= end
        assert file_size <= memory_size <= 512 << 20
        end = address + memory_size
        assert end <= 0x8000_0000
        found.append(PartSegment(address, memory_size, protection, part[at : at + file_size]))
        at += file_size
    assert [x.protection for x in found].count(3) == 1
    assert {x.protection for x in found} <= {1, 2, 3}
    writable = [x for x in found if x.protection == 2]
    executable = next(x for x in found if x.protection == 3)
    placed = []
    for number in range(relocations):
        address, builtin, reserved = struct.unpack_from("<QII", part, at + 16 * number)
        assert reserved == 0
        assert address % 8 == 0
        assert any(x.holds(address, 8) for x in writable)
        assert builtin <= 45 or 64 <= builtin <= 67
        placed.append((address, builtin))
    at += 16 * relocations
    data = []
    for _ in range(runs):
        offset, length = struct.unpack_from("<II", part, at)
        assert offset + length <= minimum << 16
        data.append((offset, part[at + 8 : at + 8 + length]))
        at += 8 + length
    assert at == len(part)
    assert any(x.holds(vmctx) for x in writable)
    assert start == 0 or executable.holds(start)
    assert executable.holds(entry)
    assert memory % 8 == 0
    assert any(x.holds(memory, 16) for x in writable)
    text = target.rstrip(b"\0").decode("ascii")
    return Part(vmctx, start, entry, memory, minimum, maximum, text, found, placed, data)
