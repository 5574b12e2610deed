"""CPython 3.12, unchanged: `workout.py` prints in a keep what it prints in plain wasmtime."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.keeps import Given, ended, in_keep, in_wasmtime
from tests.conformance.test_programs import cpython
from tests.tenant.bare import compiled
from wasmkeep.image import MachineKind
from wasmkeep.tenant.package import DeliveredFile

SCRIPT = Path(__file__).with_name("workout.py")
MODIFIED = 1_700_000_000 * 10**9


def test_works_as_in_wasmtime(kind: MachineKind) -> None:
    wasm = cpython().read_bytes()
    given = Given(
        arguments=("/data/workout.py", "one", "two words"),
        environment=(("HOME", "/"), ("LANG", "C.UTF-8")),
        files=(
            DeliveredFile(b"data", True, False, MODIFIED),
            DeliveredFile(b"data/workout.py", False, False, MODIFIED, SCRIPT.read_bytes()),
            DeliveredFile(b"data/table.csv", False, False, MODIFIED, b"a,b\n1,2\n3,4\n"),
        ),
        stdin=b"typed\n",
        memory=128 << 20,
        machine=288 << 20,
    )
    result = ended(in_keep(kind, compiled(wasm), given))
    assert result.code == 42, result.stderr.decode()
    assert result == in_wasmtime(wasm, given)
