"""What the parser takes, and every refusal by its name."""

from __future__ import annotations

import pytest

from tests.tenant.bare import REPOSITORY, c_program, wat
from wasmkeep.errors import ProgramError
from wasmkeep.tenant import compiler, module
from wasmkeep.tenant.binary import Reader
from wasmkeep.tenant.settings import DEFAULT_LEVEL
from wasmkeep.tenant.wasm_types import ExternalKind, Limits, SegmentMode, ValueType

CORE = b"\0asm\1\0\0\0"
MEMORY = '(memory (export "memory") 1)'
START = '(func (export "_start"))'
EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'


def leb(value: int) -> bytes:
    pieces = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        pieces.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(pieces)


def section(number: int, content: bytes) -> bytes:
    return bytes((number,)) + leb(len(content)) + content


def name(text: str) -> bytes:
    return leb(len(text.encode())) + text.encode()


TYPES = section(1, b"\1\x60\0\0")
FUNCTIONS = section(3, b"\1\0")
MEMORIES = section(5, b"\1\0\1")
EXPORTS = section(7, b"\1" + name("_start") + b"\0\0")
CODE = section(10, b"\1\2\0\x0b")
FRAME = CORE + TYPES + FUNCTIONS
PROGRAM = FRAME + MEMORIES + EXPORTS + CODE


def test_reads_everything_a_layout_needs() -> None:
    parsed = module.parse(
        wat(
            f"""(module {EXIT} (type $t (func (param i64) (result f32 f64)))
            (table 5 9 funcref) (memory (export "memory") 2 7) (global $g (mut i32) (i32.const -1))
            (global v128 (v128.const i64x2 1 2)) (global funcref (ref.null func))
            (elem (i32.const 1) $a $exit) (elem func $a) (elem declare funcref (ref.func $b) (ref.null func))
            (data (i32.const 65536) "abc") (data "defg")
            (func $a) (func $b (export "_start")) (start $a))"""
        )
    )
    assert parsed.imports[0].name == "proc_exit"
    assert parsed.function_count() == 3
    assert parsed.tables == (Limits(5, 9),)
    assert parsed.memory == Limits(2, 7)
    assert [(x.type, x.mutable, x.value.bits) for x in parsed.globals] == [
        (ValueType.I32, True, 0xFFFFFFFF),
        (ValueType.V128, False, 1 | 2 << 64),
        (ValueType.FUNCREF, False, 0),
    ]
    assert [(x.mode, x.offset, x.functions) for x in parsed.elements] == [
        (SegmentMode.ACTIVE, 1, (1, 0)),
        (SegmentMode.PASSIVE, 0, (1,)),
        (SegmentMode.DECLARATIVE, 0, (2, None)),
    ]
    assert [(x.mode, x.offset, x.size) for x in parsed.data] == [
        (SegmentMode.ACTIVE, 65536, 3),
        (SegmentMode.PASSIVE, 0, 4),
    ]
    assert parsed.start == 1
    assert parsed.exports["_start"].kind is ExternalKind.FUNCTION
    assert parsed.names == {0: "exit", 1: "a", 2: "b"}


def test_smallest_program() -> None:
    assert module.parse(PROGRAM).memory == Limits(1, None)
    assert module.parse(FRAME + EXPORTS + CODE).memory is None


def test_a_c_program() -> None:
    parsed = module.parse(c_program(REPOSITORY / "examples" / "hello.c"))
    assert {x.name for x in parsed.imports} >= {"fd_write", "proc_exit"}


