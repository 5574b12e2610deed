"""`/v1/session`: a keep and its channel in one request."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.host.daemon import KEY_DIGEST, REQUEST, Daemon, closed_with, daemon, run, until
from tests.host.machine import MEMORY, OFFER, FakePlatform, endless_echo
from tests.host.test_openapi import check
from wasmkeep.host.openapi import document
from wasmkeep.host.requests import KEEP_HEADER
from wasmkeep.host.settings import Limits


def opened(host: Daemon, *said: str, headers: dict[str, str] | None = None) -> connect:
    wanted = list((host.headers if headers is None else headers).items())
    wanted += [(KEEP_HEADER, each) for each in said]
    url = f"ws://127.0.0.1:{host.running.port}/v1/session"
    return connect(url, additional_headers=wanted, compression=None, max_size=1 << 20, proxy=None)


async def refused(attempt: connect) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as error:
        await attempt
    response = error.value.response
    return response.status_code, json.loads(bytes(response.body))["error"]["code"]


def test_a_whole_session() -> None:
    async def scenario() -> None:
        async with daemon() as host:
            async with opened(host, json.dumps(REQUEST)) as tenant:
                assert tenant.response is not None
                created = json.loads(tenant.response.headers[KEEP_HEADER])
                whole: dict[str, Any] = document()
                check(created, whole["components"]["schemas"]["KeepCreated"], whole)
                (living,) = (await host.client.get("/v1/keeps")).json()["keeps"]
                assert (living["id"], living["state"]) == (created["id"], "connected")
                assert await tenant.recv() == OFFER
                await tenant.send(b"package")
                assert await tenant.recv() == b"first package"
                assert await tenant.recv() == b"last package"
                assert await closed_with(tenant) == (1000, "")
            (launched,) = host.platform.launched
            assert (launched.memory, launched.host_data) == (MEMORY, KEY_DIGEST)
            await host.gone()

    run(scenario())


def test_its_keep_takes_no_second_connection_and_ends_with_the_first() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            async with opened(host, json.dumps(REQUEST)) as tenant:
                assert tenant.response is not None
                created = json.loads(tenant.response.headers[KEEP_HEADER])
                assert await refused(host.session(created["id"])) == (409, "connected_before")
            await host.gone()

    run(scenario())


@pytest.mark.parametrize(
    "said",
    [
        (),
        (json.dumps(REQUEST), json.dumps(REQUEST)),
        ("",),
        ("[]",),
        (json.dumps(REQUEST) + "x",),
        (json.dumps({**REQUEST, "more": 1}),),
        (json.dumps({**REQUEST, "nonce": "é" * 64}),),
        (json.dumps({name: value for name, value in REQUEST.items() if name != "nonce"}),),
    ],
)
def test_what_is_no_request_is_refused_before_anything_is_made(said: tuple[str, ...]) -> None:
    async def scenario() -> None:
        async with daemon() as host:
            assert await refused(opened(host, *said)) == (400, "bad_request")
            assert host.platform.launched == []

    run(scenario())


def test_limits_and_strangers_are_refused_before_anything_is_made() -> None:
    async def scenario() -> None:
        limits = Limits(keeps_per_token=1)
        async with daemon(FakePlatform(endless_echo), limits=limits) as host:
            wanted = json.dumps(REQUEST)
            assert await refused(opened(host, wanted, headers={})) == (401, "unauthorized")
            page = {**host.headers, "Origin": "http://evil.example"}
            assert await refused(opened(host, wanted, headers=page)) == (403, "foreign_origin")
            other = json.dumps({**REQUEST, "image": "another 1.0"})
            assert await refused(opened(host, other)) == (422, "image")
            assert host.platform.launched == []
            async with opened(host, wanted) as tenant:
                assert await tenant.recv() == OFFER
                assert await refused(opened(host, wanted)) == (429, "keeps_per_token")
            await host.gone()

    run(scenario())


def test_a_tenant_that_leaves_before_it_is_answered_leaves_no_keep() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            for _ in range(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", host.running.port)
                writer.write(
                    f"GET /v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\n{KEEP_HEADER}: {json.dumps(REQUEST)}\r\n"
                    f"Authorization: Bearer {host.running.token}\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
                )
                await writer.drain()
                writer.transport.abort()
                del reader
            await until(lambda: len(host.platform.launched) == 10 or host.platform.alive == 0)
            await host.gone()
            await until_no_keep(host)

    async def until_no_keep(host: Daemon) -> None:
        async with asyncio.timeout(10):
            while (await host.client.get("/v1/keeps")).json()["keeps"]:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)

    run(scenario())
