"""What PROGRAM may be, and how each wrong one is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tenant.bare import REPOSITORY, wat
from wasmkeep.errors import ConfigurationError, InputError, ProgramError
from wasmkeep.tenant import source
from wasmkeep.tenant.configuration import Configuration
from wasmkeep.tenant.source import read_source

TEXT = '(module (memory (export "memory") 1) (func (export "_start")))'


def test_binary_and_text(tmp_path: Path) -> None:
    (tmp_path / "a.wasm").write_bytes(wat(TEXT))
    (tmp_path / "a.wat").write_text(TEXT)
    binary, text = read_source(tmp_path / "a.wasm"), read_source(tmp_path / "a.wat")
    assert binary.wasm == text.wasm == wat(TEXT)
    assert (binary.name, text.name) == ("a.wasm", "a.wat")
    assert binary.configuration == Configuration()


def test_binary_named_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.wat").write_bytes(wat(TEXT))
    assert read_source(tmp_path / "a.wat").wasm == wat(TEXT)


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "main.wasm").write_bytes(wat(TEXT))
    (tmp_path / "main.wat").write_text("(module")
    (tmp_path / "Keep.toml").write_text("args = ['a']")
    read = read_source(tmp_path)
    assert (read.name, read.configuration.arguments) == ("main.wasm", ("a",))


def test_folder_with_text() -> None:
    read = read_source(REPOSITORY / "examples" / "letter")
    assert read.name == "main.wat"
    assert [x.local for x in read.configuration.trees] == [REPOSITORY / "examples" / "letter" / "data"]


def test_another_configuration_is_relative_to_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "a.wat").write_text(TEXT)
    (tmp_path / "other").mkdir()
    file = tmp_path / "other" / "Test.toml"
    file.write_text("[[dirs]]\nlocal = 'data'\nguest = '/data'")
    read = read_source(tmp_path / "a.wat", file)
    assert read.configuration.trees[0].local == tmp_path / "other" / "data"


@pytest.mark.parametrize("name", ["absent.wasm", "absent/x.wasm", "folder", "pipe", "n" * 300, "a\0b"])
def test_missing_and_wrong_kinds(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError) as refused:
        read_source(tmp_path / name)
    assert refused.value.check == "program.file"
    assert refused.value.exit_code == 66


def test_folder_without_configuration(tmp_path: Path) -> None:
    (tmp_path / "main.wasm").write_bytes(wat(TEXT))
    with pytest.raises(InputError, match="the configuration cannot be read") as refused:
        read_source(tmp_path)
    assert "Keep.toml" in refused.value.found


def test_text_that_does_not_parse(tmp_path: Path) -> None:
    (tmp_path / "a.wat").write_text("(module\n  (func $f (param i33)))")
    with pytest.raises(ProgramError) as refused:
        read_source(tmp_path / "a.wat")
    assert refused.value.check == "program.text"
    assert ":2:" in refused.value.found
    (tmp_path / "a.wat").write_bytes(b"\xff\xfe")
    with pytest.raises(ProgramError, match="neither"):
        read_source(tmp_path / "a.wat")


def test_configuration_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "main.wasm").write_bytes(wat(TEXT))
    (tmp_path / "Keep.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        read_source(tmp_path)


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_PROGRAM_BYTES", 10)
    (tmp_path / "a.wasm").write_bytes(bytes(11))
    with pytest.raises(InputError, match="too large"):
        read_source(tmp_path / "a.wasm")
