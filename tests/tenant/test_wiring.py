"""Files that a `Keep.toml` names: beneath its folder, regular, and changed only by a program that ran."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from wasmkeep.errors import InputError, OutputError, WasmkeepError
from wasmkeep.tenant.beneath import open_beneath
from wasmkeep.tenant.configuration import Configuration
from wasmkeep.tenant.keep_toml import parse_configuration
from wasmkeep.tenant.streams import BytesInput, BytesOutput
from wasmkeep.tenant.trees import read_trees
from wasmkeep.tenant.wiring import wired

INHERITED = (BytesInput(b""), BytesOutput(), BytesOutput())


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A program's folder, beside a file that is none of its business."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_bytes(b"key")
    folder = tmp_path / "app"
    folder.mkdir()
    return folder


def _configuration(app: Path, text: str) -> Configuration:
    return parse_configuration(text, name="Keep.toml", base=app)


def _stream(app: Path, key: str, file: str) -> Configuration:
    return _configuration(app, f'stdio.{key} = {{ file = "{file}" }}')


def _wire(configuration: Configuration) -> None:
    with wired(configuration, INHERITED):
        pass


@pytest.mark.parametrize("key", ["stdin", "stdout", "stderr"])
def test_no_stream_goes_through_a_link(app: Path, key: str) -> None:
    (app / "file").symlink_to("../secret")
    (app / "absolute").symlink_to(app.parent / "secret")
    (app / "up").symlink_to("..")
    (app / "new").symlink_to("../made")
    for name in ("file", "absolute", "up/secret", "new"):
        with pytest.raises((InputError, OutputError), match="is a symbolic link"):
            _wire(_stream(app, key, name))
    assert (app.parent / "secret").read_bytes() == b"secret"
    assert not (app.parent / "made").exists()


@pytest.mark.parametrize("key", ["stdin", "stdout", "stderr"])
def test_a_stream_is_a_regular_file(app: Path, key: str) -> None:
    os.mkfifo(app / "pipe")
    (app / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises((InputError, OutputError), match="cannot be opened"):
            _wire(_stream(app, key, name))


def test_a_pipe_with_somebody_at_its_end_is_refused_too(app: Path) -> None:
    os.mkfifo(app / "pipe")
    end = os.open(app / "pipe", os.O_RDWR | os.O_NONBLOCK)
    with pytest.raises(OutputError, match="no regular file"):
        _wire(_stream(app, "stdout", "pipe"))
    os.close(end)


@pytest.mark.parametrize("key", ["dirs", "files"])
def test_no_tree_is_reached_through_a_link(app: Path, key: str) -> None:
    (app / "file").symlink_to("../secret")
    (app / "folder").symlink_to("../private")
    (app / "up").symlink_to("..")
    for name in ("file", "folder", "folder/key", "up/private", "up/secret"):
        given = _configuration(app, f'[[{key}]]\nlocal = "{name}"\nguest = "/x"')
        with pytest.raises(InputError, match="a symbolic link stands in a path"):
            read_trees(given.trees)


def test_a_pipe_as_a_tree_is_refused_at_once(app: Path) -> None:
    os.mkfifo(app / "pipe")
    given = _configuration(app, '[[files]]\nlocal = "pipe"\nguest = "/x"')
    with pytest.raises(InputError, match="only folders and regular files"):
        read_trees(given.trees)


def test_what_is_beneath_the_folder_is_delivered(app: Path) -> None:
    (app / "a" / "b").mkdir(parents=True)
    (app / "a" / "b" / "c").write_bytes(b"content")
    (app.parent / "link").symlink_to(app)  # the user's own way there
    for base in (app, app.parent / "link"):
        text = '[[files]]\nlocal = "a/b/c"\nguest = "/c"\n[[dirs]]\nlocal = "."\nguest = "/all"'
        files = {x.path: x.content for x in read_trees(_configuration(base, text).trees)}
        assert files[b"c"] == files[b"all/a/b/c"] == b"content"


def test_paths_are_relative_to_the_current_folder_as_the_files_is(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(app)
    (app / "c").write_bytes(b"content")
    given = _configuration(Path(), '[[files]]\nlocal = "c"\nguest = "/c"')
    assert [x.content for x in read_trees(given.trees)] == [b"content"]


def test_output_is_the_users_alone_and_replaces_what_was_there(app: Path) -> None:
    (app / "old").write_bytes(b"something longer")
    (app / "old").chmod(0o640)
    given = _configuration(app, '[stdio]\nstdout = { file = "new" }\nstderr = { file = "old" }')
    before = os.umask(0)
    try:
        with wired(given, INHERITED) as (_, stdout, stderr):
            asyncio.run(stdout.write(b"a"))
            asyncio.run(stdout.write(b"b"))
            asyncio.run(stderr.write(b"c"))
    finally:
        os.umask(before)
    assert [(app / x).read_bytes() for x in ("new", "old")] == [b"ab", b"c"]
    assert [stat.S_IMODE((app / x).stat().st_mode) for x in ("new", "old")] == [0o600, 0o640]


def test_both_outputs_in_one_file_are_both_there(app: Path) -> None:
    given = _configuration(app, '[stdio]\nstdout = { file = "log" }\nstderr = { file = "log" }')
    (app / "log").write_bytes(b"the last run's")
    with wired(given, INHERITED) as (_, stdout, stderr):
        asyncio.run(stdout.write(b"one "))
        asyncio.run(stderr.write(b"two "))
        asyncio.run(stdout.write(b"three"))
    assert (app / "log").read_bytes() == b"one two three"


def test_a_refused_keep_leaves_the_last_output(app: Path) -> None:
    (app / "out").write_bytes(b"the last run's")
    with pytest.raises(WasmkeepError), wired(_stream(app, "stdout", "out"), INHERITED):
        raise WasmkeepError("keep.refused", "the keep was refused")
    assert (app / "out").read_bytes() == b"the last run's"


def test_a_program_that_says_nothing_leaves_an_empty_file(app: Path) -> None:
    (app / "out").write_bytes(b"the last run's")
    _wire(_stream(app, "stdout", "out"))
    assert (app / "out").read_bytes() == b""


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd"])
def test_nothing_outside_is_opened_whoever_asks(app: Path, path: str) -> None:
    with pytest.raises(OSError, match="not inside the folder"):
        open_beneath(app, app / path, os.O_RDONLY)


def test_no_descriptor_is_left_open(app: Path) -> None:
    (app / "a" / "b").mkdir(parents=True)
    (app / "a" / "link").symlink_to("b")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("a/b", "a", "."):
        os.close(open_beneath(app, app / name, os.O_RDONLY))
    for name in ("a/link", "a/absent", "absent/b"):
        with pytest.raises(OSError):  # noqa: PT011 - any reason
            open_beneath(app, app / name, os.O_RDONLY)
    assert len(os.listdir("/proc/self/fd")) == before
