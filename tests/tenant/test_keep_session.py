"""A request for a keep and its channel: whatever a host answers is a keep or a named error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.http11 import Request, Response

from tests.tenant.test_client import TOKEN, WANTED, answer, server
from wasmkeep.errors import HostRefused, HostUnreachable
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.host_api import KeepCreated

KEEP = {"id": "ab12", "tee": "snp", "image": {"kind": "snp"}, "product": "genoa"}


@asynccontextmanager
async def opening(*said: str) -> AsyncIterator[str]:
    """Opens every WebSocket, with these headers about the keep, and says nothing more."""

    def header(_: ServerConnection, __: Request, response: Response) -> Response:
        for each in said:
            response.headers["Wasmkeep-Keep"] = each
        return response

    async def serve(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve_websockets(serve, "127.0.0.1", 0, process_response=header) as listener:
        yield f"http://127.0.0.1:{next(iter(listener.sockets)).getsockname()[1]}"


def session_with(*said: str) -> KeepCreated:
    async def whole() -> KeepCreated:
        async with opening(*said) as url, HostClient(url, TOKEN) as host, host.session(WANTED) as (keep, _):
            return keep

    return asyncio.run(whole())


def test_what_a_host_says_of_its_keep() -> None:
    assert session_with(json.dumps(KEEP)) == KeepCreated("ab12", "snp", "snp", "genoa")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        "[" * 4000,
        "\xff",
        "{",
        *(json.dumps({**KEEP, "id": name}) for name in ("../../etc", "a/b", "a?b", "a b", "", "\u00e9", 7)),
        *(json.dumps({name: value for name, value in KEEP.items() if name != gone}) for gone in KEEP),
        json.dumps({**KEEP, "image": "snp"}),
        json.dumps({**KEEP, "product": "x" * 201}),
    ],
)
def test_a_host_that_says_something_else_of_its_keep_is_refused(said: str) -> None:
    with pytest.raises(HostUnreachable):
        session_with(said)


@pytest.mark.parametrize("count", [0, 2])
def test_a_host_says_it_once(count: int) -> None:
    with pytest.raises(HostUnreachable) as refused:
        session_with(*[json.dumps(KEEP)] * count)
    assert f"{count} headers" in refused.value.found


@pytest.mark.parametrize("reply", [answer(b"no"), answer(b"no", "403 Forbidden"), b"\0\0", b""])
def test_a_session_that_is_no_websocket(reply: bytes) -> None:
    async def whole() -> None:
        async with server(reply) as (url, _), HostClient(url, TOKEN) as host, host.session(WANTED):
            pass

    with pytest.raises(HostUnreachable):
        asyncio.run(whole())


def test_a_refused_keep_says_why() -> None:
    error = {"error": {"code": "keeps", "message": "the host has as many keeps as it can", "found": "256"}}

    async def whole() -> None:
        reply = answer(json.dumps(error).encode(), "503 Service Unavailable")
        async with server(reply) as (url, _), HostClient(url, TOKEN) as host, host.session(WANTED):
            pass

    with pytest.raises(HostRefused) as refused:
        asyncio.run(whole())
    assert refused.value.check == "host.keeps"
    assert "found 256" in str(refused.value.found)


def test_the_request_for_a_keep_and_the_token_are_headers() -> None:
    async def whole() -> bytes:
        async with server(answer(b"no")) as (url, heard), HostClient(url, TOKEN) as host:
            with pytest.raises(HostUnreachable):
                async with host.session(WANTED):
                    pass
        return heard[0]

    lines = asyncio.run(whole()).decode().split("\r\n")
    assert lines[0] == "GET /v1/session HTTP/1.1"
    (said,) = (line.partition(": ")[2] for line in lines if line.startswith("Wasmkeep-Keep: "))
    assert json.loads(said) == {
        "tee": "snp",
        "image": "i",
        "memory": 1,
        "nonce": "00" * 32,
        "tenant_key_digest": "00" * 32,
    }
    assert lines.count(f"Authorization: Bearer {TOKEN}") == 1


UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
HANDSHAKES = {
    "chunked": b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    "gzip": b"HTTP/1.1 403 No\r\nTransfer-Encoding: gzip\r\n\r\nxx",
    "no length": b"HTTP/1.1 503 No\r\n\r\n" + b'{"error": {"code": "keeps", "message": "full"}}',
    "a length that is none": b"HTTP/1.1 403 No\r\nContent-Length: many\r\n\r\nno",
    "a negative length": b"HTTP/1.1 403 No\r\nContent-Length: -1\r\n\r\nno",
    "a length without end": b"HTTP/1.1 403 No\r\nContent-Length: 99999999999999999999\r\n\r\nno",
    "more than anybody reads": answer(b"x" * (2 << 20), "403 Forbidden"),
    "deep JSON": answer(b"[" * 100_000, "403 Forbidden"),
    "an error that is a list": answer(b'{"error": []}', "403 Forbidden"),
    "no body": b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
    "not modified": b"HTTP/1.1 304 No\r\n\r\n",
    "no content": b"HTTP/1.1 204 No\r\n\r\n",
    "an upgrade with no key": UPGRADE + b"\r\n",
    "an upgrade with another key": UPGRADE + b"Sec-WebSocket-Accept: AAAA\r\n\r\n",
    "two keys": UPGRADE + b"Sec-WebSocket-Accept: AAAA\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
    "an extension": UPGRADE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    "headers without end": UPGRADE + b"X: y\r\n" * 1000,
    "a line without end": b"HTTP/1.1 101 " + b"x" * 100_000,
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
}


@pytest.mark.parametrize("reply", HANDSHAKES.values(), ids=HANDSHAKES)
def test_whatever_a_host_answers_to_a_request_for_a_keep_it_is_a_named_error(reply: bytes) -> None:
    async def whole() -> None:
        async with server(reply) as (url, _), HostClient(url, TOKEN) as host, host.session(WANTED):
            pass

    with pytest.raises((HostUnreachable, HostRefused)):
        asyncio.run(whole())
