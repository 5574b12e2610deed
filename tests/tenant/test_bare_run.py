"""Programs run as laid out, without a keep: what each feature gives, and each trap by its name.

The same programs are run by wasmtime itself, so that the expected results are not ours to get wrong.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import wasmtime

from tests.tenant.bare import REPOSITORY, TRAPPED, c_program, compiled, run, wat
from wasmkeep.tenant.settings import CpuLevel
from wasmkeep.tenant.traps import describe

EXIT = """(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (func $out (param i32) (call $exit (i32.rem_u (local.get 0) (i32.const 113))))"""
# wasmtime takes exit codes below 126 only

# name: (module fields besides $exit and $out, body of _start): its exit code is the result
FEATURES = {
    "constant": ('(memory (export "memory") 1)', "(call $out (i32.const 42))"),
    "data": (
        """(memory (export "memory") 1) (data (i32.const 100) "\\07") (data (i32.const 100) "\\09")
           (data (i32.add (i32.const 60) (i32.const 41)) "\\20")""",
        "(call $out (i32.add (i32.load8_u (i32.const 100)) (i32.load8_u (i32.const 101))))",
    ),
    "memory.grow": (
        '(memory (export "memory") 1 4)',
        """(call $out (i32.add
             (i32.mul (i32.const 10) (memory.grow (i32.const 2)))
             (i32.add (memory.size) (i32.eq (memory.grow (i32.const 2)) (i32.const -1)))))""",
    ),
    "memory.fill and copy": (
        '(memory (export "memory") 1)',
        """(memory.fill (i32.const 10) (i32.const 5) (i32.const 20))
           (memory.copy (i32.const 11) (i32.const 10) (i32.const 20))
           (call $out (i32.add (i32.load8_u (i32.const 30)) (i32.load8_u (i32.const 31))))""",
    ),
    "passive data": (
        """(memory (export "memory") 1) (data $a "\\01\\02\\03") (data (i32.const 8) "\\ff")
           (data $b "\\04\\05")""",
        """(memory.init $b (i32.const 0) (i32.const 1) (i32.const 1))
           (memory.init $a (i32.const 1) (i32.const 0) (i32.const 3))
           (data.drop $a) (data.drop $b) (memory.init $a (i32.const 0) (i32.const 0) (i32.const 0))
           (call $out (i32.add (i32.load8_u (i32.const 0)) (i32.load8_u (i32.const 3))))""",
    ),
    "globals": (
        """(memory (export "memory") 1) (global $a (mut i32) (i32.const 5)) (global $b i64 (i64.const 7))
           (global $c f64 (f64.const 1.5)) (global $d (mut v128) (v128.const i32x4 1 2 3 4))
           (global $e f32 (f32.const 2.25)) (global $f i32 (i32.sub (i32.const 9) (i32.const 12)))""",
        """(global.set $a (i32.add (global.get $a) (i32.wrap_i64 (global.get $b))))
           (global.set $d (i32x4.add (global.get $d) (global.get $d)))
           (call $out (i32.add (i32.add (global.get $a) (i32x4.extract_lane 3 (global.get $d)))
             (i32.add (global.get $f)
               (i32.add (i32.trunc_f64_s (global.get $c)) (i32.trunc_f32_s (global.get $e))))))""",
    ),
    "call_indirect": (
        """(memory (export "memory") 1) (type $t (func (result i32))) (type $t2 (func (result i32)))
           (table 3 funcref) (elem (i32.const 1) $one $two)
           (func $one (type $t2) (i32.const 1)) (func $two (type $t) (i32.const 20))""",
        """(call $out
             (i32.add (call_indirect (type $t) (i32.const 1)) (call_indirect (type $t2) (i32.const 2))))""",
    ),
    "imported function in a table": (
        """(memory (export "memory") 1) (type $e (func (param i32)))
           (table 1 funcref) (elem (i32.const 0) $exit)""",
        "(call_indirect (type $e) (i32.const 33) (i32.const 0))",
    ),
    "several tables": (
        """(memory (export "memory") 1) (type $t (func (result i32))) (table $a 2 funcref)
           (table $b 2 funcref)
           (elem (table $a) (i32.const 0) func $one) (elem (table $b) (i32.const 1) func $two)
           (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))""",
        """(call $out (i32.add (call_indirect $a (type $t) (i32.const 0))
             (i32.mul (i32.const 10) (call_indirect $b (type $t) (i32.const 1)))))""",
    ),
    "table instructions": (
        """(memory (export "memory") 1) (type $t (func (result i32))) (table $t 4 20 funcref)
           (elem $p func $one $two) (elem declare func $three)
           (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 20))
           (func $three (result i32) (i32.const 3))""",
        """(local $n i32)
           (table.init $t $p (i32.const 1) (i32.const 0) (i32.const 2)) (elem.drop $p)
           (local.set $n (table.grow $t (ref.func $three) (i32.const 3)))
           (table.fill $t (i32.const 0) (ref.func $two) (i32.const 1))
           (table.copy $t $t (i32.const 5) (i32.const 0) (i32.const 2))
           (table.set $t (i32.const 0) (ref.null func))
           (call $out (i32.add (local.get $n) (i32.add
             (i32.add (call_indirect $t (type $t) (i32.const 5)) (call_indirect $t (type $t) (i32.const 6)))
             (i32.add (i32.add (call_indirect $t (type $t) (i32.const 4)) (table.size $t))
               (i32.mul (i32.const 100) (ref.is_null (table.get $t (i32.const 0))))))))""",
    ),
    "table.grow beyond its maximum": (
        '(memory (export "memory") 1) (table $t 4 6 funcref) (elem declare func $exit)',
        """(drop (table.grow $t (ref.func $exit) (i32.const 2)))
           (call $out (i32.add (i32.const 10) (table.grow $t (ref.null func) (i32.const 1))))""",
    ),
    "funcref global": (
        """(memory (export "memory") 1) (type $t (func (result i32))) (table $t 1 funcref)
           (global $g (mut funcref) (ref.func $f)) (func $f (result i32) (i32.const 77))""",
        """(table.set $t (i32.const 0) (global.get $g))
           (call $out (call_indirect $t (type $t) (i32.const 0)))""",
    ),
    "start function": (
        """(memory (export "memory") 1) (type $t (func (result i32))) (data (i32.const 4) "\\05")
           (data $p "\\06")
           (table $t 3 funcref) (elem (i32.const 0) $f) (elem $e func $f)
           (elem (table $t) (i32.const 2) funcref (ref.func $f))
           (global $g (mut i32) (i32.add (i32.const 1) (i32.const 2))) (global $r funcref (ref.func $f))
           (func $f (result i32) (i32.const 100))
           (func $begin (global.set $g (i32.add (global.get $g) (i32.load8_u (i32.const 4)))))
           (start $begin)""",
        """(memory.init $p (i32.const 4) (i32.const 0) (i32.const 1))
           (table.init $t $e (i32.const 1) (i32.const 0) (i32.const 1))
           (call $out (i32.add (i32.add (global.get $g) (i32.load8_u (i32.const 4)))
             (i32.add (call_indirect $t (type $t) (i32.const 1))
               (call_indirect $t (type $t) (i32.const 2)))))""",
    ),
    "tail calls": (
        """(memory (export "memory") 1)
           (func $count (param i32 i32) (result i32)
             (if (result i32) (local.get 0)
               (then
                 (return_call $count
                   (i32.sub (local.get 0) (i32.const 1)) (i32.add (local.get 1) (i32.const 1))))
               (else (local.get 1))))""",
        "(call $out (i32.rem_u (call $count (i32.const 5000000) (i32.const 0)) (i32.const 251)))",
    ),
    "multiple values": (
        '(memory (export "memory") 1) (func $two (result i32 i64) (i32.const 3) (i64.const 4))',
        """(local $l i64) (call $two) (local.set $l)
           (call $out (i32.mul (i32.const 5) (i32.wrap_i64 (local.get $l)))) drop""",
    ),
    "simd": (
        '(memory (export "memory") 1)',
        """(call $out (i16x8.extract_lane_u 2
             (i16x8.mul (i16x8.splat (i32.const 6)) (v128.const i16x8 1 2 3 4 5 6 7 8))))""",
    ),
    "relaxed simd": (
        '(memory (export "memory") 1)',
        """(call $out (i32.trunc_f32_s (f32x4.extract_lane 1
             (f32x4.relaxed_madd
               (f32x4.splat (f32.const 3)) (f32x4.splat (f32.const 4)) (f32x4.splat (f32.const 5))))))""",
    ),
    "sign extension and saturation": (
        '(memory (export "memory") 1)',
        """(call $out (i32.add (i32.extend8_s (i32.const 0x17f))
             (i32.trunc_sat_f64_u (f64.const -5))))""",
    ),
    "exactly to the end": (
        """(memory (export "memory") 1) (data $d "abcd") (table $t 3 funcref) (elem $e func $f $f)
           (func $f)""",
        """(memory.init $d (i32.const 65532) (i32.const 0) (i32.const 4))
           (memory.init $d (i32.const 65536) (i32.const 4) (i32.const 0))
           (memory.fill (i32.const 65536) (i32.const 1) (i32.const 0))
           (memory.copy (i32.const 65534) (i32.const 65532) (i32.const 2))
           (table.init $t $e (i32.const 1) (i32.const 0) (i32.const 2))
           (table.init $t $e (i32.const 3) (i32.const 2) (i32.const 0))
           (table.copy (i32.const 3) (i32.const 3) (i32.const 0))
           (table.fill $t (i32.const 3) (ref.null func) (i32.const 0))
           (elem.drop $e) (data.drop $d) (elem.drop $e) (data.drop $d)
           (call $out (i32.add (i32.load8_u (i32.const 65535))
             (ref.is_null (table.get $t (i32.const 2)))))""",
    ),
    "copies that overlap": (
        """(memory (export "memory") 1) (data (i32.const 0) "\\01\\02\\03\\04\\05\\06\\07\\08")
           (type $t (func (result i32))) (table $t funcref (elem $a $b $c $a $a))
           (func $a (result i32) (i32.const 1)) (func $b (result i32) (i32.const 2))
           (func $c (result i32) (i32.const 4))""",
        """(memory.copy (i32.const 2) (i32.const 0) (i32.const 6))
           (memory.copy (i32.const 0) (i32.const 1) (i32.const 6))
           (table.copy (i32.const 1) (i32.const 0) (i32.const 3))
           (table.copy (i32.const 0) (i32.const 1) (i32.const 3))
           (call $out (i32.add
             (i32.wrap_i64 (i64.rem_u (i64.load (i32.const 0)) (i64.const 1009)))
             (i32.add (call_indirect $t (type $t) (i32.const 2))
               (i32.mul (i32.const 10) (call_indirect $t (type $t) (i32.const 1))))))""",
    ),
    "tables among themselves": (
        """(memory (export "memory") 1) (type $t (func (result i32)))
           (table $a 2 funcref) (table $b 2 10 funcref) (table $c 0 funcref)
           (elem $e funcref (ref.func $one) (ref.null func) (ref.func $two))
           (elem (table $b) (offset (i32.const 1)) funcref (ref.func $two))
           (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))""",
        """(table.init $a $e (i32.const 0) (i32.const 1) (i32.const 2))
           (table.copy $b $a (i32.const 0) (i32.const 1) (i32.const 1))
           (drop (table.grow $c (table.get $b (i32.const 0)) (i32.const 3)))
           (drop (table.grow $c (ref.null func) (i32.const 2)))
           (table.copy $a $c (i32.const 0) (i32.const 2) (i32.const 2))
           (call $out (i32.add
             (i32.add (call_indirect $a (type $t) (i32.const 0)) (call_indirect $c (type $t) (i32.const 2)))
             (i32.add (i32.mul (i32.const 10) (table.size $c))
               (ref.is_null (table.get $a (i32.const 1))))))""",
    ),
    "extended constants": (
        """(memory (export "memory") 1)
           (global $wide i64 (i64.mul (i64.const 3)
             (i64.sub (i64.const 10) (i64.add (i64.const 1) (i64.const 2)))))
           (global $shown (export "shown") (mut i32)
             (i32.mul (i32.const -5) (i32.sub (i32.const 1) (i32.const 2))))
           (data (i32.mul (i32.const 200) (i32.add (i32.const 1) (i32.const 1))) "\\07")
           (table 4 funcref) (elem (offset (i32.sub (i32.const 100) (i32.const 98))) func $f) (func $f)""",
        """(global.set $shown (i32.add (global.get $shown) (i32.load8_u (i32.const 400))))
           (call $out (i32.add (i32.add (global.get $shown) (i32.wrap_i64 (global.get $wide)))
             (i32.sub (i32.const 2) (ref.is_null (table.get (i32.const 2))))))""",
    ),
    "every sign extension": (
        '(memory (export "memory") 1)',
        """(call $out (i32.and (i32.const 0x7fffffff) (i32.wrap_i64 (i64.add
             (i64.add (i64.extend8_s (i64.const 0x80)) (i64.extend16_s (i64.const 0x18000)))
             (i64.add (i64.extend32_s (i64.const 0x80000001)) (i64.extend_i32_s
               (i32.add (i32.extend8_s (i32.const 0xff)) (i32.extend16_s (i32.const 0x8001)))))))))""",
    ),
    "every saturating conversion": (
        '(memory (export "memory") 1)',
        """(call $out (i32.and (i32.const 0x7fffffff) (i32.add
             (i32.add
               (i32.add (i32.trunc_sat_f32_s (f32.const 1e20)) (i32.trunc_sat_f32_u (f32.const -1)))
               (i32.add (i32.trunc_sat_f64_s (f64.const -1e300)) (i32.trunc_sat_f64_u (f64.const nan))))
             (i32.wrap_i64 (i64.add
               (i64.add (i64.trunc_sat_f32_s (f32.const nan)) (i64.trunc_sat_f32_u (f32.const inf)))
               (i64.add (i64.trunc_sat_f64_s (f64.const 1e19)) (i64.trunc_sat_f64_u (f64.const 2.5))))))))""",
    ),
    "values through blocks": (
        """(memory (export "memory") 1)
           (func $swap (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))
           (func $many (result i32 i32 i32 i32) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4))""",
        """(local $n i32)
           (call $swap (i32.const 30) (i64.const 4)) (local.set $n) (i32.wrap_i64)
           (block (param i32) (result i32 i32) (local.get $n))
           (if (param i32) (result i32) (then (i32.const 2) (i32.mul)) (else))
           (loop (param i32) (result i32)) (local.set $n)
           (call $many) (i32.add) (i32.mul) (i32.sub) (local.get $n) (i32.add) (call $out)""",
    ),
    "simd as compilers use it": (
        '(memory (export "memory") 1) (data (i32.const 0) "the quick brown fox jumps over it")',
        """(local $v v128)
           (local.set $v (i8x16.swizzle (v128.load (i32.const 0))
             (v128.const i8x16 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1 0)))
           (local.set $v (v128.bitselect (local.get $v) (v128.load offset=16 (i32.const 0))
             (i8x16.gt_u (local.get $v) (i8x16.splat (i32.const 110)))))
           (v128.store (i32.const 64) (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23
             (local.get $v) (i32x4.trunc_sat_f32x4_s (f32x4.sqrt (f32x4.splat (f32.const 2e4))))))
           (call $out (i32.add (i8x16.bitmask (i8x16.eq (local.get $v) (v128.load (i32.const 64))))
             (i32.add (i16x8.extract_lane_s 3 (i16x8.extadd_pairwise_i8x16_u (local.get $v)))
               (i32x4.extract_lane 2
                 (i32x4.dot_i16x8_s (local.get $v) (v128.load32_splat (i32.const 68)))))))""",
    ),
    "duplicate types": (
        """(type $a (func (param i32) (result i32))) (type $b (func (param i64)))
           (type $c (func (param i32) (result i32)))
           (type $d (func)) (memory (export "memory") 1) (table 1 funcref) (elem (i32.const 0) $f)
           (func $f (type $c) (i32.add (local.get 0) (i32.const 1)))""",
        "(call $out (call_indirect (type $a) (i32.const 8) (i32.const 0)))",
    ),
}


def _module(fields: str, body: str) -> bytes:
    return wat(f'(module {EXIT} {fields} (func $main (export "_start") {body}))')


def _by_wasmtime(wasm: bytes) -> int | str:
    """Exit code or trap message of wasmtime's own run."""
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    store.set_wasi(wasmtime.WasiConfig())
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    try:
        instance = linker.instantiate(store, wasmtime.Module(engine, wasm))
        start = instance.exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        start(store)
    except wasmtime.ExitTrap as ended:
        return ended.code
    except wasmtime.Trap as trap:
        return trap.message
    return 0


