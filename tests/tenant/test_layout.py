"""The program part: the bounds of docs/protocol.md section 4, and what stands where."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from tests.tenant import part as parts
from tests.tenant.bare import compiled, wat
from tests.tenant.test_bare_run import FEATURES, _module
from wasmkeep.errors import ProgramError
from wasmkeep.tenant import layout, wasmtime_facts
from wasmkeep.tenant.elf import FactsChanged, ObjectFile
from wasmkeep.tenant.elf import parse as parse_elf
from wasmkeep.tenant.instance import STACK_LIMIT
from wasmkeep.tenant.module import parse
from wasmkeep.tenant.program import (
    MAX_RUNS,
    WINDOW_START,
    Fixed,
    Protection,
    Relocation,
    Run,
    Segment,
    encode_part,
)

EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'


@pytest.mark.parametrize("name", FEATURES)
def test_every_bound_of_the_protocol_holds(name: str) -> None:
    program = compiled(_module(*FEATURES[name]))
    part = parts.read(program.part)
    assert program.digest == hashlib.sha256(program.part).digest()
    assert part.target == program.target == "wasmtime 50.0.1 x86_64-unknown-linux-gnu x86-64-v3"
    assert (part.minimum, part.maximum) == (program.memory_minimum, program.memory_maximum)
    assert bool(part.start) == (name == "start function")


def test_segments_are_apart() -> None:
    program = compiled(_module(*FEATURES["passive data"]))
    segments = parts.read(program.part).segments
    assert [x.protection for x in segments] == [3, 1, 2]
    for one, next_ in itertools.pairwise(segments):
        assert next_.address - (one.address + one.memory_size) >= 64 << 10


def test_a_text_that_fills_its_block_still_leaves_a_gap() -> None:
    end = WINDOW_START + (2 << 20)
    assert layout._next_segment(end - 1) == end + (2 << 20)
    assert layout._next_segment(end - (64 << 10)) == end


def test_stack_limit_and_store() -> None:
    part = parts.read(compiled(_module(*FEATURES["constant"])).part)
    store = part.u64(part.vmctx + wasmtime_facts.VMCTX_STORE_CONTEXT)
    assert part.u64(store + wasmtime_facts.STORE_STACK_LIMIT) == STACK_LIMIT == 0x81_0000
    assert part.u64(part.vmctx) == int.from_bytes(b"core", "little")


def test_imports_are_relocated_to_their_wasi_function() -> None:
    text = f"""(module {EXIT} (import "wasi_snapshot_preview1" "sched_yield" (func $y (result i32)))
      (memory (export "memory") 1) (func (export "_start") (drop (call $y)) (call $exit (i32.const 1))))"""
    part = parts.read(compiled(wat(text)).part)
    builtins = [number for _, number in part.relocations]
    assert builtins.count(38) == builtins.count(41) == 3  # import, func ref, host function
    assert set(builtins) <= {38, 41, 67}


def test_only_used_memory_builtins_are_reachable() -> None:
    part = parts.read(
        compiled(_module('(memory (export "memory") 1)', "(drop (memory.grow (i32.const 1)))")).part
    )
    table = part.u64(part.vmctx + wasmtime_facts.VMCTX_BUILTINS)
    placed = dict(part.relocations)
    assert [placed[table + 8 * number] for number in range(3)] == [64, 67, 67]
    assert {placed[table + 8 * number] for number in range(3, wasmtime_facts.BUILTIN_COUNT)} == {67}


def test_no_memory_at_all() -> None:
    part = parts.read(compiled(wat('(module (func (export "_start")))')).part)
    assert (part.minimum, part.maximum, part.runs) == (0, 0, [])


def test_maximum_of_memory() -> None:
    def maximum(limits: str) -> int:
        return parts.read(compiled(_module(f'(memory (export "memory") {limits})', "")).part).maximum

    assert [maximum(x) for x in ("1", "1 1", "0 65536", "3 9")] == [65_536, 1, 65_536, 9]


def test_neighbouring_data_become_one_run_and_order_is_kept() -> None:
    fields = """(memory (export "memory") 1) (data (i32.const 0) "abc") (data (i32.const 3) "def")
      (data (i32.const 10) "ghi") (data (i32.const 1000) "far") (data (i32.const 2) "OVER")
      (data (i32.const 5) "")"""
    runs = parts.read(compiled(_module(fields, "")).part).runs
    assert runs == [(0, b"abcdef\0\0\0\0ghi"), (1000, b"far"), (2, b"OVER")]


def test_startup_code_is_not_sent_where_nothing_calls_it() -> None:
    data = " ".join(f'(data (i32.const {1000 * number}) "x{number}")' for number in range(60))
    without = compiled(_module(f'(memory (export "memory") 1) {data}', ""))
    with_ = compiled(_module(f'(memory (export "memory") 1) {data} (func $s) (start $s)', ""))
    sizes = [parts.read(x.part).segments[0].memory_size for x in (without, with_)]
    assert sizes[1] - sizes[0] > 1000


def test_large_tables_and_growth_are_not_sent() -> None:
    grows = _module(
        '(memory (export "memory") 1) (table $t 10 funcref)',
        "(drop (table.grow $t (ref.null func) (i32.const 1)))",
    )
    part = parts.read(compiled(grows).part)
    assert part.segments[-1].memory_size > 8 * 65_536 > len(part.segments[-1].content)


def test_too_many_runs_are_refused() -> None:
    fixed = Fixed(0x4020_0000, 0, 0x4000_0000, 0x4020_0000, 65_536, 65_536)
    segments = [Segment(0x4000_0000, 1, Protection.READ_EXECUTE, b"\xc3")]
    runs = [Run(number, b"") for number in range(MAX_RUNS + 1)]
    with pytest.raises(ProgramError, match="too many runs") as refused:
        encode_part("t", fixed, segments, [], runs)
    assert refused.value.check == "program.size"


@pytest.mark.parametrize(
    "segment",
    [
        Segment(0x4000_0000, (512 << 20) + 1, Protection.READ, b""),
        Segment(0x7FE0_0000, (2 << 20) + 1, Protection.READ, b""),
    ],
)
def test_too_large_segments_are_refused(segment: Segment) -> None:
    with pytest.raises(ProgramError, match="too large for a keep"):
        encode_part("t", Fixed(0, 0, 0, 0, 0, 0), [segment], [Relocation(0, 0)], [])


def _object(text: str) -> tuple[bytes, ObjectFile]:
    from wasmkeep.tenant import compiler
    from wasmkeep.tenant.settings import DEFAULT_LEVEL

    wasm = wat(text)
    code = compiler.machine_code(wasm, DEFAULT_LEVEL)
    return wasm, parse_elf(code, text_section=".text", traps_section=".wasmtime.traps")


TEXT = '(module (memory (export "memory") 1) (func (export "_start") (drop (memory.grow (i32.const 1)))))'


def test_unknown_builtin_is_refused_by_name() -> None:
    wasm, compiled_ = _object(TEXT)
    compiled_.symbols["wasmtime_builtin_gc_alloc_raw"] = compiled_.symbols["wasmtime_builtin_memory_grow"]
    with pytest.raises(ProgramError, match="wasmtime's runtime") as refused:
        layout.lay_out(parse(wasm), wasm, compiled_, "t")
    assert "gc_alloc_raw" in refused.value.found


@pytest.mark.parametrize("missing", ["wasm[0]::array_to_wasm_trampoline[0]", "*"])
def test_changed_facts_are_an_error_of_ours(missing: str) -> None:
    wasm, compiled_ = _object(TEXT)
    for name in [x for x in compiled_.symbols if missing in ("*", x)]:
        del compiled_.symbols[name]
    with pytest.raises(FactsChanged):
        layout.lay_out(parse(wasm), wasm, compiled_, "t")


@pytest.mark.parametrize("cut", [0, 3, 64, 1000])
def test_cut_object_file_is_an_error_of_ours(cut: int) -> None:
    from wasmkeep.tenant import compiler
    from wasmkeep.tenant.settings import DEFAULT_LEVEL

    code = compiler.machine_code(wat(TEXT), DEFAULT_LEVEL)
    with pytest.raises(FactsChanged):
        parse_elf(code[:cut], text_section=".text", traps_section=".wasmtime.traps")
