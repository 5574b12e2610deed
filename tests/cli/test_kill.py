"""However a command ends, nothing is left behind: no process, no file, no socket."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import EXAMPLES, MACHINE, User

CAT = EXAMPLES / "cat.wat"


def descendants(user: User) -> dict[int, str]:
    """Every process with this user's temporary folder in its environment: all that a command started."""
    mark = f"TMPDIR={user.environment['TMPDIR']}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ProcessLookupError):
            continue
    return found


def soon(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def waiting(user: User, cpu: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run whose program waits for input, with everything up."""
    flags = ["--simulated", "--machine", MACHINE, "--cpu", cpu]
    process = user.popen("run", *flags, CAT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"hello\n", process.stderr.read() if process.stderr else b""
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def pid_of(user: User, words: str) -> int:
    return next(pid for pid, line in descendants(user).items() if words in line)


def assert_nothing_left(user: User) -> None:
    assert soon(lambda: descendants(user) == {}), descendants(user)
    assert soon(lambda: not list(Path(user.environment["TMPDIR"]).iterdir()))
    assert not list(Path(user.environment["XDG_RUNTIME_DIR"]).rglob("*.token"))
    assert list(user.home.iterdir()) == []


def test_ctrl_c_ends_the_keep_and_says_so(user: User, waiting: subprocess.Popen[bytes]) -> None:
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert said.decode().splitlines()[-1] == "interrupted: the keep was ended; nothing is left behind"
    assert "exit 0" not in said.decode()
    assert_nothing_left(user)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_told_to_end_is_obeyed(
    user: User, waiting: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    waiting.send_signal(number)
    waiting.communicate(timeout=60)
    assert waiting.returncode == 143
    assert_nothing_left(user)


def test_the_end_of_the_tenant_ends_host_and_machine(user: User, waiting: subprocess.Popen[bytes]) -> None:
    assert len(descendants(user)) >= 3
    waiting.kill()
    waiting.communicate(timeout=60)
    assert soon(lambda: descendants(user) == {}), descendants(user)
    assert_nothing_left(user)


@pytest.mark.parametrize("victim", ["host serve", "wasmkeep.simulator"])
def test_a_crash_of_host_or_machine_is_an_error_and_clears_away(
    user: User, waiting: subprocess.Popen[bytes], victim: str
) -> None:
    os.kill(pid_of(user, victim), signal.SIGKILL)
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode in (72, 74), said.decode()
    assert said.decode().rpartition("\nerror: ")[2], said.decode()
    assert "Traceback" not in said.decode()
    assert_nothing_left(user)


def test_ctrl_c_works_while_nobody_reads_the_output(user: User, cpu: str) -> None:
    flags = ["--simulated", "--machine", MACHINE, "--cpu", cpu, "--quiet"]
    process = user.popen("run", *flags, CAT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        os.set_blocking(process.stdin.fileno(), False)
        refused = 0
        end = time.monotonic() + 60
        while refused < 20 and time.monotonic() < end:  # until every pipe on the way is full
            try:
                os.write(process.stdin.fileno(), b"x" * 65536)
                refused = 0
            except BlockingIOError:
                refused += 1
                time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert soon(lambda: process.poll() is not None)
        assert process.returncode == 130
        assert_nothing_left(user)
    finally:
        process.kill()
        process.communicate()


def test_a_reader_that_went_away_ends_the_run(user: User, cpu: str) -> None:
    command = " ".join(user.command("run", "--simulated", "--machine", MACHINE, "--cpu", cpu, "--quiet", CAT))
    line = f"yes | {command} | head -n 2; echo ${{PIPESTATUS[1]}}"
    done = subprocess.run(
        ["/bin/bash", "-c", line],
        capture_output=True,
        env=dict(user.environment),
        cwd=user.home,
        timeout=120,
        check=True,
    )
    assert done.stdout == b"y\ny\n73\n", done.stderr.decode()
    assert_nothing_left(user)


def test_a_host_ends_in_order_and_takes_its_token_with_it(user: User, cpu: str) -> None:
    flags = ["--simulated", "snp", "--machine", MACHINE, "--cpu", cpu, "--listen", "127.0.0.1:0"]
    serving = user.popen("host", "serve", *flags)
    assert serving.stderr is not None
    said = b""
    while b"listening" not in said:
        line = serving.stderr.readline()
        assert line, said.decode()
        said += line
    assert list(Path(user.environment["XDG_RUNTIME_DIR"]).rglob("*.token"))
    serving.send_signal(signal.SIGINT)
    _, rest = serving.communicate(timeout=60)
    assert serving.returncode == 0, rest.decode()
    assert_nothing_left(user)