@pytest.mark.parametrize("name", FEATURES)
def test_feature_runs_as_in_wasmtime(name: str, tmp_path: Path) -> None:
    wasm = _module(*FEATURES[name])
    expected = _by_wasmtime(wasm)
    ended = run(compiled(wasm), tmp_path)
    assert ended.code == expected
    assert isinstance(expected, int)
    assert expected not in (0, TRAPPED)


@pytest.mark.parametrize("level", [CpuLevel.V2, CpuLevel.V3])
def test_levels_run(level: CpuLevel, tmp_path: Path) -> None:
    wasm = _module(*FEATURES["table instructions"])
    assert run(compiled(wasm, level), tmp_path).code == _by_wasmtime(wasm)


TRAPS = {
    "load out of bounds": "(drop (i32.load (i32.const 0x7fffffff)))",
    "load far beyond 4 GiB": "(drop (i32.load offset=0xfffffff0 (i32.const 0xffffffff)))",
    "store at the end": "(i64.store (i32.const 65532) (i64.const 1))",
    "memory.fill out of bounds": "(memory.fill (i32.const 65530) (i32.const 0) (i32.const 100))",
    "memory.init out of bounds": "(memory.init $d (i32.const 0) (i32.const 3) (i32.const 9))",
    "memory.init after drop": "(data.drop $d) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))",
    "divide by zero": "(drop (i32.div_s (i32.const 7) (i32.load (i32.const 0))))",
    "remainder by zero": "(drop (i64.rem_u (i64.const 7) (i64.load (i32.const 0))))",
    "overflow": "(drop (i32.div_s (i32.const 0x80000000) (i32.sub (i32.load (i32.const 0)) (i32.const 1))))",
    "unreachable": "unreachable",
    "not a number": """(drop (i32.trunc_f64_s
      (f64.div (f64.convert_i32_u (i32.load (i32.const 0))) (f64.const 0))))""",
    "too large a float": "(drop (i32.trunc_f64_s (f64.const 1e30)))",
    "recursion": "(call $recurse (i32.const 1))",
    "null function": "(call_indirect (type $t) (i32.const 1))",
    "wrong signature": "(call_indirect (type $u) (i32.const 1) (i32.const 0))",
    "table out of bounds": "(call_indirect (type $t) (i32.const 99))",
    "table.get out of bounds": "(drop (table.get 0 (i32.const 4)))",
    "table.init out of bounds": "(table.init $e (i32.const 3) (i32.const 0) (i32.const 2))",
    "table.init after drop": "(elem.drop $e) (table.init $e (i32.const 0) (i32.const 0) (i32.const 1))",
    "after growth": "(drop (memory.grow (i32.const 3))) (drop (i32.load (i32.const 262142)))",
}
TRAP_FIELDS = """(type $t (func)) (type $u (func (param i32))) (memory (export "memory") 1 10)
  (table 4 funcref) (elem (i32.const 0) $a) (elem $e func $a $a) (data $d "12345") (func $a)
  (func $recurse (param i32)
    (call $recurse (i32.add (local.get 0) (i32.const 1))) (drop (i32.load (local.get 0))))"""


