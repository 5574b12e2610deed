"""Running a program part without a keep: `bare_loader.c`, built once, and programs compiled once."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import wasmtime

from wasmkeep.tenant.cache import ProgramCache
from wasmkeep.tenant.compile import compile_program
from wasmkeep.tenant.program import Program
from wasmkeep.tenant.settings import DEFAULT_LEVEL, CpuLevel

REPOSITORY = Path(__file__).parents[2]
BUILD = REPOSITORY / "build" / "tests"
ZIG_CACHE = REPOSITORY / "build" / "zig-cache"
SOURCE = Path(__file__).with_name("bare_loader.c")
TRAPPED = 200
_REPORT = struct.Struct("<IIQQQQQII")


@dataclass(frozen=True, slots=True)
class TrapReport:
    vector: int
    instruction: int
    fault_address: int
    memory_length: int
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    stdout: bytes
    stderr: bytes
    trap: TrapReport | None


def zig_cc(*arguments: str) -> None:
    """Compile with the pinned C compiler; what it says becomes the failure's message."""
    environment = {
        **os.environ,
        "ZIG_LOCAL_CACHE_DIR": str(ZIG_CACHE),
        "ZIG_GLOBAL_CACHE_DIR": str(ZIG_CACHE),
    }
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


def built(name: str, source: Path, *flags: str, also: str = "") -> Path:
    """``source`` compiled, kept under the digest of everything it was made from.

    :param also: the text of whatever else is compiled with it, of which only the names are in ``flags``.
    """
    key = hashlib.sha256(source.read_bytes() + repr((flags, also)).encode()).hexdigest()[:16]
    output = BUILD / f"{name}-{key}"
    if not output.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        temporary = output.with_suffix(f".{os.getpid()}")
        zig_cc(*flags, "-o", str(temporary), str(source))
        temporary.rename(output)
    return output


@functools.cache
def loader() -> Path:
    return built("bare-loader", SOURCE, "-O1", "-target", "x86_64-linux-musl")


def c_program(source: Path, *flags: str) -> bytes:
    """A C program as WebAssembly, by the compiler that examples name."""
    return built(source.stem, source, "-O2", "-target", "wasm32-wasi", *flags).read_bytes()


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


@functools.cache
def _cache() -> ProgramCache:
    """Compiled programs across test runs, for this exact source of the compiler side; others' are removed."""
    digest = hashlib.sha256()
    for path in sorted((REPOSITORY / "src" / "wasmkeep" / "tenant").glob("*.py")):
        digest.update(path.read_bytes())
    own = BUILD / f"programs-{digest.hexdigest()[:16]}"
    for other in set(BUILD.glob("programs-*")) - {own}:
        shutil.rmtree(other, ignore_errors=True)
    return ProgramCache(own)


def compiled(wasm: bytes, level: CpuLevel = DEFAULT_LEVEL) -> Program:
    """`compile_program`, from a cache of these tests where the module is large."""
    return compile_program(wasm, level=level, cache=_cache() if len(wasm) > 1 << 20 else None)


def run(program: Program, folder: Path, arguments: Sequence[str] = (), stdin: bytes = b"") -> Ended:
    """Run ``program`` in the bare loader, with files in ``folder``."""
    part, report = folder / "program.part", folder / "report"
    part.write_bytes(program.part)
    report.unlink(missing_ok=True)
    command = [str(loader()), str(part), str(report), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=120)
    trap = _decode(report.read_bytes()) if done.returncode == TRAPPED else None
    return Ended(done.returncode, done.stdout, done.stderr, trap)


def _decode(payload: bytes) -> TrapReport:
    vector, _, instruction, fault, _, _, memory, count, _ = _REPORT.unpack_from(payload)
    frames = struct.unpack_from(f"<{count}Q", payload, _REPORT.size)
    return TrapReport(vector, instruction, fault, memory, frames)
