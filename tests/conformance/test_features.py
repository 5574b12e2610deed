"""Every feature and every trap of the tenant's compiler, in the keep: what wasmtime gives, the keep gives.

These rest on the private facts of wasmtime (`wasmkeep.tenant.wasmtime_facts`) and would notice a change.
"""

from __future__ import annotations

import pytest

from tests.conformance.keeps import Given, Result, ended, in_keep, in_wasmtime
from tests.tenant.bare import REPOSITORY, c_program, compiled, wat
from tests.tenant.test_bare_run import FEATURES, TRAP_FIELDS, TRAPS, _by_wasmtime, _module
from wasmkeep.image import MachineKind
from wasmkeep.tenant.settings import CpuLevel
from wasmkeep.tenant.source import read_source
from wasmkeep.tenant.traps import describe
from wasmkeep.tenant.trees import read_trees

EXAMPLES = REPOSITORY / "examples"


@pytest.mark.parametrize("name", FEATURES)
def test_feature(name: str, kind: MachineKind) -> None:
    wasm = _module(*FEATURES[name])
    assert ended(in_keep(kind, compiled(wasm), Given())).code == _by_wasmtime(wasm)


@pytest.mark.parametrize("name", TRAPS)
def test_trap_by_name(name: str, kind: MachineKind) -> None:
    wasm = _module(TRAP_FIELDS, f"(call $inner)) (func $inner {TRAPS[name]}")
    program = compiled(wasm)
    trap = describe(in_keep(kind, program, Given()).trap, program)
    assert f"wasm trap: {trap.name}" in str(_by_wasmtime(wasm))
    assert trap.backtrace[0].startswith("recurse+" if name == "recursion" else "inner+")


def test_level_without_avx(kind: MachineKind) -> None:
    wasm = _module(*FEATURES["simd"])
    assert ended(in_keep(kind, compiled(wasm, CpuLevel.V2), Given())).code == _by_wasmtime(wasm)


def test_memory_stops_growing_at_its_limit(kind: MachineKind) -> None:
    grows = """(loop $more (br_if $more (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))))
      (call $exit (i32.div_u (memory.size) (i32.const 16)))"""
    program = compiled(_module('(memory (export "memory") 16)', grows))
    for memory in (1 << 20, 5 << 20):
        assert ended(in_keep(kind, program, Given(memory=memory))).code == memory >> 20


@pytest.mark.parametrize(
    ("example", "given"),
    [
        ("add.wat", Given(arguments=("3", "4"))),
        ("add.wat", Given(arguments=("-9000000000", "1", "2"))),
        ("add.wat", Given(arguments=("three",))),
        ("cat.wat", Given(stdin=b"line\n" * 30_000)),
        ("cat.wat", Given()),
        ("primes.wat", Given()),
    ],
)
def test_example(example: str, given: Given, kind: MachineKind) -> None:
    wasm = wat((EXAMPLES / example).read_text())
    assert ended(in_keep(kind, compiled(wasm), given)) == in_wasmtime(wasm, given)


def test_example_application(kind: MachineKind) -> None:
    read = read_source(EXAMPLES / "letter")
    given = Given(files=read_trees(read.configuration.trees), memory=read.configuration.memory)
    letter = (EXAMPLES / "letter" / "data" / "letter.txt").read_bytes()
    assert ended(in_keep(kind, compiled(read.wasm), given)) == Result(0, letter)


def test_example_in_c(kind: MachineKind) -> None:
    wasm = c_program(EXAMPLES / "hello.c")
    program = compiled(wasm)
    for arguments, environment in ((("tenant",), ()), ((), (("USER", "me"),)), ((), ())):
        given = Given(arguments, environment, memory=32 << 20)
        assert ended(in_keep(kind, program, given)) == in_wasmtime(wasm, given)