# name: (text, check, words of the message or of what was found)
REFUSED_TEXT = {
    "shared memory": (f'(module (memory (export "memory") 1 2 shared) {START})', "unsupported", "threads"),
    "memory64": (f'(module (memory (export "memory") i64 1) {START})', "unsupported", "memory64"),
    "64-bit table": (f"(module {MEMORY} (table i64 1 funcref) {START})", "unsupported", "memory64"),
    "two memories": (f"(module {MEMORY} (memory 1) {START})", "unsupported", "multi-memory"),
    "page size": (f'(module (memory (export "memory") 1 (pagesize 1)) {START})', "unsupported", "page sizes"),
    "struct": (f"(module (type (struct)) {MEMORY} {START})", "unsupported", "garbage collection"),
    "array": (f"(module (type (array i32)) {MEMORY} {START})", "unsupported", "garbage collection"),
    "rec group": (f"(module (rec (type (func)) (type (func))) {MEMORY} {START})", "unsupported", "garbage"),
    "externref": (f"(module {MEMORY} (func (param externref)) {START})", "unsupported", "externref"),
    "externref table": (f"(module {MEMORY} (table 1 externref) {START})", "unsupported", "externref"),
    "anyref": (f"(module {MEMORY} (func (param anyref)) {START})", "unsupported", "garbage collection"),
    "exnref": (f"(module {MEMORY} (func (param exnref)) {START})", "unsupported", "exceptions"),
    "tag": (f"(module (tag) {MEMORY} {START})", "unsupported", "exceptions"),
    "exported tag": (f'(module (tag (export "e")) {MEMORY} {START})', "unsupported", "exceptions"),
    "imported tag": (f'(module (import "env" "e" (tag)) {MEMORY} {START})', "unsupported", "exceptions"),
    "typed reference": (
        f"(module (type $t (func)) (func (param (ref $t))) {MEMORY} {START})",
        "unsupported",
        "typed",
    ),
    "table with value": (f"(module (table 1 funcref (ref.func 0)) {MEMORY} {START})", "unsupported", "typed"),
    "imported memory": (
        f'(module (import "env" "memory" (memory 1)) {START})',
        "unsupported",
        "imported memory",
    ),
    "imported table": (
        f'(module (import "env" "t" (table 1 funcref)) {MEMORY} {START})',
        "unsupported",
        "imported table",
    ),
    "imported global": (
        f'(module (import "env" "__memory_base" (global i32)) {START})',
        "unsupported",
        "imported global",
    ),
    "foreign import": (f'(module (import "env" "puts" (func)) {MEMORY} {START})', "import", "env.puts"),
    "wasi_unstable": (
        f'(module (import "wasi_unstable" "fd_write" (func)) {MEMORY} {START})',
        "import",
        "snapshot 0",
    ),
    "preview 2": (
        f'(module (import "wasi:cli/run@0.2.0" "run" (func)) {MEMORY} {START})',
        "import",
        "preview 2",
    ),
    "wasi threads": (f'(module (import "wasi" "thread-spawn" (func)) {MEMORY} {START})', "import", "threads"),
    "wasm-bindgen": (f'(module (import "wbg" "__wbg_log" (func)) {MEMORY} {START})', "import", "JavaScript"),
    "unknown function": (
        f'(module (import "wasi_snapshot_preview1" "fd_teleport" (func)) {MEMORY} {START})',
        "import",
        "fd_teleport",
    ),
    "wrong type": (
        f'(module (import "wasi_snapshot_preview1" "fd_write" (func)) {MEMORY} {START})',
        "import",
        "another type",
    ),
    "no entry": (f"(module {MEMORY})", "export", "no _start"),
    "reactor": (f'(module {MEMORY} (func (export "_initialize")))', "export", "reactor"),
    "entry takes values": (
        f'(module {MEMORY} (func (export "_start") (param i32)))',
        "export",
        "not something to run",
    ),
    "entry is a memory": ('(module (memory (export "_start") 1))', "export", "a memory"),
    "entry is imported": (
        f'(module {EXIT} {MEMORY} (export "_start" (func $exit)))',
        "export",
        "imported function",
    ),
    "memory not exported": (f"(module {EXIT} (memory 1) {START})", "export", "export its memory"),
    "memory by another name": (
        f'(module {EXIT} (memory (export "mem") 1) {START})',
        "export",
        "export its memory",
    ),
    "data outside memory": (
        f'(module {MEMORY} (data (i32.const 65535) "ab") {START})',
        "initial",
        "data segment 0",
    ),
    "elements outside table": (
        f"(module {MEMORY} (table 1 funcref) (elem (i32.const 1) 0) {START})",
        "initial",
        "element segment 0",
    ),
}


@pytest.mark.parametrize("case", REFUSED_TEXT)
def test_refused_by_name(case: str) -> None:
    text, check, words = REFUSED_TEXT[case]
    with pytest.raises(ProgramError) as refused:
        module.parse(wat(text))
    assert refused.value.check == f"program.{check}"
    assert words in str(refused.value)


