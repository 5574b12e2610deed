"""The cache of compiled programs: whole or not there; never a foreign, torn or altered one."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tenant.bare import wat
from wasmkeep.tenant import cache as cache_module
from wasmkeep.tenant import compile as compile_module
from wasmkeep.tenant.cache import ProgramCache, cache_key
from wasmkeep.tenant.compile import compile_program, target_name
from wasmkeep.tenant.program import Program
from wasmkeep.tenant.settings import DEFAULT_LEVEL, describe
from wasmkeep.tenant.tree_digest import CHUNK, tree_digest

WASM = wat('(module (memory (export "memory") 1) (func $main (export "_start")))')
OTHER = wat('(module (memory (export "memory") 2) (func $main (export "_start")))')
TARGET = target_name(DEFAULT_LEVEL)
KEY = cache_key(WASM, TARGET, describe())


@pytest.fixture
def cache(tmp_path: Path) -> ProgramCache:
    return ProgramCache(tmp_path / "programs")


@pytest.fixture
def program() -> Program:
    return compile_program(WASM)


def _file(cache: ProgramCache) -> Path:
    (file,) = cache.folder.iterdir()
    return file


def test_what_is_stored_comes_back_whole(cache: ProgramCache, program: Program) -> None:
    assert cache.load(KEY, TARGET) is None
    cache.store(KEY, program)
    assert cache.load(KEY, TARGET) == program
    assert _file(cache).stat().st_mode & 0o777 == 0o600
    assert cache.folder.stat().st_mode & 0o777 == 0o700


def test_a_cached_program_is_not_compiled_again(cache: ProgramCache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_program(WASM, cache=cache)
    monkeypatch.setattr(compile_module, "_compile", lambda *_: pytest.fail("compiled again"))
    assert compile_program(WASM, cache=cache, progress=lambda _: pytest.fail("progress of nothing")) == first


def test_every_truncation_and_extension_is_compiled_again(cache: ProgramCache, program: Program) -> None:
    cache.store(KEY, program)
    file = _file(cache)
    whole = file.read_bytes()
    for size in [*range(0, len(whole), 97), 127, 128, len(whole) - 1]:
        file.write_bytes(whole[:size])
        assert cache.load(KEY, TARGET) is None
    file.write_bytes(whole + b"\0")
    assert cache.load(KEY, TARGET) is None
    assert compile_program(WASM, cache=cache) == program
    assert cache.load(KEY, TARGET) == program


def test_every_flipped_byte_is_compiled_again(cache: ProgramCache, program: Program) -> None:
    cache.store(KEY, program)
    file = _file(cache)
    whole = file.read_bytes()
    random_ = random.Random(1)
    for at in [*range(200), *random_.sample(range(len(whole)), 200)]:
        file.write_bytes(whole[:at] + bytes((whole[at] ^ 1 << random_.randrange(8),)) + whole[at + 1 :])
        assert cache.load(KEY, TARGET) is None, at


def test_another_programs_file_is_not_taken(cache: ProgramCache, program: Program) -> None:
    """A file moved to another key's name is foreign, although it is whole."""
    cache.store(KEY, program)
    other = cache_key(OTHER, TARGET, describe())
    _file(cache).rename(cache.folder / f"{other.hex()}.program")
    assert cache.load(other, TARGET) is None


def test_another_target_is_not_taken(cache: ProgramCache, program: Program) -> None:
    cache.store(KEY, replace(program, target="wasmtime 1 somewhere else"))
    assert cache.load(KEY, TARGET) is None


def test_key_depends_on_everything() -> None:
    keys = {
        KEY,
        cache_key(OTHER, TARGET, describe()),
        cache_key(WASM, TARGET + "9", describe()),
        cache_key(WASM, TARGET, describe() + " "),
        cache_key(WASM, TARGET + describe()[:1], describe()[1:]),
    }
    assert len(keys) == 5


def test_symbolic_links_are_not_followed(cache: ProgramCache, program: Program, tmp_path: Path) -> None:
    cache.store(KEY, program)
    file = _file(cache)
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    assert cache.load(KEY, TARGET) is None
    cache.store(KEY, program)
    assert not file.is_symlink()
    assert cache.load(KEY, TARGET) == program


def test_a_folder_through_a_symbolic_link_is_not_used(tmp_path: Path, program: Program) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    linked = ProgramCache(tmp_path / "link")
    linked.store(KEY, program)
    assert list(real.iterdir()) == []
    assert linked.load(KEY, TARGET) is None


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755, 0o701])
def test_a_folder_open_to_others_is_not_used(cache: ProgramCache, program: Program, mode: int) -> None:
    cache.store(KEY, program)
    cache.folder.chmod(mode)
    assert cache.load(KEY, TARGET) is None
    assert compile_program(WASM, cache=cache) == program


def test_another_owner_is_not_trusted(
    cache: ProgramCache, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.store(KEY, program)
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    assert cache.load(KEY, TARGET) is None


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_not_read(cache: ProgramCache, program: Program, kind: str) -> None:
    cache.store(KEY, program)
    file = _file(cache)
    file.unlink()
    if kind == "folder":
        file.mkdir()
    else:
        os.mkfifo(file)
    assert cache.load(KEY, TARGET) is None
    assert compile_program(WASM, cache=cache) == program


def test_a_cache_that_cannot_be_written_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file" / "programs", tmp_path / "file"):
        assert compile_program(WASM, cache=ProgramCache(folder)) == compile_program(WASM)


def test_nothing_half_written_is_left(
    cache: ProgramCache, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.store(KEY, program)

    def fail(_: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fail)
    other = cache_key(OTHER, TARGET, describe())
    cache.store(other, program)
    assert cache.load(other, TARGET) is None
    assert cache.load(KEY, TARGET) == program
    assert len(list(cache.folder.iterdir())) == 1


def test_the_longest_unused_go_first(tmp_path: Path, program: Program) -> None:
    size = len(cache_module._encode(KEY, program))
    cache = ProgramCache(tmp_path / "programs", limit=3 * size)
    keys = [bytes((number,)) * 32 for number in range(4)]
    for number, key in enumerate(keys[:3]):
        cache.store(key, program)
        os.utime(cache.folder / f"{key.hex()}.program", ns=(number, number))
    assert cache.load(keys[0], TARGET) == program  # used: now the newest
    cache.store(keys[3], program)
    assert [cache.load(key, TARGET) is not None for key in keys] == [True, False, True, True]


def test_a_program_larger_than_the_limit_is_not_kept(tmp_path: Path, program: Program) -> None:
    cache = ProgramCache(tmp_path / "programs", limit=100)
    cache.store(KEY, program)
    assert cache.load(KEY, TARGET) is None


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3])
def test_tree_digest_does_not_depend_on_threads(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random.Random(size).randbytes(size)
    digests = set()
    for cores in (1, 2, 3, 64, None):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        digests.add(tree_digest(data))
    assert len(digests) == 1
    assert tree_digest(data + b"\0") not in digests
