"""Rules of the source that no type checker knows, held by reading every module's syntax tree."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wasmkeep

SOURCE = Path(wasmkeep.__file__).resolve().parent
EVERYWHERE = sorted(SOURCE.rglob("*.py"))
EVIDENCE = sorted((SOURCE / "evidence").rglob("*.py"))

EXECUTE = {
    "pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "yaml",
    "multiprocessing",
    "code",
    "codeop",
    "runpy",
}
EXECUTING_CALLS = {"eval", "exec", "compile", "__import__"}
IMPURE = {
    "asyncio",
    "ctypes",
    "fcntl",
    "glob",
    "http",
    "httpx",
    "importlib.resources",
    "io",
    "mmap",
    "os",
    "pathlib",
    "random",
    "requests",
    "secrets",
    "select",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "time",
    "urllib",
}
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic"}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Names called, and whether as an attribute of something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id, False
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr, True


def violations(source: str, modules: set[str], functions: set[str], methods: set[str]) -> list[str]:
    tree = ast.parse(source)
    found = [
        name
        for name in imports(tree)
        if any(name == banned or name.startswith(banned + ".") for banned in modules)
    ]
    found += [name for name, attribute in calls(tree) if name in (methods if attribute else functions)]
    return found


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_executes_what_it_reads(path: Path) -> None:
    assert violations(path.read_text(encoding="utf-8"), EXECUTE, EXECUTING_CALLS, set()) == []


@pytest.mark.parametrize("path", EVIDENCE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_evidence_has_no_files_sockets_or_clock(path: Path) -> None:
    functions = {"open", "input", "print", *EXECUTING_CALLS}
    methods = {"open", "read_bytes", "read_text", "write_bytes", "write_text", *CLOCKS}
    assert violations(path.read_text(encoding="utf-8"), IMPURE, functions, methods) == []


@pytest.mark.parametrize("path", EVIDENCE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_evidence_keeps_no_state(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node.names for node in ast.walk(tree) if isinstance(node, ast.Global | ast.Nonlocal)]
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)], (
        "no assert for validation"
    )


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from os import path",
        "import os.path",
        "from pathlib import Path",
        "def f():\n    from datetime import datetime\n    return datetime.now()",
        "with open('x') as f: pass",
        "eval('1')",
        "import importlib.resources",
    ],
)
def test_the_scan_finds_what_it_looks_for(source: str) -> None:
    assert violations(source, EXECUTE | IMPURE, EXECUTING_CALLS | {"open"}, CLOCKS)


def test_public_names() -> None:
    evidence = importlib.import_module("wasmkeep.evidence")
    for name in evidence.__all__:
        assert getattr(evidence, name) is not None
    assert set(evidence.__all__) == set(evidence._HOMES)
    with pytest.raises(AttributeError):
        _ = evidence.nothing


@pytest.mark.parametrize("path", EVIDENCE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_listed_name_exists(path: Path) -> None:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(part for part in parts if part != "__init__"))
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name) is not None


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "cryptography", "json", "tomllib"
    program = f"import sys, wasmkeep.evidence; print(*set({heavy}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_files_and_functions_stay_small() -> None:
    for path in (*EVIDENCE, *sorted((SOURCE / "image").rglob("*.py"))):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") < 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno
                assert length < 56, (path, node.name, length)
