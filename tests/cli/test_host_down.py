"""A host that is not there is said to be not there, also to somebody who never had a token for it."""

from __future__ import annotations

import io
import socket

import pytest

from wasmkeep.cli import tokens
from wasmkeep.cli.console import Console
from wasmkeep.errors import ConfigurationError, HostUnreachable, InputError


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv("WASMKEEP_TOKEN", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def console() -> Console:
    return Console(io.StringIO())


def test_nobody_listens_on_loopback(console: Console) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(HostUnreachable) as refused:
        tokens.find(None, f"http://127.0.0.1:{port}", console)
    assert refused.value.exit_code == 68


def test_somebody_listens_and_there_is_no_token(console: Console) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(InputError) as refused:
            tokens.find(None, f"http://127.0.0.1:{listener.getsockname()[1]}", console)
        assert refused.value.check == "token.missing"


@pytest.mark.parametrize("host", ["127.0.0.1:7433", "http://cloud.example"])
def test_an_address_that_is_none_comes_first(host: str, console: Console) -> None:
    with pytest.raises(ConfigurationError):
        tokens.find(None, host, console)
