"""Small pieces of machine code from assembly text, with the pinned compiler's assembler."""

from __future__ import annotations

import functools
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / "build" / "zig-cache"


def assemble(pieces: Mapping[str, str]) -> dict[str, bytes]:
    """Each piece of Intel-syntax text as code that runs anywhere; one run of the assembler for all."""
    return _assemble(tuple(pieces.items()))


@functools.lru_cache
def _assemble(pieces: tuple[tuple[str, str], ...]) -> dict[str, bytes]:
    source = [".intel_syntax noprefix"]
    for index, (_, text) in enumerate(pieces):
        source += [f'.section .piece{index},"ax"', text]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pieces.s")
        path.write_text("\n".join(source) + "\n")
        output = path.with_suffix(".o")
        command = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-freestanding-none", "-c"]
        environment = {
            "ZIG_LOCAL_CACHE_DIR": str(CACHE),
            "ZIG_GLOBAL_CACHE_DIR": str(CACHE),
            "PATH": "/usr/bin:/bin",
        }
        subprocess.run([*command, str(path), "-o", str(output)], check=True, env=environment)
        sections = _sections(output.read_bytes())
    return {name: sections[f".piece{index}"] for index, (name, _) in enumerate(pieces)}


def _sections(elf: bytes) -> dict[str, bytes]:
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + size * index) for index in range(count)]
    names = headers[names_index][4]
    found = {}
    for name, _, _, _, offset, length in headers:
        start = names + name
        found[elf[start : elf.index(b"\0", start)].decode()] = elf[offset : offset + length]
    return found
