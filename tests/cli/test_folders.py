"""Private folders: made for one command, removed by whoever made them and by nobody else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.cli.conftest import MACHINE, User
from wasmkeep.cli.folders import folder_of_child, private_folder
from wasmkeep.errors import SystemFailure


def test_a_new_folder_is_gone_at_the_end() -> None:
    with private_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "file").touch()
    assert not folder.exists()


def test_a_folder_that_was_there_stays_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    with pytest.raises(SystemFailure) as refused, private_folder(tmp_path):
        pytest.fail("somebody's folder was taken")
    assert refused.value.check == "folder.private"
    assert (tmp_path / "precious").read_bytes() == b"x"


def test_a_name_for_a_child_is_free_and_private_to_it(tmp_path: Path) -> None:
    with folder_of_child() as named:
        assert not named.exists()
        with private_folder(named) as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not named.exists()
        named.mkdir()  # as a child that was killed leaves it
        (named / "machine").touch()
    assert not named.exists()


def test_host_serve_does_not_remove_a_folder_it_did_not_make(user: User) -> None:
    (user.home / "mine").mkdir()
    (user.home / "mine" / "file").write_bytes(b"x")
    done = user.run("host", "serve", "--simulated", "snp", "--machine", MACHINE, "--private", "mine")
    assert done.returncode == SystemFailure.exit_code, done.stderr.decode()
    assert "the private folder cannot be made" in done.stderr.decode()
    assert (user.home / "mine" / "file").read_bytes() == b"x"
