"""Child processes never outlive their parent, however either ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable

import pytest

from wasmkeep.cli.children import child, class_of
from wasmkeep.errors import HostUnreachable, PlatformUnavailable, SystemFailure, TimedOut

READY = 'import sys; print(\'{"event": "ready"}\', flush=True); '
GOOD = READY + "sys.stdin.read()"


def command(program: str) -> list[str]:
    return [sys.executable, "-S", "-c", program]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def soon(condition: Callable[[], bool]) -> bool:
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_child_that_minds_its_pipe_ends_by_itself() -> None:
    async def whole() -> int:
        async with child(command(GOOD), name="it", lines_on="stdout") as process:
            assert await process.line(20) == {"event": "ready"}
            process.started()
        return process.pid

    assert is_gone(asyncio.run(whole()))


def test_a_stubborn_child_and_its_own_child_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasmkeep.cli.children._GRACE_SECONDS", 0.2)
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "inner = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(1000)']);"
        "print('{\"pid\": %d}' % inner.pid, flush=True); time.sleep(1000)"
    )

    async def whole() -> tuple[int, int]:
        async with child(command(stubborn), name="it", lines_on="stdout") as process:
            said = await process.line(20)
        return process.pid, said["pid"]

    outer, inner = asyncio.run(whole())
    assert is_gone(outer)
    assert soon(lambda: is_gone(inner) or _is_zombie(inner))


def _is_zombie(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_child_that_fails_is_quoted() -> None:
    async def whole() -> None:
        failing = "import sys; sys.stderr.write('no such \\x1b[1mmachine'); sys.exit(3)"
        async with child(command(failing), name="the machine", lines_on="stdout") as process:
            await process.line(20)

    with pytest.raises(SystemFailure) as raised:
        asyncio.run(whole())
    assert raised.value.message == "the machine failed"
    assert "it ended with code 3 and said:\nno such" in raised.value.found


def test_a_child_of_ours_hands_its_error_on() -> None:
    async def whole() -> None:
        failing = "import sys; sys.stderr.write('error: no KVM here'); sys.exit(69)"
        async with child(command(failing), name="the machine", lines_on="stdout") as process:
            await process.line(20)

    with pytest.raises(PlatformUnavailable, match="the machine: no KVM here"):
        asyncio.run(whole())


def test_exit_codes_lead_back_to_their_classes() -> None:
    assert class_of(68) is HostUnreachable
    assert [class_of(code) for code in (0, 1, 70, 77, None, "68")] == [None] * 6


@pytest.mark.parametrize("line", ["not json", "[1]", '"x"', "x" * 100_000])
def test_a_child_that_says_something_else_is_refused(line: str) -> None:
    async def whole() -> None:
        program = f"import sys; print({line!r}, flush=True); sys.stdin.read()"
        async with child(command(program), name="it", lines_on="stdout") as process:
            await process.line(20)

    with pytest.raises(SystemFailure):
        asyncio.run(whole())


def test_a_silent_child_is_not_waited_for() -> None:
    async def whole() -> None:
        async with child(command("import sys; sys.stdin.read()"), name="it", lines_on="stdout") as process:
            await process.line(0.3)

    with pytest.raises(TimedOut):
        asyncio.run(whole())


def test_a_talkative_child_does_not_block_after_its_start() -> None:
    async def whole() -> int:
        program = READY.replace("print", "sys.stderr.write").replace(", flush=True", " + chr(10)")
        program += "sys.stderr.write('x' * 300000); sys.stderr.write(chr(10)); sys.exit(5)"
        async with child(command(program), name="it", lines_on="stderr") as process:
            assert await process.line(20) == {"event": "ready"}
            process.started()
            return await asyncio.wait_for(process.wait(), 20)

    assert asyncio.run(whole()) == 5


def test_an_absent_program_is_a_named_error() -> None:
    async def whole() -> None:
        async with child(["/nowhere/at/all"], name="it", lines_on="stdout"):
            pass

    with pytest.raises(SystemFailure):
        asyncio.run(whole())


def test_children_end_when_their_parent_is_killed() -> None:
    parent = f"""
import asyncio, sys
from wasmkeep.cli.children import child
async def main():
    async with child({command(GOOD)!r}, name="it", lines_on="stdout") as process:
        await process.line(20)
        print(process.pid, flush=True)
        await asyncio.sleep(1000)
asyncio.run(main())
"""
    import subprocess

    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert soon(lambda: is_gone(pid) or _is_zombie(pid))
