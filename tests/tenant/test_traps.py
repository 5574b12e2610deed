"""Naming traps from what a keep reports; `test_bare_run.py` has the real ones."""

from __future__ import annotations

import random
import struct

import pytest

from tests.tenant.bare import TrapReport, compiled, wat
from wasmkeep.tenant.elf import parse as parse_elf
from wasmkeep.tenant.program import WINDOW_START, Program, TrapTables
from wasmkeep.tenant.settings import DEFAULT_LEVEL
from wasmkeep.tenant.traps import describe, trap_code

LINEAR = 0x1_0000_0000
TEXT = """(module (memory (export "memory") 1) (table 1 funcref) (type $t (func))
  (func $first (param i32) (result i32) (i32.div_u (i32.load (local.get 0)) (local.get 0)))
  (func $second (param i32) (call_indirect (type $t) (local.get 0)) unreachable)
  (func (export "_start") (call $second (call $first (i32.const 0)))))"""


@pytest.fixture(scope="module")
def program() -> Program:
    return compiled(wat(TEXT))


def _report(instruction: int, *, vector: int = 6, fault: int = 0, frames: tuple[int, ...] = ()) -> TrapReport:
    return TrapReport(vector, instruction, fault, 65_536, frames)


def _codes(program: Program) -> dict[int, int]:
    """Every trapping instruction of the text and its code, found one by one."""
    every = ((at, trap_code(program.traps, at)) for at in range(program.traps.text_size))
    return {at: code for at, code in every if code is not None}


def test_the_table_agrees_with_wasmtimes_own_count(program: Program) -> None:
    (entries,) = struct.unpack_from("<I", program.traps.codes)
    assert len(_codes(program)) == entries
    assert {1, 3, 4, 5, 7, 9} <= set(_codes(program).values())


def test_table_of_several_blocks() -> None:
    body = "".join(f"(drop (i32.load offset={number} (local.get 0)))" for number in range(500))
    many = compiled(
        wat(f"""(module (memory (export "memory") 1) (func $f (param i32) {body})
            (func $g (param i32) (drop (i32.div_s (i32.const 1) (local.get 0))) {body})
            (func (export "_start") (call $f (i32.const 0)) (call $g (i32.const 0))))""")
    )
    entries, blocks = struct.unpack_from("<II", many.traps.codes)
    assert blocks > 4
    found = _codes(many)
    assert len(found) == entries
    assert {1, 6, 7} <= set(found.values())


def test_stack_guard_is_an_exhausted_stack_wherever_the_code_is(program: Program) -> None:
    for instruction in (WINDOW_START, 0x10_0000):
        trap = describe(_report(instruction, vector=14, fault=0x7F_FFF8), program)
        assert trap.name == "call stack exhausted"


def test_out_of_bounds_places(program: Program) -> None:
    at = WINDOW_START + next(at for at, code in _codes(program).items() if code == 1)
    inside = describe(_report(at, vector=14, fault=LINEAR + 65_536), program)
    assert inside.detail == "address 0x10000; the memory has 65536 bytes"
    assert describe(_report(at, vector=14, fault=0), program).detail.startswith("address beyond 4 GiB")


def test_what_cannot_be_named_is_said_to_be_unknown(program: Program) -> None:
    for instruction in (
        0,
        0x10_0000,
        WINDOW_START - 1,
        WINDOW_START + program.traps.text_size,
        (1 << 64) - 1,
    ):
        trap = describe(_report(instruction, vector=13), program)
        assert (trap.name, trap.backtrace) == ("unknown trap", ())
        assert "vector 13" in trap.detail


def test_backtrace_names_functions_and_leaves_out_trampolines(program: Program) -> None:
    bodies = {}
    from wasmkeep.tenant import compiler

    code = compiler.machine_code(wat(TEXT), DEFAULT_LEVEL)
    for name, symbol in parse_elf(
        code, text_section=".text", traps_section=".wasmtime.traps"
    ).symbols.items():
        bodies[name] = WINDOW_START + symbol.offset
    frames = (
        bodies["wasm[0]::function[1]::second"] + 5,
        bodies["wasm[0]::function[2]"] + 9,
        bodies["wasm[0]::array_to_wasm_trampoline[2]"] + 20,
        0x10_1234,
    )
    trap = describe(_report(bodies["wasm[0]::function[0]::first"] + 3, frames=frames), program)
    assert trap.backtrace == ("first+0x3", "second+0x4", "function[2]+0x8")


@pytest.mark.parametrize("seed", range(200))
def test_damaged_tables_never_raise(seed: int, program: Program) -> None:
    random_ = random.Random(seed)

    def damaged(data: bytes) -> bytes:
        changed = bytearray(data[: random_.randrange(len(data) + 1)])
        for _ in range(3):
            if changed:
                changed[random_.randrange(len(changed))] = random_.randrange(256)
        return bytes(changed)

    tables = program.traps
    symbols = damaged(tables.symbols)
    symbols = symbols[: len(symbols) // 12 * 12]
    broken = TrapTables(tables.text_size, symbols, damaged(tables.names), damaged(tables.codes))
    changed = Program(program.target, program.part, program.digest, 1, 1, broken)
    frames = tuple(random_.randrange(1 << 64) for _ in range(48))
    describe(_report(WINDOW_START + random_.randrange(tables.text_size), vector=14, frames=frames), changed)


def test_control_characters_in_names_do_not_reach_the_screen() -> None:
    text = '(module (memory (export "memory") 1) (func $"a\\1b[31m" (export "_start") unreachable))'
    program = compiled(wat(text))
    at = next(at for at, code in _codes(program).items() if code == 9)
    trap = describe(_report(WINDOW_START + at), program)
    assert trap.backtrace[0].startswith("a?[31m+")