# features inside function bodies, which wasmtime's validation finds: operators in hand-made bodies
REFUSED_BODY = {
    "atomics": (b"\xfe\3\0", "threads"),
    "legacy try": (b"\6\x40\x0b", "exceptions"),
    "throw": (b"\x08\0", "exceptions"),
    "throw_ref": (b"\xd0\x69\x0a", "exceptions"),
    "try_table": (b"\x1f\x40\0\x0b", "exceptions"),
    "call_ref": (b"\xd0\x70\x14\0", "typed function references"),
    "struct.new": (b"\xfb\0\0", "garbage collection"),
    "ref.null any": (b"\xd0\x6e\x1a", "garbage collection"),
    "cont.new": (b"\xe0\0", "stack switching"),
    "memory.discard": (b"\xfc\x12\0", "memory control"),
}


@pytest.mark.parametrize("case", REFUSED_BODY)
def test_refused_inside_a_body_by_name(case: str) -> None:
    body, words = REFUSED_BODY[case]
    code = section(10, b"\1" + leb(len(body) + 2) + b"\0" + body + b"\x0b")
    wasm = FRAME + MEMORIES + EXPORTS + code
    module.parse(wasm)
    with pytest.raises(ProgramError) as refused:
        compiler.machine_code(wasm, DEFAULT_LEVEL)
    assert refused.value.check == "program.unsupported"
    assert words in refused.value.message


def test_constants_made_of_own_globals_are_refused_by_name() -> None:
    wasm = wat(f"(module {MEMORY} (global $a i32 (i32.const 1)) (global i32 (global.get $a)) {START})")
    with pytest.raises(ProgramError) as refused:
        compiler.machine_code(wasm, DEFAULT_LEVEL)
    assert refused.value.check == "program.unsupported"
    assert "part of GC" in refused.value.message


def test_invalid_body_is_refused_with_wasmtimes_words() -> None:
    wasm = wat(f'(module {MEMORY} (func (export "_start") (i32.const 1)))')
    module.parse(wasm)
    with pytest.raises(ProgramError, match="values remaining on stack") as refused:
        compiler.machine_code(wasm, DEFAULT_LEVEL)
    assert refused.value.check == "program.malformed"


COMPONENT = "a component; wasmkeep runs core modules with WASI preview 1"

