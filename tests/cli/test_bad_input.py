"""What a user can get wrong: a short clear error with its own exit code, nothing sent, never a traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import EXAMPLES, MACHINE, User, require_images

ADD = EXAMPLES / "add.wat"
TOKEN = "wk_" + "A" * 43
HEADER = b"\0asm\1\0\0\0"
COMPONENT = b"\0asm\x0d\0\1\0"


@pytest.fixture(autouse=True)
def images() -> None:
    require_images()


def refused(user: User, *words: str | Path, code: int, says: str, **environment: str) -> str:
    """Run, and require this exit code, these words in the first line, and nothing on standard output."""
    done = user.run(*words, environment=environment)
    said = done.stderr.decode()
    errors = [line for line in said.splitlines() if line.startswith(("error: ", "refused: "))]
    assert done.returncode == code, said
    assert done.stdout == b""
    assert len(errors) == 1, said
    assert says in errors[0], said
    assert "Traceback" not in said
    assert "SIMULATED" not in said
    return said


def deploying(*words: str | Path) -> list[str | Path]:
    """A deployment that must fail before it asks anybody: nothing listens there."""
    return ["deploy", *words, "--host", "http://127.0.0.1:9", "--quiet"]


PROGRAMS = {
    "empty": (b"", 65, ""),
    "not wasm": (b"#!/bin/sh\necho no\n", 65, ""),
    "cut short": (HEADER[:6], 65, ""),
    "a component": (COMPONENT, 65, "component"),
    "no start": (HEADER, 65, ""),
}

TEXTS = {
    "no text format": ("(module", 65, ""),
    "missing import": (
        '(module (import "env" "f" (func)) (memory (export "memory") 1) (func (export "_start")))',
        65,
        "not WASI preview 1",
    ),
    "threads": ('(module (memory (export "memory") 1 1 shared) (func (export "_start")))', 65, ""),
    "memory64": ('(module (memory (export "memory") i64 1) (func (export "_start")))', 65, ""),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_file_that_is_no_program(user: User, name: str) -> None:
    content, code, says = PROGRAMS[name]
    (user.home / "p.wasm").write_bytes(content)
    refused(user, *deploying("p.wasm"), code=code, says=says, WASMKEEP_TOKEN=TOKEN)


@pytest.mark.parametrize("name", TEXTS)
def test_a_module_that_is_not_supported(user: User, name: str) -> None:
    content, code, says = TEXTS[name]
    (user.home / "p.wat").write_text(content)
    refused(user, *deploying("p.wat"), code=code, says=says, WASMKEEP_TOKEN=TOKEN)


def test_run_refuses_a_bad_program_without_waiting_for_a_machine(user: User) -> None:
    (user.home / "p.wasm").write_bytes(b"no")
    words = ["run", "--simulated", "--machine", MACHINE, "p.wasm"]
    done = user.run(*words)
    assert done.returncode == 65
    assert done.stdout == b""
    assert done.stderr.decode().splitlines()[-1].startswith(("error: ", "  "))
    assert "evidence" not in done.stderr.decode()


def test_files_that_are_missing(user: User) -> None:
    folder = user.home / "app"
    folder.mkdir()
    token = {"WASMKEEP_TOKEN": TOKEN}
    refused(user, *deploying("absent.wasm"), code=66, says="", **token)
    refused(user, *deploying("app"), code=66, says="", **token)
    refused(user, *deploying(ADD), "--policy", "absent.toml", code=66, says="absent.toml", **token)
    refused(user, *deploying(ADD), "--policy", "app", code=66, says="app", **token)
    refused(user, *deploying(ADD), "--config", "absent.toml", code=66, says="", **token)
    refused(user, *deploying(ADD), "--dir", "absent:/data", code=66, says="absent", **token)
    refused(user, *deploying(ADD), "--token-file", "absent", code=66, says="absent")
    refused(user, *deploying(ADD), code=68, says="cannot be reached")  # and no token, which comes second
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        there = f"http://127.0.0.1:{somebody.getsockname()[1]}"
        refused(user, "deploy", ADD, "--host", there, code=66, says="there is no token")
    refused(user, *deploying(ADD), "--env", "ABSENT", code=64, says="ABSENT", **token)


def test_a_policy_that_cannot_be_read(user: User) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (user.home / "p.toml").write_text("")
    (user.home / "p.toml").chmod(0)
    refused(user, *deploying(ADD), "--policy", "p.toml", code=66, says="p.toml", WASMKEEP_TOKEN=TOKEN)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("platform = ['snp']", "p.toml:1: unknown key 'platform'"),
        ("\nsimulated = true", "p.toml:2:"),
        ("platforms = ['nitro']", "p.toml:1:"),
        ("platforms = [", "p.toml"),
        ("\udcff", "p.toml"),
    ],
)
def test_a_wrong_policy_names_its_line(user: User, text: str, says: str) -> None:
    (user.home / "p.toml").write_bytes(text.encode(errors="surrogateescape"))
    said = refused(user, *deploying(ADD), "--policy", "p.toml", code=67, says=says, WASMKEEP_TOKEN=TOKEN)
    if "unknown key" in said:
        assert "did you mean 'platforms'?" in said


def test_a_wrong_configuration_names_the_nearest_key(user: User) -> None:
    folder = user.home / "app"
    folder.mkdir()
    (folder / "main.wasm").write_bytes(HEADER)
    (folder / "Keep.toml").write_text("arg = ['x']\n")
    said = refused(user, *deploying("app"), code=67, says="Keep.toml", WASMKEEP_TOKEN=TOKEN)
    assert "args" in said


def test_a_receipt_that_cannot_be_written_is_said_before_anything_starts(user: User) -> None:
    words = [*deploying(ADD), "--receipt", "absent/r"]
    refused(user, *words, code=73, says="receipt", WASMKEEP_TOKEN=TOKEN)


def test_a_pin_that_is_none(user: User) -> None:
    words = [*deploying(ADD), "--simulated", "sha256:1234"]
    refused(user, *words, code=67, says="pin", WASMKEEP_TOKEN=TOKEN)


@pytest.fixture
def stranger() -> Iterator[str]:
    """Something that listens and is no wasmkeep host."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n\x1b]0;hello<html>")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_hosts_that_are_none(user: User, stranger: str) -> None:
    token = {"WASMKEEP_TOKEN": TOKEN}
    refused(user, *deploying(ADD), code=68, says="cannot be reached", **token)
    refused(
        user, "deploy", ADD, "--host", stranger, code=68, says="does not answer as a wasmkeep host", **token
    )
    refused(user, "platform", "--host", stranger, code=68, says="does not answer as a wasmkeep host", **token)
    refused(user, "deploy", ADD, "--host", "http://192.0.2.1", code=67, says="TLS", **token)
    refused(user, "deploy", ADD, "--host", "ftp://x", code=67, says="address", **token)


