"""What toolchains emit, with their defaults and with every feature that is supported, runs as in wasmtime."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.keeps import Given, ended, in_keep, in_wasmtime
from tests.tenant.bare import BUILD, ZIG_CACHE, built, compiled
from wasmkeep.image import MachineKind

FOLDER = Path(__file__).parent
EVERYTHING = (
    "generic+bulk_memory+bulk_memory_opt+call_indirect_overlong+extended_const+multivalue+mutable_globals"
    "+nontrapping_fptoint+reference_types+relaxed_simd+sign_ext+simd128+tail_call+wide_arithmetic"
)
FLAGS = {"defaults": (), "every feature": (f"-mcpu={EVERYTHING}",)}
if os.environ.get("WASMKEEP_SOAK"):  # each has a C library of its own, which takes half a minute to compile
    FLAGS |= {"small": ("-Oz", "-s"), "the first version's features": ("-mcpu=mvp",), "unoptimized": ("-O0",)}
ASSEMBLYSCRIPT = ("assemblyscript@0.28.20", "@assemblyscript/wasi-shim@0.1.0")


def same(wasm: bytes, kind: MachineKind, code: int) -> None:
    given = Given(("argument",), memory=96 << 20, machine=192 << 20)
    result = ended(in_keep(kind, compiled(wasm), given))
    assert result.code == code
    assert result.stdout + result.stderr
    assert result == in_wasmtime(wasm, given)


@pytest.mark.parametrize("name", FLAGS)
def test_c(name: str, kind: MachineKind) -> None:
    flags = ("-target", "wasm32-wasi", "-O2", *FLAGS[name])
    same(built("toolchain", FOLDER / "toolchain.c", *flags).read_bytes(), kind, 11)


@pytest.fixture(scope="module")
def zig_program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    output = tmp_path_factory.mktemp("zig") / "hello.wasm"
    command = [sys.executable, "-m", "ziglang", "build-exe", str(FOLDER / "hello.zig")]
    command += ["-target", "wasm32-wasi", "-O", "ReleaseSafe", f"-femit-bin={output}"]
    command += ["--cache-dir", str(ZIG_CACHE), "--global-cache-dir", str(ZIG_CACHE)]
    subprocess.run(command, check=True)
    return output.read_bytes()


def test_zig(zig_program: bytes, kind: MachineKind) -> None:
    same(zig_program, kind, 12)


@pytest.fixture(scope="module")
def assemblyscript() -> bytes:
    """The program by AssemblyScript's compiler, which npm has; kept between runs."""
    folder = BUILD / "assemblyscript"
    output = folder / "assembly.wasm"
    if not output.exists() or output.stat().st_mtime < (FOLDER / "assembly.ts").stat().st_mtime:
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is absent: AssemblyScript's compiler is one of its packages")
        folder.mkdir(parents=True, exist_ok=True)
        install = [npm, "install", "--no-audit", "--no-fund", "--silent", "--ignore-scripts", *ASSEMBLYSCRIPT]
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"npm could not install AssemblyScript: {done.stderr.strip()[-200:]}")
        shutil.copy(FOLDER / "assembly.ts", folder)
        shim = "./node_modules/@assemblyscript/wasi-shim/asconfig.json"
        compiler = ["node_modules/.bin/asc", "assembly.ts", "-O", "--config", shim, "-o", output.name]
        subprocess.run(compiler, cwd=folder, check=True)
    return output.read_bytes()


def test_assemblyscript(assemblyscript: bytes, kind: MachineKind) -> None:
    same(assemblyscript, kind, 0)
