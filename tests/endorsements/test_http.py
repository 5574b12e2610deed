"""A key distribution service that behaves, and one that does not, each on a local socket."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.endorsements.bodies import BODIES, CHIP, CRL, VCEK, VCEK_BODY
from wasmkeep.endorsements import Document, HttpSource, collect
from wasmkeep.errors import ConfigurationError, HostRefused, HostUnreachable, TimedOut, WasmkeepError

PATHS = {f"/{d.url_path}" + (f"?{d.query}" if d.query else ""): body for d, body in BODIES.items()}


class Kds(ThreadingHTTPServer):
    """Answers as KDS does, or as ``behaviour`` says."""

    daemon_threads = True
    behaviour = "good"
    requests: list[tuple[str, str | None]]


class Handler(BaseHTTPRequestHandler):
    server: Kds

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Authorization")))
        behaviour = self.server.behaviour
        if behaviour.isdigit():
            self.send_response(int(behaviour))
            if behaviour.startswith("3"):
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif behaviour == "page":
            self.answer(b"<html>please log in</html>")
        elif behaviour == "huge":
            self.answer(b"\x30" * (2 << 20))
        elif behaviour == "endless":
            self.send_response(200)
            self.end_headers()
            for _ in range(10_000):
                self.wfile.write(b"\x30" * 1024)
        elif behaviour == "slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(50):
                self.wfile.write(b"\x30")
                self.wfile.flush()
                time.sleep(0.02)
        elif behaviour == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(VCEK_BODY)
        elif behaviour == "gzip":
            self.answer(VCEK_BODY, ("Content-Encoding", "gzip"))
        else:
            self.answer(PATHS[self.path])

    def answer(self, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # a client that stops reading is what some tests want
            self.wfile.write(body)


@pytest.fixture
def kds() -> Iterator[Kds]:
    with Kds(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that hung up
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def fetch(kds: Kds, document: Document = VCEK, *, seconds: float = 5.0, token: str | None = None) -> bytes:
    async def scenario() -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else None
        base = f"http://127.0.0.1:{kds.server_address[1]}/"
        async with HttpSource(base, headers=headers, total_seconds=seconds) as source:
            return await source.fetch(document)

    return asyncio.run(scenario())


def test_a_service_that_behaves(kds: Kds) -> None:
    async def scenario() -> None:
        async with HttpSource(f"http://127.0.0.1:{kds.server_address[1]}") as source:
            found = await collect(source, VCEK)
        assert found.vcek == VCEK_BODY

    asyncio.run(scenario())
    assert {path for path, _ in kds.requests} == set(PATHS)
    assert f"/vcek/v1/Genoa/{CHIP.hex()}?blSPL=9&teeSPL=0&snpSPL=23&ucodeSPL=72" in PATHS


def test_the_token_travels_in_its_header_only(kds: Kds) -> None:
    fetch(kds, CRL, token="wk_secret")
    assert kds.requests == [("/vcek/v1/Genoa/crl", "Bearer wk_secret")]


@pytest.mark.parametrize(
    ("behaviour", "error", "check"),
    [
        ("429", HostRefused, "endorsements.rate_limited"),
        ("404", HostRefused, "endorsements.unknown"),
        ("401", HostRefused, "endorsements.denied"),
        ("500", HostUnreachable, "endorsements.failing"),
        ("503", HostUnreachable, "endorsements.failing"),
        ("302", HostUnreachable, "endorsements.redirected"),
        ("page", HostUnreachable, "endorsements.body"),
        ("huge", HostUnreachable, "endorsements.body"),
        ("endless", HostUnreachable, "endorsements.body"),
        ("gzip", HostUnreachable, "endorsements.body"),
        ("cut", HostUnreachable, "endorsements.unreachable"),
    ],
)
def test_a_service_that_does_not_behave(
    kds: Kds, behaviour: str, error: type[WasmkeepError], check: str
) -> None:
    kds.behaviour = behaviour
    with pytest.raises(error) as refused:
        fetch(kds)
    assert refused.value.check == check
    assert refused.value.remedy


def test_a_service_that_trickles_is_given_up(kds: Kds) -> None:
    kds.behaviour = "slow"
    with pytest.raises(TimedOut) as refused:
        fetch(kds, seconds=0.2)
    assert refused.value.check == "endorsements.slow"


def test_a_redirect_is_not_followed(kds: Kds) -> None:
    kds.behaviour = "302"
    with pytest.raises(HostUnreachable):
        fetch(kds)
    assert len(kds.requests) == 1


def test_nobody_there() -> None:
    async def scenario() -> None:
        async with HttpSource("http://127.0.0.1:1") as source:
            await source.fetch(CRL)

    with pytest.raises(HostUnreachable) as refused:
        asyncio.run(scenario())
    assert refused.value.check == "endorsements.unreachable"


@pytest.mark.parametrize(
    "address",
    [
        "http://kds.example",
        "ftp://127.0.0.1",
        "https://",
        "https://user:word@kds.example",
        "https://kds.example/?a=b",
        "https://kds.example/#a",
        "file:///etc",
        "http://127.0.0.1.example",
        "https://[",
        "",
    ],
)
def test_an_address_that_is_not_safe_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        HttpSource(address)
    assert refused.value.check == "endorsements.address"
    assert "word" not in str(refused.value)


def test_the_environment_cannot_redirect_requests(kds: Kds, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetch(kds) == VCEK_BODY
