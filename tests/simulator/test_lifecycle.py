"""How the machine starts and ends: its root survives, nothing else does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.machines import STATE
from tests.simulator import tiny
from tests.simulator.driving import EITHER, launched
from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware.simulated import MachineGone, Platform
from wasmkeep.simulator import __main__ as program


def start(folder: Path, *options: str, stdin: int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "wasmkeep.simulator",
        "--machine",
        "tests",
        "--socket",
        str(folder / "m"),
    ]
    return subprocess.Popen(
        [*command, *options], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@contextmanager
def booted(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    process = start(folder, *options)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate(timeout=30)


def children(process: int) -> set[int]:
    """The process's children and theirs."""
    found: set[int] = set()
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= {int(child)} | children(int(child))
    return found


async def all_born(process: int, number: int) -> set[int]:
    """The machine's processes once there are as many: each guest's, and the one that starts them."""
    async with asyncio.timeout(30):
        while len(born := children(process)) != number:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
    return born


def gone(processes: set[int]) -> bool:
    """Whether none of them runs any more; a zombie that nobody has waited for does not run."""
    for process in processes:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            return False
    return True


@asynccontextmanager
async def spinning(path: Path, count: int) -> AsyncIterator[None]:
    """Guests that never stop by themselves, of hosts that never hang up."""
    on = await Platform.open(str(path))
    guests = [await launched(on, tiny.SPIN) for _ in range(count)]
    runs = [asyncio.ensure_future(guest.run()) for guest in guests]
    await asyncio.sleep(0.1)
    yield
    ends = await asyncio.gather(*runs, return_exceptions=True)
    assert {type(end) for end in ends} == {MachineGone}


def hang_up(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None


ENDS = {
    "SIGTERM": lambda process: process.terminate(),
    "SIGINT": lambda process: process.send_signal(signal.SIGINT),
    "SIGHUP": lambda process: process.send_signal(signal.SIGHUP),
    "its parent's end": hang_up,
}


@EITHER
@pytest.mark.parametrize("name", ENDS)
def test_it_ends_cleanly_while_guests_loop(tmp_path: Path, cpu: str, name: str) -> None:
    async def scene() -> None:
        with booted(tmp_path, "--cpu", cpu) as (process, _):
            async with spinning(tmp_path / "m", 3):
                born = await all_born(process.pid, 4 if cpu == "process" else 0)
                ENDS[name](process)
                assert await asyncio.to_thread(process.wait, 30) == 0
                assert gone(born)

    asyncio.run(scene())
    assert list(tmp_path.iterdir()) == []


def test_a_killed_machine_takes_its_processes_along(tmp_path: Path) -> None:
    async def scene() -> None:
        with booted(tmp_path, "--cpu", "process") as (process, _):
            async with spinning(tmp_path / "m", 3):
                born = await all_born(process.pid, 4)
                process.kill()
                await asyncio.to_thread(process.wait, 30)
                async with asyncio.timeout(30):
                    while not gone(born):  # noqa: ASYNC110 - orphans report to nobody here
                        await asyncio.sleep(0.01)
        with booted(tmp_path, "--cpu", "process"):  # the socket it left is no obstacle
            assert (tmp_path / "m").is_socket()

    asyncio.run(scene())


def test_the_root_survives_a_restart_and_other_machines_have_others(tmp_path: Path) -> None:
    seen = []
    for options in ([], [], ["--machine", "tests-other"]):
        with booted(tmp_path, "--cpu", "process", *options) as (_, ready):
            seen.append((ready["root"], ready["chip_id"]))
    assert seen[0] == seen[1]
    assert len({root for root, _ in seen}) == 2
    assert len({chip for _, chip in seen}) == 2


def test_its_keys_are_as_long_as_amds(tmp_path: Path) -> None:
    with booted(tmp_path, "--cpu", "process") as (_, ready):
        chain = Path(ready["kds"]) / "vcek" / "v1" / "Genoa" / "cert_chain"
        for certificate in x509.load_pem_x509_certificates(chain.read_bytes()):
            key = certificate.public_key()
            assert isinstance(key, rsa.RSAPublicKey)
            assert key.key_size == 4096
            span = certificate.not_valid_after_utc - certificate.not_valid_before_utc
            assert 24 < span.days / 365.25 < 26


def test_two_machines_cannot_have_one_socket_and_a_file_is_not_removed(tmp_path: Path) -> None:
    with booted(tmp_path, "--cpu", "process"):
        second = start(tmp_path, "--cpu", "process")
        _, said = second.communicate(timeout=60)
        assert second.returncode == 74
        assert "another machine listens there" in said
    (tmp_path / "m").unlink()
    (tmp_path / "m").write_text("precious")
    third = start(tmp_path, "--cpu", "process")
    _, said = third.communicate(timeout=60)
    assert third.returncode == 74
    assert (tmp_path / "m").read_text() == "precious"


BAD_OPTIONS = {
    "a machine's name": (["--machine", "../x"], 64),
    "a reported TCB above the committed": (["--reported-tcb", "ff00000000000000"], 64),
    "a TCB with reserved bytes": (["--reported-tcb", "0000000000010000"], 64),
    "a TCB that is no number": (["--current-tcb", "newest"], 64),
    "a TCB of too many bytes": (["--current-tcb", "1" * 17], 64),
    "no slots": (["--slots", "0"], 64),
    "more slots than the chip has": (["--slots", "510"], 64),
    "an unknown product": (["--product", "bulldozer"], 2),
    "an unknown flag": (["--debug"], 2),
    "a socket path that is too long": (["--socket", "/tmp/" + "x" * 200], 74),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options_are_short_clear_errors(tmp_path: Path, name: str) -> None:
    options, code = BAD_OPTIONS[name]
    process = start(tmp_path, "--cpu", "process", *options)
    out, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 40
    assert list(tmp_path.iterdir()) == []


def test_without_kvm_auto_is_a_process_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise PlatformUnavailable("x", "this computer has no /dev/kvm", found="absent")

    class NoNursery:
        def close(self) -> None:
            pass

    monkeypatch.setattr(program, "_kvm_cpu", absent)
    monkeypatch.setattr(program, "Nursery", NoNursery)
    chosen = program._choose_cpu("auto")
    assert (chosen.name, chosen.reason) == ("process", "this computer has no /dev/kvm: absent")
    assert program._choose_cpu("process").reason == "chosen with --cpu process"
    with pytest.raises(PlatformUnavailable):
        program._choose_cpu("kvm")


def test_a_terminal_or_nothing_as_standard_input_does_not_end_it(tmp_path: Path) -> None:
    with open(os.devnull) as nothing:
        process = start(tmp_path, "--cpu", "process", stdin=nothing.fileno())
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"] is True
        with socket.socket(socket.AF_UNIX) as host:
            host.connect(str(tmp_path / "m"))
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_nothing_secret_is_said_or_stored_outside_its_folder(tmp_path: Path) -> None:
    with booted(tmp_path, "--cpu", "process") as (process, ready):
        folder = STATE / "machines" / "tests" / "genoa"
        secrets = [(folder / name).read_bytes() for name in ("chip-secret", "ark.key", "ask.key")]
        assert Path(ready["kds"]) == folder / "kds"
        said = json.dumps(ready).encode()
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        for secret in secrets:
            assert secret.hex().encode() not in said
            assert secret not in arguments
        for path in (folder / "kds").rglob("*"):
            assert path.is_dir() or not any(secret in path.read_bytes() for secret in secrets)
