"""Traps by name, on the real keep: a change in wasmtime's private tables would be seen here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.lying_host import Attempt, deploy_to_liar
from tests.machines import HAS_KVM, machine
from wasmkeep.evidence.policy import Policy
from wasmkeep.tenant import events
from wasmkeep.tenant.preparation import prepare
from wasmkeep.tenant.request import DeploymentRequest

CPUS = ["process", pytest.param("kvm", marks=pytest.mark.skipif(not HAS_KVM, reason="no /dev/kvm here"))]

MODULE = """
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (type $none (func))
  (type $one (func (param i32)))
  (memory (export "memory") 1)
  (table 4 funcref)
  (elem (i32.const 0) $callee)
  (global $zero (mut i32) (i32.const 0))
  (func $callee)
  (func $deeper (param i32)
    (call $deeper (i32.add (local.get 0) (i32.const 1)))
    (drop (i32.load (local.get 0))))
  (func $innermost {body})
  (func $middle (call $innermost))
  (func (export "_start") (call $middle)))
"""

TRAPS = {
    "load outside": ("(drop (i32.load (i32.const 0x7fffffff)))", "out of bounds memory access"),
    "load far outside": (
        "(drop (i32.load offset=0xfffffff0 (i32.const 0xffffffff)))",
        "out of bounds memory access",
    ),
    "store at the end": ("(i32.store (i32.const 65533) (i32.const 1))", "out of bounds memory access"),
    "copy outside": (
        "(memory.copy (i32.const 65530) (i32.const 0) (i32.const 100))",
        "out of bounds memory access",
    ),
    "fill outside": (
        "(memory.fill (i32.const 65530) (i32.const 1) (i32.const 100))",
        "out of bounds memory access",
    ),
    "division by zero": ("(drop (i32.div_s (i32.const 7) (global.get $zero)))", "integer divide by zero"),
    "overflow": (
        "(drop (i32.div_s (i32.const 0x80000000) (i32.sub (global.get $zero) (i32.const 1))))",
        "integer overflow",
    ),
    "unreachable": ("unreachable", "wasm `unreachable` instruction executed"),
    "conversion": (
        "(drop (i32.trunc_f64_s (f64.div (f64.convert_i32_u (global.get $zero)) (f64.const 0))))",
        "invalid conversion to integer",
    ),
    "recursion": ("(call $deeper (i32.const 1))", "call stack exhausted"),
    "null in the table": ("(call_indirect (type $none) (i32.const 1))", "uninitialized element"),
    "wrong signature": (
        "(call_indirect (type $one) (i32.const 1) (i32.const 0))",
        "indirect call type mismatch",
    ),
    "outside the table": (
        "(call_indirect (type $none) (i32.const 99))",
        "undefined element: out of bounds table access",
    ),
}


def run(text: str, folder: Path, cpu: str) -> Attempt:
    program = folder / "program.wat"
    program.write_text(text)
    request = DeploymentRequest(program=program, host="http://127.0.0.1:1", policy=Policy.default())
    return deploy_to_liar(on=machine(cpu=cpu), goods=prepare(request, lambda _: None))


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("name", TRAPS)
def test_each_trap_has_its_name_and_place(name: str, cpu: str, tmp_path: Path) -> None:
    body, expected = TRAPS[name]
    result = run(MODULE.format(body=body), tmp_path, cpu)
    assert result.error is None, result.error
    assert result.outcome is not None
    assert (result.outcome.exit_code, result.outcome.trap) == (None, expected)
    (trapped,) = (event for event in result.events if isinstance(event, events.Trapped))
    assert trapped.name == expected
    if name != "recursion":
        assert any("innermost" in frame for frame in trapped.backtrace[:2])
        assert any("middle" in frame for frame in trapped.backtrace)


@pytest.mark.parametrize("cpu", CPUS)
def test_memory_grows_to_its_limit_and_no_further(cpu: str, tmp_path: Path) -> None:
    body = """
      (if (i32.ne (memory.grow (i32.const 100)) (i32.const 1)) (then (call $exit (i32.const 1))))
      (i32.store (i32.const 6000000) (i32.const 42))
      (if (i32.ne (i32.load (i32.const 6000000)) (i32.const 42)) (then (call $exit (i32.const 2))))
      (if (i32.ne (i32.load (i32.const 6553600)) (i32.const 0)) (then (call $exit (i32.const 3))))
      (if (i32.ne (memory.grow (i32.const 60000)) (i32.const -1)) (then (call $exit (i32.const 4))))
      (if (i32.ne (memory.size) (i32.const 101)) (then (call $exit (i32.const 5))))
      (call $exit (i32.const 9))"""
    result = run(MODULE.format(body=body), tmp_path, cpu)
    assert result.outcome is not None, result.error
    assert result.outcome.exit_code == 9