@pytest.mark.parametrize("name", TRAPS)
def test_trap_has_wasmtimes_name(name: str, tmp_path: Path) -> None:
    wasm = _module(TRAP_FIELDS, f"(call $inner)) (func $inner {TRAPS[name]}")
    expected = _by_wasmtime(wasm)
    program = compiled(wasm)
    ended = run(program, tmp_path)
    assert ended.trap is not None
    trap = describe(ended.trap, program)
    assert isinstance(expected, str)
    assert f"wasm trap: {trap.name}" in expected
    assert trap.backtrace[0].startswith("recurse+" if name == "recursion" else "inner+")
    if name != "recursion":
        assert [x.partition("+")[0] for x in trap.backtrace] == ["inner", "main"]


def test_out_of_bounds_says_where(tmp_path: Path) -> None:
    program = compiled(_module(TRAP_FIELDS, "(drop (i32.load (i32.const 0x12345678)))"))
    ended = run(program, tmp_path)
    assert ended.trap is not None
    assert describe(ended.trap, program).detail == "address 0x12345678; the memory has 65536 bytes"


def test_trap_in_the_start_function(tmp_path: Path) -> None:
    program = compiled(_module('(memory (export "memory") 1) (func $begin unreachable) (start $begin)', ""))
    ended = run(program, tmp_path)
    assert ended.trap is not None
    trap = describe(ended.trap, program)
    assert trap.name == "wasm `unreachable` instruction executed"
    assert trap.backtrace[0].startswith("begin+")