def test_a_port_that_is_taken(user: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        flags = ["--simulated", "snp", "--machine", MACHINE]
        done = user.run("host", "serve", *flags, "--listen", f"127.0.0.1:{port}")
    assert done.returncode == 74
    assert f"cannot listen on 127.0.0.1, port {port}" in done.stderr.decode()
    assert "the port is taken" in done.stderr.decode()


def test_listening_elsewhere_needs_tls(user: User) -> None:
    done = user.run("host", "serve", "--simulated", "snp", "--machine", MACHINE, "--listen", "0.0.0.0:0")
    assert done.returncode == 64
    assert "without TLS" in done.stderr.decode()


def no_devices(user: User) -> bool:
    return not any(Path(path).exists() for path in ("/dev/sev", "/dev/sev-guest", "/dev/sgx_enclave"))


def test_no_tee_and_no_simulator(user: User) -> None:
    if not no_devices(user):
        pytest.skip("this computer has a TEE device")
    for words in (["run", ADD], ["host", "serve"]):
        said = refused(user, *words, code=69, says="this computer has no TEE that wasmkeep can use")
        assert "  looked for  /dev/sev (absent), /dev/sev-guest (absent)," in said
        assert "  to try it   add --simulated: everything works, nothing is protected\n" in said
        assert "  to use it   see `wasmkeep platform`" in said
    done = user.run("run", ADD, "--json")
    assert json.loads(done.stderr)["exit_code"] == 69
    assert user.run("platform").returncode == 69


def test_evidence_and_receipts_that_are_none(user: User) -> None:
    (user.home / "x").write_bytes(b"{}")
    refused(user, "receipt", "verify", "x", code=76, says="not a receipt")
    refused(user, "receipt", "show", "x", code=76, says="not a receipt")
    refused(user, "receipt", "verify", "absent", code=66, says="absent")
    refused(user, "evidence", "show", "x", code=66, says="nothing that evidence is made of")
    refused(user, "evidence", "verify", "absent", code=66, says="absent")
    (user.home / "x").write_bytes(b"\x1b[2J" * 10)
    refused(user, "evidence", "verify", "x", code=66, says="nothing that evidence is made of")


@pytest.mark.parametrize(
    ("target", "says"), [("/dev/full", "standard output cannot be written"), (">(true)", "")]
)
def test_an_answer_that_cannot_be_written(user: User, target: str, says: str) -> None:
    line = f"sleep 0.2; {' '.join(user.command('image', 'measure'))} > {target}"
    done = subprocess.run(
        ["/bin/bash", "-c", line], env=dict(user.environment), cwd=user.home, capture_output=True, check=False
    )
    assert done.returncode == 73, done.stderr.decode()
    assert says in done.stderr.decode()
    assert "Exception ignored" not in done.stderr.decode()


def test_a_bug_is_a_short_message_and_70(user: User) -> None:
    """Something nobody foresaw."""
    program = (
        "import sys; from wasmkeep.cli import platform, __main__;"
        "platform.execute = lambda *_: 1 // 0; sys.exit(__main__.main(['platform']))"
    )
    for debug in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            env={**user.environment, "WASMKEEP_DEBUG": debug},
            check=False,
        )
        assert done.returncode == 70
        assert "this is a bug in wasmkeep (ZeroDivisionError)" in done.stderr
        assert ("Traceback" in done.stderr) == (debug == "1")
