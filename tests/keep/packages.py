"""Packages made by hand, field by field (docs/protocol.md section 4), so that any field can be wrong."""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass, field

from wasmkeep.protocol.binding import Field, salted_digest
from wasmkeep.protocol.events import Salts, Shipment

TEXT = 0x4000_0000
DATA = 0x4020_0000
VMCTX = DATA
MEMORY_DEFINITION = DATA + 0x100
READ, READ_WRITE, READ_EXECUTE = 1, 2, 3
TARGET = b"raw x86-64"
FLAG_DIRECTORY, FLAG_WRITABLE = 1, 2

FD_WRITE, PROC_EXIT = 26, 38
MEMORY_GROW, MEMORY_COPY, MEMORY_FILL, TRAP = 64, 65, 66, 67


@dataclass
class Segment:
    address: int
    memory_size: int
    content: bytes
    protection: int
    zero: int = 0
    file_size: int | None = None

    def encode(self) -> bytes:
        size = len(self.content) if self.file_size is None else self.file_size
        return struct.pack("<QQQII", self.address, self.memory_size, size, self.protection, self.zero)


@dataclass
class ProgramPart:
    """A program part; by default one page of linear memory and a data segment of 1 MiB."""

    segments: list[Segment]
    relocations: list[tuple[int, int, int]] = field(default_factory=list)
    runs: list[tuple[int, bytes]] = field(default_factory=list)
    magic: bytes = b"WKPROG01"
    zero: int = 0
    vmctx: int = VMCTX
    start: int = 0
    entry: int = TEXT
    memory_definition: int = MEMORY_DEFINITION
    minimum: int = 1
    maximum: int = 16
    target: bytes = TARGET
    reserved: bytes = bytes(64)
    counts: tuple[int | None, int | None, int | None] = (None, None, None)

    @classmethod
    def of_code(cls, code: bytes, data: bytes = b"", **changes: object) -> ProgramPart:
        part = cls([Segment(TEXT, 4096, code, READ_EXECUTE), Segment(DATA, 1 << 20, data, READ_WRITE)])
        for name, value in changes.items():
            setattr(part, name, value)
        return part

    def encode(self) -> bytes:
        actual = (len(self.segments), len(self.relocations), len(self.runs))
        counts = [n if forced is None else forced for n, forced in zip(actual, self.counts, strict=True)]
        header = struct.pack(
            "<8sIIIIQQQQII64s64s",
            self.magic,
            *counts,
            self.zero,
            self.vmctx,
            self.start,
            self.entry,
            self.memory_definition,
            self.minimum,
            self.maximum,
            self.target,
            self.reserved,
        )
        return b"".join(
            (
                header,
                *(segment.encode() for segment in self.segments),
                *(segment.content for segment in self.segments),
                *(struct.pack("<QII", *relocation) for relocation in self.relocations),
                *(struct.pack("<II", offset, len(data)) + data for offset, data in self.runs),
            )
        )


@dataclass
class FileEntry:
    path: bytes
    flags: int = 0
    content: bytes = b""
    modified: int = 1_700_000_000_000_000_000
    size: int | None = None

    def encode(self) -> bytes:
        size = len(self.content) if self.size is None else self.size
        return (
            struct.pack("<IIQQ", len(self.path), self.flags, size, self.modified) + self.path + self.content
        )


def fresh_salts() -> Salts:
    return Salts(*(os.urandom(32) for _ in range(7)))


@dataclass
class InvocationPart:
    arguments: list[bytes] = field(default_factory=lambda: [b"program"])
    variables: list[bytes] = field(default_factory=list)
    configuration: bytes = b""
    files: list[FileEntry] = field(default_factory=list)
    magic: bytes = b"WKINVO01"
    wall_clock: int = 1_800_000_000_000_000_000
    limit: int = 16 << 20
    zero: int = 0
    entropy: bytes = bytes(32)
    salts: Salts = field(default_factory=fresh_salts)
    reserved: bytes = bytes(32)
    counts: dict[str, int] = field(default_factory=dict)

    def encode(self) -> bytes:
        arguments, variables = self.argument_bytes, self.variable_bytes
        fields = {
            "arguments": len(self.arguments),
            "argument_bytes": len(arguments),
            "variables": len(self.variables),
            "variable_bytes": len(variables),
            "configuration_bytes": len(self.configuration),
            "files": len(self.files),
            "file_bytes": sum(len(entry.content) for entry in self.files),
        } | self.counts
        header = struct.pack(
            "<8sQQ6IQQ", self.magic, self.wall_clock, self.limit, *fields.values(), self.zero
        )
        salts = b"".join(getattr(self.salts, name) for name in Salts.__slots__)
        body = arguments + variables + self.configuration + self.file_entries
        return header + self.entropy + salts + self.reserved + body

    @property
    def argument_bytes(self) -> bytes:
        return b"".join(argument + b"\0" for argument in self.arguments)

    @property
    def variable_bytes(self) -> bytes:
        return b"".join(variable + b"\0" for variable in self.variables)

    @property
    def file_entries(self) -> bytes:
        return b"".join(entry.encode() for entry in self.files)


def shipment(program: bytes, target: str, invocation: InvocationPart) -> Shipment:
    """The package and what the keep must prove back of it."""
    salts = invocation.salts
    return Shipment(
        package=(program, invocation.encode()),
        program_digest=hashlib.sha256(program).digest(),
        target=target,
        configuration_digest=salted_digest(
            Field.CONFIGURATION, salts.configuration, invocation.configuration
        ),
        arguments_digest=salted_digest(Field.ARGUMENTS, salts.arguments, invocation.argument_bytes),
        environment_digest=salted_digest(Field.ENVIRONMENT, salts.environment, invocation.variable_bytes),
        files_digest=salted_digest(Field.FILES, salts.files, invocation.file_entries),
        memory_limit=invocation.limit,
        started_ns=invocation.wall_clock,
        salts=salts,
    )


def raw(part: ProgramPart, invocation: InvocationPart | None = None) -> Shipment:
    return shipment(part.encode(), part.target.rstrip(b"\0").decode(), invocation or InvocationPart())
