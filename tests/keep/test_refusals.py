"""Each rule of the package, broken once: the keep refuses by the code of that rule, sealed, and runs nothing.

The codes are those of docs/host-interface.md; `test_codes.py` holds document and keep together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import pytest

from tests.keep import packages
from tests.keep.assembly import assemble
from tests.keep.packages import (
    DATA,
    FLAG_DIRECTORY,
    FLAG_WRITABLE,
    PROC_EXIT,
    READ,
    READ_EXECUTE,
    READ_WRITE,
    TEXT,
    FileEntry,
    InvocationPart,
    ProgramPart,
    Segment,
)
from tests.keep.wire import Relay
from wasmkeep.protocol.events import Shipment
from wasmkeep.protocol.statements import Exited

REFUSALS = Path(__file__).resolve().parents[2] / "keep" / "src" / "refusal.zig"
EXIT_SLOT, VALUES = DATA + 0x200, DATA + 0x400
CODE = (
    f"mov dword ptr [{VALUES:#x}], 3\n mov edx, {VALUES:#x}\n mov ecx, 1\n sub rsp, 8\n call [{EXIT_SLOT:#x}]"
)

END = 0x8000_0000
MIB = 1 << 20


@lru_cache
def codes() -> dict[str, int]:
    return {
        name: int(value) for name, value in re.findall(r"^    (\w+) = (\d+),$", REFUSALS.read_text(), re.M)
    }


def good_program() -> ProgramPart:
    return ProgramPart.of_code(
        assemble({"exit": CODE})["exit"], relocations=[(EXIT_SLOT, PROC_EXIT, 0)], runs=[(0, b"run")]
    )


def good_invocation() -> InvocationPart:
    return InvocationPart(
        variables=[b"A=1"],
        configuration=b"c",
        files=[FileEntry(b"d", FLAG_DIRECTORY), FileEntry(b"d/f", FLAG_WRITABLE, b"content")],
    )


@dataclass(frozen=True)
class Case:
    refusal: str
    spoil: Callable[[ProgramPart, InvocationPart], object]


def field(refusal: str, **changes: object) -> Case:
    """A field of the program part, changed."""

    def spoil(part: ProgramPart, _: InvocationPart) -> None:
        for name, value in changes.items():
            setattr(part, name, value)

    return Case(refusal, spoil)


def invoked(refusal: str, **changes: object) -> Case:
    """A field of the invocation part, changed."""

    def spoil(_: ProgramPart, part: InvocationPart) -> None:
        for name, value in changes.items():
            setattr(part, name, value)

    return Case(refusal, spoil)


def counted(refusal: str, **counts: int) -> Case:
    return Case(refusal, lambda _, part: part.counts.update(counts))


def segment(refusal: str, index: int = 1, **changes: object) -> Case:
    def spoil(part: ProgramPart, _: InvocationPart) -> None:
        part.segments[index] = replace(part.segments[index], **changes)  # type: ignore[arg-type]  # by name

    return Case(refusal, spoil)


def added(refusal: str, *segments: Segment) -> Case:
    return Case(refusal, lambda part, _: part.segments.extend(segments))


def relocation(refusal: str, address: int, builtin: int = PROC_EXIT, zero: int = 0) -> Case:
    return Case(refusal, lambda part, _: part.relocations.append((address, builtin, zero)))


def files(refusal: str, *entries: FileEntry) -> Case:
    return invoked(refusal, files=list(entries))


def path(refusal: str, name: bytes) -> Case:
    return files(refusal, FileEntry(b"d", FLAG_DIRECTORY), FileEntry(name, 0, b"x"))


MORE = Segment(0x4040_0000, MIB, b"", READ_WRITE)

CASES = {
    "program magic": field("program_magic", magic=b"WKPROG02"),
    "program zero": field("program_reserved", zero=1),
    "program reserved": field("program_reserved", reserved=bytes(63) + b"\1"),
    "no segments": field("segment_count", counts=(0, None, None)),
    "nine segments": field("segment_count", counts=(9, None, None)),
    "4 G segments": field("segment_count", counts=(0xFFFF_FFFF, None, None)),
    "relocations": field("relocation_count", counts=(None, 65_537, None)),
    "data runs": field("data_run_count", counts=(None, None, 65_537)),
    "minimum above maximum": field("memory_minimum", minimum=17),
    "maximum above 65,536": field("memory_maximum", maximum=65_537),
    "minimum beyond the machine": field("memory_exhausted", minimum=65_536, maximum=65_536),
    "minimum beyond memory": field("memory_exhausted", minimum=2000, maximum=2000),
    "no target": field("target_name", target=b""),
    "target with a control character": field("target_name", target=b"raw\n"),
    "target not ASCII": field("target_name", target="räw".encode()),
    "target after its end": field("target_name", target=b"raw\0x"),
    "protection 0": segment("segment_protection", protection=0),
    "protection 4": segment("segment_protection", protection=4),
    "protection write and execute": segment("segment_protection", protection=6),
    "protection 2^32 - 1": segment("segment_protection", protection=0xFFFF_FFFF),
    "segment zero": segment("program_reserved", zero=1),
    "segment unaligned": segment("segment_address", address=DATA + 4096),
    "segment below": segment("segment_address", index=0, address=0x3FE0_0000),
    "segment at 0": segment("segment_address", index=0, address=0),
    "segment on the keep": segment("segment_address", index=0, address=0x10_0000),
    "segment in the contents": segment("segment_address", address=END),
    "segment in linear memory": segment("segment_address", address=0x1_0000_0000),
    "segment in the upper half": segment("segment_address", address=0xFFFF_FFFF_FFE0_0000),
    "segment past the end": segment("segment_address", address=END - 2 * MIB, memory_size=2 * MIB + 1),
    "segments in another order": Case("segment_address", lambda part, _: part.segments.reverse()),
    "segments overlap": segment("segment_address", index=0, memory_size=2 * MIB + 1),
    "segments twice": Case("segment_address", lambda part, _: part.segments.append(part.segments[1])),
    "segment empty": segment("segment_size", memory_size=0, file_size=0),
    "segment above 512 MiB": segment("segment_size", memory_size=512 * MIB + 1),
    "segment of 2^64 - 1": segment("segment_size", memory_size=(1 << 64) - 1),
    "file above memory": segment("segment_size", file_size=MIB + 1),
    "file of 2^64 - 1": segment("segment_size", file_size=(1 << 64) - 1),
    "segment beyond memory": segment("memory_exhausted", memory_size=512 * MIB),
    "no executable segment": segment("executable_segments", index=0, protection=READ),
    "two executable segments": added("executable_segments", replace(MORE, protection=READ_EXECUTE)),
    "vmctx in text": field("vmctx_address", vmctx=TEXT),
    "vmctx nowhere": field("vmctx_address", vmctx=0),
    "vmctx in the keep": field("vmctx_address", vmctx=0x30_0000),
    "vmctx at the end": field("vmctx_address", vmctx=DATA + MIB - 7),
    "vmctx 2^64 - 1": field("vmctx_address", vmctx=(1 << 64) - 1),
    "start in data": field("start_address", start=DATA),
    "start in the keep": field("start_address", start=0x11_0000),
    "start past text": field("start_address", start=TEXT + 4096),
    "entry 0": field("entry_address", entry=0),
    "entry in data": field("entry_address", entry=DATA),
    "entry in the keep": field("entry_address", entry=0x11_0000),
    "memory definition in text": field("memory_definition_address", memory_definition=TEXT),
    "memory definition unaligned": field("memory_definition_address", memory_definition=DATA + 4),
    "memory definition across the end": field("memory_definition_address", memory_definition=DATA + MIB - 8),
    "memory definition in the keep": field("memory_definition_address", memory_definition=0x30_0000),
    "memory definition at the top": field("memory_definition_address", memory_definition=(1 << 64) - 8),
    "relocation in text": relocation("relocation_address", TEXT),
    "relocation in the keep": relocation("relocation_address", 0x30_0000),
    "relocation of the stack": relocation("relocation_address", 0x90_0000),
    "relocation unaligned": relocation("relocation_address", DATA + 4),
    "relocation across the end": relocation("relocation_address", DATA + MIB),
    "relocation at the top": relocation("relocation_address", (1 << 64) - 8),
    "relocation zero": relocation("program_reserved", DATA, zero=1),
    "builtin 46": relocation("relocation_builtin", DATA, 46),
    "builtin 63": relocation("relocation_builtin", DATA, 63),
    "builtin 68": relocation("relocation_builtin", DATA, 68),
    "builtin 2^32 - 1": relocation("relocation_builtin", DATA, 0xFFFF_FFFF),
    "data run past the memory": Case("data_run_bounds", lambda part, _: part.runs.append((65_536, b"x"))),
    "data run across the end": Case("data_run_bounds", lambda part, _: part.runs.append((65_535, b"xy"))),
    "data run far": Case("data_run_bounds", lambda part, _: part.runs.append((0xFFFF_FFFF, b"x"))),
    "invocation magic": invoked("invocation_magic", magic=b"WKPROG01"),
    "invocation zero": invoked("invocation_reserved", zero=1),
    "invocation reserved": invoked("invocation_reserved", reserved=b"\1" + bytes(31)),
    "limit below the minimum": invoked("memory_limit", limit=65_535),
    "limit 0": invoked("memory_limit", limit=0),
    "arguments": counted("argument_count", arguments=4097),
    "argument bytes": counted("argument_bytes", argument_bytes=65_537),
    "fewer arguments": counted("argument_bytes", arguments=0),
    "more arguments": counted("argument_bytes", arguments=2),
    "argument without its end": Case("argument_bytes", lambda _, part: part.counts.update(argument_bytes=7)),
    "variables": counted("variable_count", variables=4097),
    "variable bytes": counted("variable_bytes", variable_bytes=65_537),
    "fewer variables": counted("variable_bytes", variables=0),
    "variable without =": invoked("variable_bytes", variables=[b"A=1", b"B"]),
    "variable without a name": invoked("variable_bytes", variables=[b"=1"]),
    "variable empty": invoked("variable_bytes", variables=[b""]),
    "configuration bytes": counted("configuration_bytes", configuration_bytes=65_537),
    "files": counted("file_count", files=4097),
    "file bytes": counted("file_bytes", file_bytes=512 * MIB + 1),
    "file bytes beyond memory": counted("file_memory", file_bytes=512 * MIB),
    "file bytes too many": counted("file_bytes", file_bytes=8),
    "file bytes too few": counted("file_bytes", file_bytes=6),
    "delivered file of 2^64 - 1": files("file_bytes", FileEntry(b"f", size=(1 << 64) - 1)),
    "directory with content": files("file_flags", FileEntry(b"d", FLAG_DIRECTORY, b"x")),
    "flag 4": files("file_flags", FileEntry(b"f", 4)),
    "flag 2^31": files("file_flags", FileEntry(b"f", 1 << 31)),
    "path empty": path("file_path", b""),
    "path of 1,025": path("file_path", b"d/" + b"a/" * 511 + b"b"),
    "path absolute": path("file_path", b"/d"),
    "path with ..": path("file_path", b"d/../x"),
    "path with .": path("file_path", b"d/./x"),
    "path ..": path("file_path", b".."),
    "path with //": path("file_path", b"d//x"),
    "path ending in /": path("file_path", b"d/x/"),
    "path with NUL": path("file_path", b"d/x\0y"),
    "path with a backslash": path("file_path", b"d\\x"),
    "component of 256": path("file_path", b"d/" + b"x" * 256),
    "path in tmp": path("file_path", b"tmp/x"),
    "path tmp": path("file_path", b"tmp"),
    "path twice": files("file_duplicate", FileEntry(b"f"), FileEntry(b"f")),
    "directory twice": files("file_duplicate", FileEntry(b"d", 1), FileEntry(b"d", 1)),
    "parent missing": path("file_parent", b"e/x"),
    "parent later": files("file_parent", FileEntry(b"e/x"), FileEntry(b"e", 1)),
    "parent a file": files("file_parent", FileEntry(b"f"), FileEntry(b"f/x")),
}


def spoiled(case: Case) -> Shipment:
    part, invocation = good_program(), good_invocation()
    case.spoil(part, invocation)
    return packages.raw(part, invocation)


@pytest.mark.parametrize("kind", ["snp"])
@pytest.mark.parametrize("name", CASES)
def test_refused(name: str, relay: Relay) -> None:
    case = CASES[name]
    outcome = relay.run(spoiled(case))
    assert outcome.refusal.code == codes()[case.refusal], outcome.refusal
    assert not outcome.stdout


def test_the_package_that_they_spoil_runs(relay: Relay) -> None:
    outcome = relay.run(packages.raw(good_program(), good_invocation()))
    assert outcome.receipt.receipt.outcome == Exited(3)


@pytest.mark.parametrize("kind", ["snp"])
def test_a_byte_too_many_is_refused(relay: Relay) -> None:
    shipped = packages.raw(good_program(), good_invocation())
    outcome = relay.run(replace(shipped, package=(*shipped.package, b"\0")))
    assert outcome.refusal.code == codes()["package_excess"]


@pytest.mark.parametrize("kind", ["snp"])
def test_the_largest_of_everything_is_taken(relay: Relay) -> None:
    part = good_program()
    part.segments += [Segment(0x4040_0000 + (index << 21), 1, b"x", READ) for index in range(6)]
    part.relocations += [(DATA + 0x1000 + 8 * (index % 4096), 67, 0) for index in range(65_535)]
    part.runs += [(index & 0xFFFF, b"") for index in range(65_535)]
    part.target = b"t" * 64
    invocation = InvocationPart(
        arguments=[b"x" * 15] * 4096,
        variables=[b"A=" + b"y" * 13] * 4096,
        configuration=bytes(65_536),
        files=[FileEntry(b"x" * 255, FLAG_DIRECTORY)]
        + [FileEntry(b"%d" % index, 0, b"c" * (index % 5000)) for index in range(4095)],
    )
    outcome = relay.run(packages.raw(part, invocation))
    assert outcome.receipt.receipt.outcome == Exited(3)
