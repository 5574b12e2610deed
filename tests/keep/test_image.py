"""The images are what the repository says they are, and anyone can build them again."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.keep.conftest import ALL_KINDS, IMAGES, image
from wasmkeep.image.elf import Segment, load_segments

ROOT = Path(__file__).resolve().parents[2]
EXECUTE, WRITE = 1, 2
GUESTS = ("snp", "sev", "sev-es")
Segments = tuple[Segment, ...]


def recorded(kind: str) -> str:
    return str(tomllib.loads((IMAGES / "digests.toml").read_text())[kind]["sha256"])


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_image_is_the_recorded_one(kind: str) -> None:
    assert hashlib.sha256(image(kind)).hexdigest() == recorded(kind)


REBUILT = ALL_KINDS if os.environ.get("WASMKEEP_SOAK") == "1" else ("snp", "process-sev-es")
"""An image takes the compiler a quarter of a minute; these two have every source between them."""
BUILD_ONE = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import build
build.build(sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4]))
"""


@pytest.mark.parametrize("kind", REBUILT)
def test_a_build_elsewhere_is_the_same_to_the_byte(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="the Zig compiler is not installed")
    keep, built = tmp_path / "keep", tmp_path / "built.elf"
    shutil.copytree(ROOT / "keep", keep, ignore=shutil.ignore_patterns("__pycache__"))
    arguments = [str(keep), kind, str(built), str(tmp_path / "cache")]
    subprocess.run([sys.executable, "-B", "-c", BUILD_ONE, *arguments], check=True, stderr=subprocess.DEVNULL)
    assert hashlib.sha256(built.read_bytes()).hexdigest() == recorded(kind)


def loadable(elf: bytes) -> list[tuple[int, int, int]]:
    """Address, size in memory and flags of each PT_LOAD."""
    offset, size, count = (
        struct.unpack_from("<Q", elf, 32)[0],
        struct.unpack_from("<H", elf, 54)[0],
        struct.unpack_from("<H", elf, 56)[0],
    )
    found = []
    for index in range(count):
        kind, flags, _, address, _, _, memory, _ = struct.unpack_from("<IIQQQQQQ", elf, offset + size * index)
        if kind == 1:
            found.append((address, memory, flags))
    return found


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_nothing_is_writable_and_executable(kind: str) -> None:
    segments = loadable(image(kind))
    assert all(flags & (WRITE | EXECUTE) != WRITE | EXECUTE for _, _, flags in segments)
    assert sum(bool(flags & EXECUTE) for _, _, flags in segments) == (1 if kind.startswith("process") else 2)


@pytest.mark.parametrize("kind", GUESTS)
def test_header_names_the_tables(kind: str) -> None:
    first = load_segments(image(kind))[0]
    assert first.address == 0x10_0000
    magic, entry, stack, pml4, gdt, idt, tss, *limits = struct.unpack_from("<8s6Q4H", first.data)
    assert magic == b"WKIMAGE1"
    assert 0x11_0000 <= entry < 0x19_0000
    assert (stack, pml4) == (0xA0_0000 - 64, 0x10_4000)
    assert gdt < idt < tss < 0x10_1000
    assert limits == [5 * 8 - 1, 32 * 16 - 1, 104 + 4 - 1, 0]


@pytest.mark.parametrize("kind", GUESTS)
def test_page_tables_allow_nothing_to_be_written_and_executed(kind: str) -> None:
    """Walks the constant tables as a processor does: what ring 3 reaches, and how."""
    memory = load_segments(image(kind))
    pages = dict(walk(memory, 0x10_4000))
    writable = {address for address, flags in pages.items() if flags & 0b111 == 0b111}
    executable = {address for address, flags in pages.items() if not flags >> 63 and flags & 0b100}
    assert not writable & executable
    assert executable == set(range(0x11_0000, 0x19_0000, 4096))
    assert not [address for address in pages if address < 0x1_3000]
    tables = set(range(0x10_0000, 0x11_0000, 4096))
    assert not tables & {address for address, flags in pages.items() if flags & 0b100}
    # Nothing that a program could reach shows a table, a gate or a permission bitmap under another address.
    physical = {flags & 0x000F_FFFF_FFFF_F000 for flags in pages.values() if flags & 0b100}
    assert physical & tables == {0x10_3000}  # the trap page, to read


def walk(memory: Segments, table: int, level: int = 4, base: int = 0) -> list[tuple[int, int]]:
    """(address, entry) of each mapped page; a large page counts once."""
    found: list[tuple[int, int]] = []
    for index in range(512):
        entry = quadword(memory, table + 8 * index)
        if not entry & 1:
            continue
        address = base + (index << (12 + 9 * (level - 1)))
        if level == 1 or entry & 0x80:
            found.append((address, entry))
        else:
            found += walk(memory, entry & 0x000F_FFFF_FFFF_F000, level - 1, address)
    return found


def quadword(memory: Segments, address: int) -> int:
    for segment in memory:
        at = address - segment.address
        if 0 <= at < segment.size:
            return int.from_bytes(segment.data[at : at + 8], "little")
    raise AssertionError(f"a table at {address:#x} that is not in the image")
