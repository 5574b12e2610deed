"""Mutated real modules: parser, compiler and layout accept, or refuse by name; nothing else happens."""

from __future__ import annotations

import os
import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tenant.bare import REPOSITORY, c_program, wat
from tests.tenant.test_module import PROGRAM
from wasmkeep.errors import PlatformUnavailable, ProgramError
from wasmkeep.tenant import module
from wasmkeep.tenant.compile import compile_program

ROUNDS = 20_000 if os.environ.get("WASMKEEP_SOAK") else 1_500


def _originals() -> list[bytes]:
    rich = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (type $t (func (param i64) (result f32 f64))) (table $t 5 9 funcref) (memory (export "memory") 2 7)
      (global $g (mut i32) (i32.const -1)) (global v128 (v128.const i64x2 1 2)) (global funcref (ref.func $a))
      (elem (i32.const 1) $a $exit) (elem $e func $a) (elem declare funcref (ref.func $b) (ref.null func))
      (data (i32.const 65536) "abc") (data $d "defg") (func $begin) (start $begin)
      (func $a (memory.init $d (i32.const 0) (i32.const 0) (i32.const 2)) (elem.drop $e))
      (func $b (export "_start") (drop (table.grow $t (ref.func $a) (i32.const 1)))))"""
    texts = [rich, *(x.read_text() for x in sorted((REPOSITORY / "examples").glob("*.wat")))]
    return [PROGRAM, *map(wat, texts), c_program(REPOSITORY / "examples" / "hello.c")]


def _mutate(data: bytes, random_: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 1, 2, 4, 16))):
        at = random_.randrange(len(changed))
        match random_.randrange(6):
            case 0:
                changed[at] ^= 1 << random_.randrange(8)
            case 1:
                changed[at] = random_.choice((0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)))
            case 2:
                del changed[at : at + random_.randrange(1, 9)]
            case 3:
                changed[at:at] = random_.randbytes(random_.randrange(1, 9))
            case 4:
                changed[at : at + 5] = b"\xff\xff\xff\xff\x0f"
            case _:
                other = random_.randrange(len(changed))
                changed[at : at + 8] = changed[other : other + 8]
        if not changed:
            break
    return bytes(changed)


@pytest.mark.parametrize("number", range(len(_originals())))
def test_mutated_modules_are_accepted_or_refused(number: int) -> None:
    original = _originals()[number]
    random_ = random.Random(number)
    accepted = refused = 0
    for _ in range(ROUNDS):
        mutated = _mutate(original, random_)
        try:
            module.parse(mutated)
            accepted += 1
        except ProgramError:
            refused += 1
    assert refused
    assert accepted


@pytest.mark.parametrize("number", range(6))
def test_what_parses_compiles_or_is_refused(number: int) -> None:
    """What our parser takes goes through wasmtime and the layout, and still nothing else escapes."""
    original = _originals()[number]
    random_ = random.Random(1000 + number)
    compiled = 0
    for _ in range(ROUNDS // 5):
        mutated = _mutate(original, random_)
        with suppress(ProgramError):
            compile_program(mutated)
            compiled += 1
    assert compiled


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    for wasm in (data, b"\0asm\1\0\0\0" + data):
        with pytest.raises((ProgramError, PlatformUnavailable)):
            module.parse(wasm)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 13), st.binary(max_size=100))
def test_arbitrary_sections(number: int, content: bytes) -> None:
    section = bytes((number, len(content))) + content
    try:
        module.parse(b"\0asm\1\0\0\0" + section)
    except ProgramError:
        return
    pytest.fail("a module without an entry was accepted")