def test_examples_run(tmp_path: Path) -> None:
    examples = REPOSITORY / "examples"
    text = {x.stem: x.read_text() for x in examples.glob("*.wat")}
    assert run(compiled(wat(text["add"])), tmp_path, ["3", "4"]).stdout == b"7\n"
    assert run(compiled(wat(text["add"])), tmp_path, ["-10", "4"]).stdout == b"-6\n"
    assert run(compiled(wat(text["add"])), tmp_path, ["ten"]).code == 2
    assert run(compiled(wat(text["cat"])), tmp_path, stdin=b"a\0b" * 50_000).stdout == b"a\0b" * 50_000
    assert run(compiled(wat(text["primes"])), tmp_path).stdout == b"348513\n"
    program = compiled(wat(text["trap"]))
    ended = run(program, tmp_path)
    assert ended.trap is not None
    trap = describe(ended.trap, program)
    assert trap.name == "integer divide by zero"
    assert [x.partition("+")[0] for x in trap.backtrace] == ["divide", "share", "main"]


def test_c_program_runs(tmp_path: Path) -> None:
    program = compiled(c_program(REPOSITORY / "examples" / "hello.c"))
    ended = run(program, tmp_path, ["tenant"])
    assert (ended.code, ended.stdout, ended.stderr) == (0, b"Hello, tenant.\n", b"")


def test_large_frame_beyond_the_stack_is_an_exhausted_stack(tmp_path: Path) -> None:
    locals_ = " ".join("v128" for _ in range(2000))
    uses = " ".join(f"(local.set {i} (i8x16.splat (i32.load8_u (i32.const {i}))))" for i in range(2000))
    reads = " ".join(f"(v128.store (i32.const {16 * i}) (local.get {i}))" for i in range(2000))
    wasm = _module(
        f'(memory (export "memory") 1) (func $deep (local {locals_}) {uses} (call $deep) {reads})',
        "(call $deep)",
    )
    program = compiled(wasm)
    ended = run(program, tmp_path)
    assert ended.trap is not None
    assert describe(ended.trap, program).name == "call stack exhausted"
