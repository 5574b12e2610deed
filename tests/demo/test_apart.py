"""Client and server as two programs' halves: over a path, over loopback, with strangers and with cheats."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.demo.fake_machine import FakeMachine
from wasmkeep.cli import __main__ as entry
from wasmkeep.cli import demo_address, demo_apart
from wasmkeep.cli.console import Console
from wasmkeep.cli.demo_address import parse
from wasmkeep.cli.demo_sev import configure
from wasmkeep.cli.parser import ArgumentParser
from wasmkeep.errors import HostUnreachable, SystemFailure, UsageError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/tmp/x", "/tmp/x"),
        ("./x", "./x"),
        ("unix:x", "x"),
        ("127.0.0.1:7434", "127.0.0.1:7434"),
        ("localhost:1", "127.0.0.1:1"),
        ("[::1]:65535", "[::1]:65535"),
        ("127.0.0.2:0", "127.0.0.2:0"),
    ],
)
def test_addresses(text: str, shown: str) -> None:
    assert str(parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    ["", ":", "x", "unix:", "7434", ":7434", "0.0.0.0:1", "192.168.0.1:1", "[::]:1", "127.0.0.1:65536",
     "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:²", "example.org:1", "/" + "x" * 107, "/a\0b"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_a_path_that_is_there_is_nobodys_to_take(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(SystemFailure), demo_address.listening(parse(f"{tmp_path}/s")):
        raise AssertionError
    assert (tmp_path / "s").read_text() == "mine"


def test_a_socket_is_its_users_alone_and_goes_at_the_end(tmp_path: Path) -> None:
    with demo_address.listening(parse(f"{tmp_path}/s")):
        assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o600
    assert not list(tmp_path.iterdir())


def test_nobody_there_is_68(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HostUnreachable):
        demo_address.dial(parse(f"{tmp_path}/s"))
    assert entry.main(["demo", "sev", "--connect", f"{tmp_path}/s"]) == 68
    assert "start `wasmkeep demo sev --listen" in capfd.readouterr().err


class _Said:
    """What the server said, and the end of a pipe that ends it."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.listening = threading.Event()
        self.rest = ""

    def isatty(self) -> bool:
        return False

    def flush(self) -> None: ...

    def write(self, text: str) -> int:
        for line in text.splitlines():
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == "client":
                self.listening.set()
        return len(text)

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]


@contextmanager
def server(address: str, *flags: str) -> Iterator[_Said]:
    """The server's half in a thread of this process, until it has served its rounds."""
    parser = ArgumentParser()
    configure(parser)
    options = parser.parse_args(["--listen", address, "--json", *flags])
    said = _Said()
    console = Console(said, json=True)  # type: ignore[arg-type]
    failed: list[Exception] = []

    def run() -> None:
        try:
            asyncio.run(demo_apart.listen(options, console))
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)
            said.listening.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert said.listening.wait(20)
        yield said
    finally:
        thread.join(20)
        assert not thread.is_alive()
        assert not failed


@pytest.fixture(autouse=True)
def _signals_are_for_main_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.unix_events._UnixSelectorEventLoop, "add_signal_handler", lambda *_: None)


def pins(fake: FakeMachine) -> list[str]:
    return [word for name, pin in fake.pins.items() for word in (f"--{name}", pin)]


