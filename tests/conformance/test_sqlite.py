"""A large C program in the keep: SQLite, from the sources in npm's better-sqlite3, with a database file."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.conformance.keeps import Given, ended, in_keep, in_wasmtime
from tests.tenant.bare import BUILD, built, compiled
from wasmkeep.image import MachineKind

PACKAGE = "better-sqlite3@13.2.0"
AMALGAMATION = "75a4760a7b9727a4c4c877aec92eacf39e52a8f2921ce00bd33be6d3a8e8e254"
"""SHA-256 of its sqlite3.c: what is compiled is what was looked at."""
MEMBERS = ("package/deps/sqlite3/sqlite3.c", "package/deps/sqlite3/sqlite3.h")


def _amalgamation() -> Path:
    """The folder with sqlite3.c and sqlite3.h, fetched once."""
    folder = BUILD / "sqlite"
    if not (folder / "sqlite3.c").exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is absent: SQLite's source comes from one of its packages")
        download = BUILD / "npm"
        download.mkdir(parents=True, exist_ok=True)
        command = [npm, "pack", "--silent", "--ignore-scripts", PACKAGE]
        done = subprocess.run(command, cwd=download, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"npm cannot fetch {PACKAGE}: {done.stderr.strip()[-200:]}")
        folder.mkdir(exist_ok=True)
        with tarfile.open(download / done.stdout.strip().splitlines()[-1]) as archive:
            for member in reversed(MEMBERS):
                file = archive.extractfile(member)
                assert file is not None
                (folder / Path(member).name).write_bytes(file.read())
    assert hashlib.sha256((folder / "sqlite3.c").read_bytes()).hexdigest() == AMALGAMATION
    return folder


@pytest.fixture(scope="module")
def wasm() -> bytes:
    folder = _amalgamation()
    source = Path(__file__).with_name("sqlite_workload.c")
    flags = ("-O2", "-s", "-target", "wasm32-wasi", f"-I{folder}", str(folder / "sqlite3.c"))
    return built("sqlite", source, *flags).read_bytes()


@pytest.mark.parametrize("file", [":memory:", "/tmp/people.db"])
def test_sqlite_works_as_in_wasmtime(file: str, wasm: bytes, kind: MachineKind) -> None:
    given = Given(arguments=(file,), memory=64 << 20, machine=128 << 20)
    result = ended(in_keep(kind, compiled(wasm), given))
    assert result.code == 7
    assert result.stdout.endswith(b"ok\ndone\n")
    assert result == in_wasmtime(wasm, given)
