"""The private facts of wasmtime, read back from what the installed version compiles.

`test_bare_run.py` runs programs that rest on all of them; here single facts are decoded, so that a change of
wasmtime is named and not only felt.
"""

from __future__ import annotations

import importlib.metadata
import re

import pytest

from tests.tenant.bare import wat
from wasmkeep.tenant import compiler, elf, module, wasmtime_facts
from wasmkeep.tenant.instance import escaping_functions
from wasmkeep.tenant.instance_area import Offsets
from wasmkeep.tenant.settings import DEFAULT_LEVEL

IMPORT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
ALL_BUILTINS = f"""(module {IMPORT} (memory (export "memory") 1) (table $t 1 funcref) (elem $e func $f)
  (func $f)
  (func (export "_start") (local $n i32)
    (local.set $n (i32.load (i32.const 0)))
    (drop (memory.grow (local.get $n)))
    (memory.copy (local.get $n) (local.get $n) (local.get $n))
    (memory.fill (local.get $n) (local.get $n) (local.get $n))
    (table.init $t $e (local.get $n) (local.get $n) (local.get $n)) (elem.drop $e)
    (drop (table.grow $t (ref.func $f) (local.get $n)))
    (call_indirect $t (local.get $n))
    (call $exit (local.get $n))))"""

# mov r64, [r64 + disp8] and mov r64, [r64 + disp32]: REX.W (+B, +R), 8B, ModRM with mod 01 or 10 and no SIB
LOAD_8 = re.compile(
    rb"[\x48-\x4f]\x8b[\x40-\x43\x45-\x4b\x4d-\x53\x55-\x5b\x5d-\x63\x65-\x6b\x6d-\x73\x75-\x7b\x7d-\x7f](.)",
    re.S,
)
LOAD_32 = re.compile(
    rb"[\x48-\x4f]\x8b[\x80-\x83\x85-\x8b\x8d-\x93\x95-\x9b\x9d-\xa3\xa5-\xab\xad-\xb3\xb5-\xbb\xbd-\xbf](....)",
    re.S,
)
LOAD_0 = re.compile(
    rb"[\x48-\x4f]\x8b[\x00-\x03\x06-\x0b\x0e-\x13\x16-\x1b\x1e-\x23\x26-\x2b\x2e-\x33\x36-\x3b\x3e-\x3f]",
    re.S,
)


def _compiled(text: str) -> elf.ObjectFile:
    code = compiler.machine_code(wat(text), DEFAULT_LEVEL)
    return elf.parse(
        code, text_section=wasmtime_facts.SECTION_TEXT, traps_section=wasmtime_facts.SECTION_TRAPS
    )


def _displacements(code: bytes) -> set[int]:
    found = {match[1][0] for match in LOAD_8.finditer(code)}
    found |= {int.from_bytes(match[1], "little") for match in LOAD_32.finditer(code)}
    return found | ({0} if LOAD_0.search(code) else set())


def _code(compiled: elf.ObjectFile, name: str) -> bytes:
    symbol = compiled.symbols[name]
    return compiled.text[symbol.offset : symbol.offset + symbol.size]


def test_version_is_the_one_the_facts_are_of() -> None:
    assert importlib.metadata.version("wasmtime") == wasmtime_facts.VERSION


def test_every_builtin_is_loaded_from_its_place() -> None:
    compiled = _compiled(ALL_BUILTINS)
    names = {
        x.removeprefix("wasmtime_builtin_") for x in compiled.symbols if x.startswith("wasmtime_builtin_")
    }
    assert names == wasmtime_facts.BUILTINS.keys() - {"raise"}
    for name in names:
        loads = _displacements(_code(compiled, f"wasmtime_builtin_{name}"))
        assert 8 * wasmtime_facts.BUILTINS[name] in loads, name
        others = {8 * number for other, number in wasmtime_facts.BUILTINS.items() if other != name}
        # 8 and 16 are also the store context, the frame above and the builtins themselves.
        assert not (loads & others) - {0x08, 0x10, 8 * wasmtime_facts.BUILTINS["raise"]}, name


def test_failed_host_call_raises() -> None:
    loads = _displacements(_code(_compiled(ALL_BUILTINS), "signatures[0]::wasm_to_array_trampoline"))
    assert 8 * wasmtime_facts.BUILTINS["raise"] in loads
    assert wasmtime_facts.HOST_FUNCTION_ARRAY_CALL in loads


def test_every_function_checks_the_stack_limit() -> None:
    code = _code(_compiled(ALL_BUILTINS), "wasm[0]::function[2]")
    assert wasmtime_facts.VMCTX_STORE_CONTEXT in _displacements(code[:16])
    assert wasmtime_facts.STORE_STACK_LIMIT in _displacements(code[:16])


@pytest.mark.parametrize(
    "fields",
    [
        "",
        IMPORT,
        f"{IMPORT} {IMPORT.replace('$exit', '')}",
        "(global i32 (i32.const 1))",
        "(table 1 funcref)",
        '(table 1 funcref) (elem (i32.const 0) func $f) (func $f) (export "f" (func $f))',
        f"""{IMPORT} (table 3 funcref) (table 2 funcref) (global funcref (ref.func $f))
          (elem declare func $f $g) (func $f) (func $g) (func) (global i64 (i64.const 1))
          (global v128 (v128.const i64x2 1 1))""",
    ],
)
def test_vmcontext_is_as_long_before_the_runtime_data(fields: str) -> None:
    """The only array whose place depends on all others is the last: where passive data are found."""
    text = f"""(module {fields} (memory (export "memory") 1) (data $d "abc")
      (func $start (export "_start") (memory.init $d (i32.const 0) (i32.const 0) (i32.const 3))))"""
    parsed = module.parse(wat(text))
    compiled = _compiled(text)
    has_startup = wasmtime_facts.SYMBOL_STARTUP_WASM in compiled.symbols
    offsets = Offsets.of(parsed, len(escaping_functions(parsed)), 1, startup=has_startup)
    entry = parsed.exports["_start"].index
    body = next(x for x in compiled.symbols if x.startswith(f"wasm[0]::function[{entry}]"))
    loads = _displacements(_code(compiled, body))
    assert offsets.runtime_pointers in loads
    assert max(loads) == offsets.runtime_pointers


def test_every_trap_code_of_the_table_is_known() -> None:
    assert set(range(10)) <= wasmtime_facts.TRAP_NAMES.keys()