@pytest.mark.parametrize("where", ["path", "127.0.0.1:0", "[::1]:0"])
def test_two_rounds_across_a_socket(
    where: str, tmp_path: Path, fake: FakeMachine, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"{tmp_path}/s" if where == "path" else where
    with server(address, "--rounds", "2", "--spy") as said:
        (there,) = said.of("listening")
        assert said.of("client")[0]["simulated"] == fake.pins["simulated"]
        assert entry.main(["demo", "sev", "--connect", there["address"], *pins(fake)]) == 0
    captured = capfd.readouterr()
    assert captured.out == "7\n"
    assert "that machine has no TEE" in captured.err
    assert "sealed bytes differ" in captured.err
    assert [line["step"] for line in said.of("step")] == [3, 6, 3, 6]
    assert [line["output"] for line in said.of("step")[1::2]] == [b"7".hex()] * 2
    assert said.of("seen")
    assert said.of("stopped")
    assert not fake.alive
    assert not list(tmp_path.iterdir())


def test_a_client_that_pins_nothing_takes_no_simulated_machine(
    tmp_path: Path, fake: FakeMachine, capfd: pytest.CaptureFixture[str]
) -> None:
    with server(f"{tmp_path}/s", "--rounds", "1"):
        assert entry.main(["demo", "sev", "--connect", f"{tmp_path}/s"]) == 77
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "sev.root" in captured.err


def test_another_owner_is_refused(
    tmp_path: Path, fake: FakeMachine, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--simulated", fake.pins["simulated"], "--owner", "sha256:" + "ab" * 32]
    with server(f"{tmp_path}/s", "--rounds", "1"):
        assert entry.main(["demo", "sev", "--connect", f"{tmp_path}/s", *words]) == 77
    assert "sev.owner" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "code", "check"),
    [("measurement", 77, "sev.measurement"), ("packet", 71, "demo.refused"), ("root", 77, "sev.root")],
)
def test_a_cheating_server_is_refused_by_name(
    name: str, code: int, check: str, tmp_path: Path, fake: FakeMachine, capfd: pytest.CaptureFixture[str]
) -> None:
    """The client has not been told that it will be cheated: what it says is what it says to any host."""
    with server(f"{tmp_path}/s", "--rounds", "1", "--tamper", name) as said:
        assert entry.main(["demo", "sev", "--json", "--connect", f"{tmp_path}/s", *pins(fake)]) == code
    captured = capfd.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err.splitlines()[-1])["check"] == check
    (server_says,) = said.of("error")
    assert server_says["check"] == ("platform.firmware" if name == "packet" else "demo.closed")
    assert not fake.alive


def test_strangers_end_nothing_but_their_own_connection(tmp_path: Path, fake: FakeMachine) -> None:
    where = f"{tmp_path}/s"
    garbage = [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, struct.pack("<BBHI", 1, 3, 0, 1 << 31), b"\1", b""]
    early = [struct.pack("<BBHI", 1, 5, 0, 76) + bytes(76)]  # a packet before anything else
    with server(where, "--rounds", "1") as said:
        for data in (*garbage, *early):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.settimeout(10)
                stranger.connect(where)
                stranger.sendall(data)
                stranger.shutdown(socket.SHUT_WR)
                assert stranger.recv(100) == b""
        assert entry.main(["demo", "sev", "--connect", where, *pins(fake), "--rounds", "1"]) == 0
    assert len(said.of("error")) == 5
    assert not fake.alive


def test_only_so_many_at_once(tmp_path: Path, fake: FakeMachine) -> None:
    where = f"{tmp_path}/s"
    with server(where, "--rounds", "1"):
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(9)]
        for one in waiting:
            one.settimeout(10)
            one.connect(where)
        assert waiting[8].recv(1) == b""
        for one in waiting:
            one.close()
        code = 68
        while code in (68, 72):  # the places come free one by one
            code = entry.main(["demo", "sev", "--quiet", "--connect", where, *pins(fake), "--rounds", "1"])
        assert code == 0


def test_a_client_that_leaves_in_the_middle_leaves_no_machine(tmp_path: Path, fake: FakeMachine) -> None:
    where = f"{tmp_path}/s"
    with server(where, "--rounds", "2"):
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(10)
            one.connect(where)
            one.sendall(struct.pack("<BBHI", 1, 1, 0, 0))
            assert one.recv(8)[1] == 2
        assert entry.main(["demo", "sev", "--connect", where, *pins(fake), "--rounds", "1"]) == 0
    assert not fake.alive
