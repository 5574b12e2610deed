"""Small files named on a command line: regular ones, or what the shell has opened; none is waited for."""

from __future__ import annotations

import io
import json
import logging
import os
from pathlib import Path

import pytest

from tests.cli.conftest import User
from wasmkeep.cli import tokens
from wasmkeep.cli.console import Console
from wasmkeep.cli.flags import read_file
from wasmkeep.cli.log_lines import LogLines
from wasmkeep.errors import InputError
from wasmkeep.host.journal import journal

TOKEN = "wk_" + "A" * 43


def test_a_pipe_that_nobody_writes_to_is_refused_at_once(user: User) -> None:
    os.mkfifo(user.home / "pipe")
    done = user.run("receipt", "verify", "pipe")
    assert done.returncode == InputError.exit_code
    assert "cannot read the receipt pipe" in done.stderr.decode()


def test_a_pipe_among_endorsements_is_refused_at_once(user: User) -> None:
    (user.home / "report").write_bytes(bytes(1184))
    (user.home / "folder").mkdir()
    os.mkfifo(user.home / "folder" / "pipe")
    done = user.run("evidence", "verify", "report", "--endorsements", "folder")
    assert done.returncode == InputError.exit_code
    assert "cannot read the endorsement" in done.stderr.decode()


def test_folders_and_devices_are_no_files(tmp_path: Path) -> None:
    for path in (str(tmp_path), "/dev/zero"):
        with pytest.raises(InputError, match="cannot read the receipt"):
            read_file(path, "the receipt")


def test_what_the_shell_has_opened_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"data")
    os.close(writer)
    assert read_file(f"/dev/fd/{reader}", "the policy") == b"data"
    os.close(reader)


def test_standard_input_is_read(user: User) -> None:
    done = user.run("policy", "check", "/dev/stdin", stdin=b"platforms = ['nitro']")
    assert done.returncode == 67
    assert "/dev/stdin:1:" in done.stderr.decode()


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_token_that_others_may_read_is_warned_of(tmp_path: Path, mode: int, warned: bool) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(mode)
    said = io.StringIO()
    assert tokens.find(str(file), "http://127.0.0.1:9", Console(said, quiet=True)) == TOKEN
    assert ("other users may read the token" in said.getvalue()) == warned
    assert TOKEN not in said.getvalue()


def test_the_daemons_log_is_lines_of_json() -> None:
    said = io.StringIO()
    with journal(LogLines(Console(said, json=True, quiet=True))):
        logging.getLogger("wasmkeep.host").warning("a keep ended: %s", "two\nlines")
        logging.getLogger("asyncio").error("slow")
    first, second = (json.loads(line) for line in said.getvalue().splitlines())
    assert first["event"] == second["event"] == "log"
    assert "warning a keep ended: two\\nlines" in first["text"]
    assert second["text"].endswith("error slow")
