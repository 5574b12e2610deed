"""A command may be started in anybody's folder: no Python module is imported from it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import EXAMPLES, MACHINE, User

POISON = ("platformdirs", "cryptography", "wasmkeep", "sitecustomize", "json", "asyncio", "uvicorn")


@pytest.fixture
def poisoned(user: User) -> User:
    for name in POISON:
        text = f"open({str(user.home / 'marker')!r}, 'a').write({name!r})\nraise SystemExit(99)\n"
        (user.home / f"{name}.py").write_text(text)
    return user


def test_no_child_of_run_imports_from_the_current_folder(poisoned: User) -> None:
    """``run`` starts a host, and that starts a machine."""
    words = ["run", "--simulated", "--machine", MACHINE, str(EXAMPLES / "add.wat"), "--", "3", "4"]
    done = subprocess.run(
        # The installed command has its own folder first on the path, not the current one; so here, with -P.
        [sys.executable, "-P", "-m", "wasmkeep.cli", *words],
        capture_output=True,
        cwd=poisoned.home,
        env=dict(poisoned.environment),
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    assert not (poisoned.home / "marker").exists(), (poisoned.home / "marker").read_text()
    assert (done.returncode, done.stdout) == (0, b"7\n"), done.stderr.decode()
