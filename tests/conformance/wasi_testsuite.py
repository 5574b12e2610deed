"""Runs the official WASI test suite, preview 1: ``python -m tests.conformance.wasi_testsuite FOLDER [NAME…]``

``FOLDER`` is a checkout of WebAssembly/wasi-testsuite with prebuilt modules (branch ``prod/testsuite-base``).
Every module runs as a user would run it: ``wasmkeep run --simulated MODULE``, with the folder that its
specification names as ``--dir FOLDER:/:rw``. Exit code 0 where all passed, 1 where one did not, 2 where there
are none. With names, only modules whose name holds one of them run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MODULES = "tests/*/testsuite/wasm32-wasip1/*.wasm"
_SECONDS = 120


@dataclass(frozen=True)
class Specification:
    """What a module is given, and what it must do (the suite's ``doc/specification.md``, legacy form)."""

    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    root: str | None = None
    exit_code: int = 0
    stdout: str | None = None
    stderr: str | None = None


def specification_of(module: Path) -> Specification:
    """Raises ValueError for one in a form that this runner does not know."""
    path = module.with_suffix(".json")
    if not path.is_file():
        return Specification()
    stated: dict[str, Any] = json.loads(path.read_text())
    unknown = stated.keys() - Specification.__dataclass_fields__.keys()
    if unknown:
        raise ValueError(f"{path}: unknown members {sorted(unknown)}")
    return Specification(**{**stated, "args": tuple(stated.get("args", ()))})


def failure(module: Path) -> str | None:
    """Why a module did not pass; None where it did."""
    wanted = specification_of(module)
    command = [sys.executable, "-m", "wasmkeep.cli", "run", "--simulated", "--quiet", str(module)]
    for name, value in wanted.env.items():
        command += ["--env", f"{name}={value}"]
    if wanted.root is not None:
        command += ["--dir", f"{module.parent / wanted.root}:/:rw"]
    command += ["--", *wanted.args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no end after {_SECONDS} s"
    if done.returncode != wanted.exit_code:
        return f"exit code {done.returncode}, not {wanted.exit_code}\n{done.stderr.strip()}"
    for name, found, required in (
        ("stdout", done.stdout, wanted.stdout),
        ("stderr", _without_banner(done.stderr), wanted.stderr),
    ):
        if required is not None and found != required:
            return f"{name} {found!r}, not {required!r}"
    return None


def _without_banner(text: str) -> str:
    """Without what ``run`` itself says of the simulated machine, in lines of its own."""
    own = ("  SIMULATED", " " * 14)
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(own))


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    folder, names = Path(arguments[0]), arguments[1:]
    modules = sorted(folder.glob(_MODULES))
    chosen = [module for module in modules if not names or any(name in module.stem for name in names)]
    if not chosen:
        print(f"no {_MODULES} in {folder}", file=sys.stderr)
        return 2
    passed = 0
    for module in chosen:
        reason = failure(module)
        passed += reason is None
        if reason is not None:
            print(f"FAILED {module.relative_to(folder)}: {reason}", flush=True)
    print(f"{passed} of {len(chosen)}")
    return 0 if passed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
