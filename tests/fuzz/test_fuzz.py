"""Each fuzz target, briefly: a fixed number of inputs; and that a target which breaks is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evidence.soak import SOAK
from tests.fuzz.targets import TARGETS

atheris = pytest.importorskip("atheris", reason="atheris has no build for this Python")

_ROOT = Path(__file__).resolve().parents[2]
_RUNS = 200_000 if SOAK else 600


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """All targets, one after the other."""
    command = [sys.executable, "-m", "tests.fuzz.run_target", ",".join(TARGETS)]
    options = [f"-runs={_RUNS}", "-seed=1", "-verbosity=0"]
    folder = str(tmp_path_factory.mktemp("fuzz"))
    return subprocess.run(
        [*command, folder, *options],
        cwd=_ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds(name: str, fuzzed: subprocess.CompletedProcess[str]) -> None:
    assert f"{name}: held" in fuzzed.stdout.splitlines(), fuzzed.stderr[-3000:]


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_holds(name: str) -> None:
    """Also what each of them is without its last byte, or with one more."""
    target = TARGETS[name]
    for seed in target.seeds():
        for data in (seed, seed[:-1], seed + b"\0", seed[: len(seed) // 2]):
            target.run(data)
    target.run(b"")


def test_a_target_that_breaks_is_noticed(tmp_path: Path) -> None:
    """An exception that is not `Rejected`, at the first input; the other target still runs."""
    program = (
        "import sys; from tests.fuzz import run_target; from tests.fuzz.targets import Target\n"
        "run_target.TARGETS = {'a': Target(lambda data: [][0], list), 'b': Target(lambda data: None, list)}\n"
        "sys.exit(run_target.main(['a,b', sys.argv[1], '-runs=5']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "b: held" in result.stdout.splitlines()
    assert any(line.startswith("a: broken") for line in result.stdout.splitlines())
    assert list(tmp_path.glob("a-crash-*"))
