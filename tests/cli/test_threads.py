"""Work in a thread: whatever it raises is raised where its result is awaited, and printed nowhere else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from tests.cli.conftest import EXAMPLES, User
from wasmkeep.tenant.threads import abandonable


def test_an_error_nobody_foresaw_reaches_the_caller(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(abandonable(lambda: 1 // 0))
    assert capfd.readouterr().err == ""


def test_who_gives_up_waits_for_nothing_and_hears_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    begun, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(60)
        over.set()

    async def given_up() -> None:
        task = asyncio.create_task(abandonable(work))
        await asyncio.get_running_loop().run_in_executor(None, begun.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(given_up())
    assert not over.is_set()
    go_on.set()
    assert over.wait(60)
    for thread in threading.enumerate():
        if thread.name == "wasmkeep-work":
            thread.join(60)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "place", ["wasmkeep.tenant.preparation.read_source", "wasmkeep.tenant.compiler.machine_code"]
)
def test_a_bug_in_a_thread_is_one_message_and_70(user: User, place: str) -> None:
    """The second is in a thread of the first, with a program that no cache has."""
    module, _, name = place.rpartition(".")
    program = (
        f"import sys, {module} as module; from wasmkeep.cli import __main__;"
        f"module.{name} = lambda *_: 1 // 0; sys.exit(__main__.main(sys.argv[1:]))"
    )
    words = ["deploy", str(EXAMPLES / "add.wat"), "--host", "http://127.0.0.1:9"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        cwd=user.home,
        env={
            **user.environment,
            "WASMKEEP_TOKEN": "wk_" + "A" * 43,
            "XDG_CACHE_HOME": str(user.home / "cache"),
        },
        timeout=300,
        check=False,
    )
    assert done.returncode == 70, done.stderr
    assert done.stderr.count("error: this is a bug in wasmkeep (ZeroDivisionError)") == 1
    assert "Traceback" not in done.stderr
