"""A host that is down, is something else, or answers nonsense: a named error, never a stray one."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from wasmkeep.endorsements import Crl, Product
from wasmkeep.errors import (
    ConfigurationError,
    HostRefused,
    HostUnreachable,
    InputError,
    TimedOut,
    WasmkeepError,
)
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.tenant import client as client_module
from wasmkeep.tenant import http as http_module
from wasmkeep.tenant.address import HostAddress
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.host_api import KeepRequest

TOKEN = "wk_a-secret-of-the-tenants"
PLATFORM = b'{"tees": []}'
WANTED = KeepRequest(tee="snp", image="i", memory=1, nonce=bytes(32), tenant_key_digest=bytes(32))


def answer(body: bytes, status: str = "200 OK", *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + body


@asynccontextmanager
async def server(reply: bytes, *, close: bool = True) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answers every request with the same bytes."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                heard.append(request)
                writer.write(reply)
                await writer.drain()
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", heard
    finally:
        listener.close()
        await asyncio.sleep(0.02)  # for the other end to notice


def platform_from(reply: bytes) -> WasmkeepError | None:
    async def whole() -> WasmkeepError | None:
        async with server(reply) as (url, _), HostClient(url, TOKEN) as host:
            try:
                await host.platform()
            except WasmkeepError as error:
                return error
        return None

    return asyncio.run(whole())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1:notaport",
        "http://127.0.0.1:99999",
        "http://user:password@127.0.0.1",
        "http://127.0.0.1/path",
        "http://127.0.0.1?query",
        "http://127.0.0.1#fragment",
        "http://[::1",
        "http://[zz]:1",
    ],
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        HostAddress.parse(url)
    assert refused.value.check == "host.address"
    assert "password" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://cloud.example", "http://10.0.0.1:7433", "http://[2001:db8::1]"])
def test_no_plaintext_across_a_network(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        HostAddress.parse(url)
    assert refused.value.check == "host.plaintext"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://localhost:2", "http://[::1]:3", "https://a.example"]
)
def test_addresses_that_are_fine(url: str) -> None:
    assert HostAddress.parse(url).secure == url.startswith("https")


def test_a_host_that_is_down() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    async def whole() -> None:
        async with HostClient(f"http://127.0.0.1:{port}", TOKEN) as host:
            await host.platform()

    with pytest.raises(HostUnreachable) as refused:
        asyncio.run(whole())
    assert refused.value.check == "host.unreachable"
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0" * 100,
        answer(b"<html>hello</html>"),
        answer(b"[]"),
        answer(b"{}"),
        answer(b'{"tees": 5}'),
        answer(b'{"tees": [1]}'),
        answer(b'{"tees": [{"kind": "snp"}]}'),
        answer(b"[" * 100_000),
        answer(json.dumps({"tees": [{}] * 65}).encode()),
        answer(b"not found", "404 Not Found"),
        answer(b"x" * 10, length=20),
        answer(b"{" + b" " * http_module.MAX_ANSWER_SIZE + b"}"),
        b"",
    ],
)
def test_something_that_is_no_wasmkeep_host(reply: bytes) -> None:
    error = platform_from(reply)
    assert isinstance(error, HostUnreachable), error
    assert error.exit_code == 68


@pytest.mark.parametrize(
    ("status", "remedy"), [("401 No", "token"), ("403 No", "token"), ("429 No", "later"), ("503 No", "later")]
)
def test_a_refusal_says_what_to_do(status: str, remedy: str) -> None:
    body = json.dumps({"error": {"code": "limit", "message": "no\x1b[31m more"}}).encode()
    error = platform_from(answer(body, status))
    assert isinstance(error, HostRefused)
    assert remedy in error.remedy
    assert "\x1b" not in str(error)


def test_a_host_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "ANSWER_TIMEOUT", 0.2)
    error = platform_from(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") or platform_from(b"HTTP")
    assert isinstance(error, TimedOut | HostUnreachable)

    async def silent() -> None:
        async with server(b"", close=False) as (url, _), HostClient(url, TOKEN) as host:
            await host.platform()

    with pytest.raises(TimedOut):
        asyncio.run(silent())


@asynccontextmanager
async def dripping(first: bytes, drop: bytes) -> AsyncIterator[str]:
    """Answers without an end: always a little more."""
    over, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(first)
        try:
            while not over.is_set():
                writer.write(drop)
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
            ended.set()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        over.set()
        await ended.wait()
        await asyncio.sleep(0.01)


DRIPS = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"{"),
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
]


@pytest.mark.parametrize(("first", "drop"), DRIPS)
def test_an_answer_without_end_is_given_up(
    first: bytes, drop: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "ANSWER_TIMEOUT", 0.3)

    async def whole() -> None:
        async with dripping(first, drop) as url, HostClient(url, TOKEN) as host:
            await host.platform()

    with pytest.raises((TimedOut, HostUnreachable)):
        asyncio.run(whole())


@pytest.mark.parametrize(("first", "drop"), DRIPS)
def test_waiting_for_a_host_can_be_given_up(first: bytes, drop: bytes) -> None:
    async def whole() -> None:
        async with dripping(first, drop) as url, HostClient(url, TOKEN) as host:
            asking = asyncio.create_task(host.platform())
            await asyncio.sleep(0.1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

    asyncio.run(whole())


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_host_does_not_send_a_tenant_elsewhere(status: str) -> None:
    async def whole() -> list[bytes]:
        async with server(answer(PLATFORM)) as (elsewhere, heard):
            location = f"HTTP/1.1 {status}\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\n\r\n".encode()
            async with server(location) as (url, _), HostClient(url, TOKEN) as host:
                with pytest.raises(WasmkeepError):
                    await host.platform()
                with pytest.raises(HostUnreachable):
                    async with host.session(WANTED):
                        pass
        return heard

    assert asyncio.run(whole()) == []


def test_a_name_that_no_network_has() -> None:
    async def whole() -> None:
        async with HostClient("https://" + "x" * 70 + ".example", TOKEN) as host:
            await host.platform()

    with pytest.raises(HostUnreachable):
        asyncio.run(whole())


@pytest.mark.parametrize("content", [None, b"no PEM"])
def test_certificates_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        HostClient("https://host.example", TOKEN, str(path))
    assert refused.value.check == "host.ca-file"


def test_the_token_travels_in_the_header_alone() -> None:
    async def whole() -> list[bytes]:
        async with (
            server(answer(PLATFORM)) as (url, heard),
            HostClient(url, TOKEN) as host,
        ):
            assert await host.platform() == ()
            assert TOKEN not in repr(host)
        return heard

    (request,) = asyncio.run(whole())
    assert request.count(TOKEN.encode()) == 1
    assert f"\r\nAuthorization: Bearer {TOKEN}\r\n".encode() in request


def test_a_connection_that_was_closed_meanwhile_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PLATFORM_SECONDS", 0)

    async def whole() -> None:
        reply = answer(PLATFORM)
        async with server(reply, close=True) as (url, heard), HostClient(url, TOKEN) as host:
            for _ in range(3):
                await host.platform()
                await asyncio.sleep(0.05)
            assert len(heard) == 3

    asyncio.run(whole())


def test_the_platform_is_not_asked_for_every_deployment() -> None:
    async def whole() -> None:
        async with server(answer(PLATFORM)) as (url, heard), HostClient(url, TOKEN) as host:
            for _ in range(3):
                await host.platform()
            assert len(heard) == 1

    asyncio.run(whole())


def test_an_endorsement_is_fetched_once_and_checked() -> None:
    async def whole() -> None:
        async with server(answer(b"no certificate")) as (url, _), HostClient(url, TOKEN) as host:
            with pytest.raises(WasmkeepError):
                await host.fetch(Crl(Product.GENOA))

    asyncio.run(whole())


CERTIFICATES = dict.fromkeys(("ark", "ask", "cek", "pek", "oca", "pdh"), "AAAA")


def certificates_from(reply: bytes) -> object:
    async def whole() -> object:
        async with server(reply) as (url, _), HostClient(url, TOKEN) as host:
            return await host.sev_certificates()

    return asyncio.run(whole())


def test_certificates_of_a_sev_platform_are_taken_as_they_come() -> None:
    found = certificates_from(answer(json.dumps(CERTIFICATES | {"pdh": "AQID", "product": "genoa"}).encode()))
    assert found == PlatformCertificates(
        **dict.fromkeys(("ark", "ask", "cek", "pek", "oca"), bytes(3)), pdh=b"\1\2\3"
    )


@pytest.mark.parametrize("name", CERTIFICATES)
@pytest.mark.parametrize("value", [None, "", 5, "not base64!", "A", "AAAA" * 2000])
def test_other_certificates_are_no_answer_of_a_host(name: str, value: object) -> None:
    with pytest.raises(HostUnreachable) as refused:
        certificates_from(answer(json.dumps(CERTIFICATES | {name: value}).encode()))
    assert refused.value.check == "host.not-wasmkeep"