# name: (bytes, check, words)
REFUSED_BYTES = {
    "nothing": (b"", "malformed", "00 61 73 6d"),
    "text": (b"(module)", "malformed", "00 61 73 6d"),
    "elf": (b"\x7fELF" + bytes(60), "malformed", "7f 45 4c 46"),
    "magic only": (b"\0asm", "malformed", "version"),
    "version 2": (b"\0asm\2\0\0\0", "malformed", "version"),
    "component": (b"\0asm\x0d\0\1\0", "component", COMPONENT),
    "section cut": (CORE + b"\1\x05\1\x60", "malformed", "ends early"),
    "section number": (PROGRAM + section(14, b""), "malformed", "section number 14"),
    "section twice": (CORE + TYPES + TYPES, "malformed", "twice or out of order"),
    "sections out of order": (CORE + FUNCTIONS + TYPES, "malformed", "names type"),
    "exports before memory": (FRAME + EXPORTS + MEMORIES + CODE, "malformed", "out of order"),
    "bytes after section": (CORE + section(1, b"\1\x60\0\0\0"), "malformed", "bytes too many"),
    "bytes after last section": (PROGRAM + b"\x0b", "malformed", "ends early"),
    "count beyond bytes": (CORE + section(1, b"\xff\xff\x03"), "malformed", "ends early"),
    "count beyond bound": (CORE + section(1, b"\xff\xff\xff\x0f"), "malformed", "too many types"),
    "long integer": (CORE + section(1, b"\x81\x80\x80\x80\x80\x00"), "malformed", "longer than 32 bits"),
    "wide integer": (CORE + section(1, b"\x81\x80\x80\x80\x10"), "malformed", "longer than 32 bits"),
    "form of type": (CORE + section(1, b"\1\x61\0\0"), "malformed", "no form of type"),
    "value type": (CORE + section(1, b"\1\x60\1\x12\0"), "malformed", "no value type"),
    "unknown type index": (CORE + TYPES + section(3, b"\1\1"), "malformed", "names type 1"),
    "body missing": (FRAME + EXPORTS, "malformed", "0 function bodies"),
    "body too many": (FRAME + section(10, b"\2\2\0\x0b\2\0\x0b"), "malformed", "2 function b"),
    "empty body": (FRAME + section(10, b"\1\0"), "malformed", "ends early"),
    "body without end": (FRAME + section(10, b"\1\2\0\0"), "malformed", "does not end"),
    "name not UTF-8": (CORE + section(2, b"\1\2\xff\xfe\1a\0\0"), "malformed", "UTF-8"),
    "kind of import": (CORE + TYPES + section(2, b"\1\1a\1b\x09\0"), "malformed", "no kind of import"),
    "export twice": (
        FRAME + section(7, b"\2" + 2 * (name("_start") + b"\0\0")) + CODE, "malformed", "twice",
    ),
    "export of nothing": (FRAME + section(7, b"\1\1a\0\7") + CODE, "malformed", "does not exist"),
    "limits": (CORE + section(5, b"\1\x40\1"), "malformed", "no kind of limits"),
    "maximum below minimum": (CORE + section(5, b"\1\1\2\1"), "malformed", "below its minimum"),
    "memory of 5 GiB": (CORE + section(5, b"\1\0\x81\x80\x05"), "malformed", "starts too large"),
    "global expression": (CORE + section(6, b"\1\x7f\0\x20\0\x0b"), "malformed", "operator 0x20"),
    "global of another type": (CORE + section(6, b"\1\x7f\0\x42\0\x0b"), "malformed", "not give one i32"),
    "global reads a later one": (CORE + section(6, b"\1\x7f\0\x23\0\x0b"), "malformed", "reads global 0"),
    "mutability": (CORE + section(6, b"\1\x7f\4\x41\0\x0b"), "malformed", "neither mutable"),
    "start with values": (
        CORE + section(1, b"\1\x60\1\x7f\0") + FUNCTIONS + section(8, b"\0"), "malformed", "function takes",
    ),
    "data without memory": (CORE + section(11, b"\1\0\x41\0\x0b\1a"), "malformed", "names memory 0"),
    "data count": (FRAME + MEMORIES + EXPORTS + section(12, b"\1") + CODE, "malformed", "announced as 1"),
    "element segment kind": (CORE + section(9, b"\1\x08\0"), "malformed", "no kind of element"),
    "element of no table": (CORE + section(9, b"\1\0\x41\0\x0b\0"), "malformed", "names table 0"),
    "huge table": (CORE + section(4, b"\1\x70\0\x81\x89\x7a"), "malformed", "starts too large"),
    "object file": (CORE + section(0, name("linking") + b"\2"), "unsupported", "object file"),
    "shared library": (CORE + section(0, name("dylink.0") + b"\2"), "unsupported", "dynamic linking"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_BYTES)
def test_refused_bytes_by_name(case: str) -> None:
    data, check, words = REFUSED_BYTES[case]
    with pytest.raises(ProgramError) as refused:
        module.parse(data)
    assert refused.value.check == f"program.{check}"
    assert words in str(refused.value)


def test_every_truncation_is_refused() -> None:
    for size in range(len(PROGRAM)):
        if PROGRAM[:size] == FRAME:
            continue
        with pytest.raises(ProgramError):
            module.parse(PROGRAM[:size])


def test_padded_integers_are_legal() -> None:
    padded = CORE + b"\1\x84\x80\x80\x80\x00" + b"\1\x60\0\0" + FUNCTIONS + MEMORIES + EXPORTS + CODE
    assert module.parse(padded) == module.parse(PROGRAM)


def test_malformed_names_are_ignored() -> None:
    assert module.parse(PROGRAM + section(0, name("name") + b"\1\xff\xff")).names == {}
    assert module.parse(PROGRAM + section(0, name("name") + b"\1\5\1\0\2\xff\xfe")).names[0] == "\ufffd\ufffd"


def test_too_large_a_module_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MODULE_BYTES", 10)
    with pytest.raises(ProgramError, match="too large"):
        module.parse(PROGRAM)


@pytest.mark.parametrize(
    ("data", "value"), [(b"\x7f", -1), (b"\x80\x7f", -128), (b"\xff\xff\xff\xff\x07", 2**31 - 1)]
)
def test_signed_integers(data: bytes, value: int) -> None:
    assert Reader(data, 0, len(data), "test").s32() == value


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x08", b"\x80\x80\x80\x80\x80\x00"]
)
def test_signed_integers_too_wide(data: bytes) -> None:
    with pytest.raises(ProgramError):
        Reader(data, 0, len(data), "test").s32()
