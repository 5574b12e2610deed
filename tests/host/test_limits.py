"""Limits, each answered by name, and what bad requests are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import httpx
import pytest

from tests.host.daemon import REQUEST, Daemon, daemon, run, until
from tests.host.machine import MEMORY, Description, FakePlatform, endless_echo
from wasmkeep.errors import ConfigurationError
from wasmkeep.host.settings import Limits
from wasmkeep.host.tokens import TokenStore


async def refused(host: Daemon, status: int, code: str, **changes: object) -> dict[str, str]:
    answer = await host.client.post("/v1/keeps", json={**REQUEST, **changes})
    assert answer.status_code == status, answer.text
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"code", "message", "found", "required"}
    assert error["code"] == code
    return error


def test_keeps_at_once() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo), limits=Limits(keeps=2)) as host:
            first = await host.create()
            await host.create()
            assert (await refused(host, 503, "keeps"))["required"] == "below 2"
            await host.client.delete(f"/v1/keeps/{first['id']}")
            await host.create()

    run(scenario())


def test_keeps_at_once_of_one_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = TokenStore(tmp_path / "host" / "tokens.json")
        limits = Limits(keeps_per_token=1)
        async with daemon(FakePlatform(endless_echo), limits=limits, tokens=store) as host:
            await host.create()
            await refused(host, 429, "keeps_per_token")
            other = {"Authorization": f"Bearer {store.create('other')}"}
            assert (await host.client.post("/v1/keeps", json=REQUEST, headers=other)).status_code == 201

    run(scenario())


def test_key_slots_of_the_machine() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo, description=Description(slots=1))) as host:
            await host.create()
            await refused(host, 503, "keeps")

    run(scenario())


def test_memory_of_one_keep_and_of_all() -> None:
    async def scenario() -> None:
        limits = Limits(keep_memory=2 * MEMORY, total_memory=3 * MEMORY)
        async with daemon(FakePlatform(endless_echo), limits=limits) as host:
            await refused(host, 422, "keep_memory", memory=3 * MEMORY)
            await host.create(memory=2 * MEMORY)
            await refused(host, 503, "total_memory", memory=2 * MEMORY)
            await host.create()

    run(scenario())


def test_a_hundred_requests_at_once_never_pass_a_limit() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo), limits=Limits(keeps=5)) as host:
            answers = await asyncio.gather(*(host.client.post("/v1/keeps", json=REQUEST) for _ in range(50)))
            assert sorted(answer.status_code for answer in answers) == [201] * 5 + [503] * 45
            await until(lambda: host.platform.alive == 5)

    run(scenario())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tee", None),
        ("tee", 1),
        ("image", "../wasmkeep"),
        ("image", "wasmkeep\n0.1.0"),
        ("memory", None),
        ("memory", "33554432"),
        ("memory", float(MEMORY)),
        ("memory", True),
        ("memory", -MEMORY),
        ("memory", MEMORY + 1),
        ("memory", MEMORY // 2),
        ("memory", 2**70),
        ("nonce", None),
        ("nonce", "01" * 31),
        ("nonce", "01" * 33),
        ("nonce", "0g" * 32),
        ("nonce", "01" * 32 + "\n"),
        ("tenant_key_digest", ["01" * 32]),
        ("policy", -1),
        ("policy", 2**64),
        ("policy", "0x30000"),
        ("polcy", 0x30000),
    ],
)
def test_a_malformed_member_is_named(name: str, value: object) -> None:
    async def scenario() -> None:
        async with daemon() as host:
            request = {**REQUEST, name: value}
            if value is None:
                del request[name]
            answer = await host.client.post("/v1/keeps", json=request)
            assert answer.status_code == 400
            error = answer.json()["error"]
            assert name in error["message"] + error["found"]
            assert host.platform.launched == []

    run(scenario())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff",
        b"[" * 4000,
        b'{"tee":"snp","tee":"snp"}',
        json.dumps({**REQUEST, "memory": 1}).encode() + b"x",
        b'{"memory": NaN}',
        b'{"memory": 1' + b"0" * 4000 + b"}",
    ],
    ids=["empty", "cut", "null", "list", "not UTF-8", "deep", "twice", "trailing", "NaN", "digits"],
)
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    async def scenario() -> None:
        async with daemon() as host:
            answer = await host.client.post("/v1/keeps", content=body)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "bad_request"

    run(scenario())


def test_a_body_that_is_too_large_is_refused() -> None:
    async def scenario() -> None:
        async with daemon() as host:
            answer = await host.client.post("/v1/keeps", content=b" " * 100_000)
            assert answer.status_code == 413

    run(scenario())


def test_headers_that_are_too_large_are_refused() -> None:
    async def scenario() -> None:
        async with daemon() as host:
            answer = await host.client.get("/v1/health", headers={"X": "x" * 20_000})
            assert answer.status_code == 431

    run(scenario())


def test_another_tee_or_image_is_refused_by_name() -> None:
    async def scenario() -> None:
        async with daemon() as host:
            assert (await refused(host, 422, "tee", tee="tdx"))["required"] == "snp"
            assert (await refused(host, 422, "image", image="wasmkeep 9.9.9"))["required"] == "wasmkeep 0.1.0"

    run(scenario())


def test_unknown_paths_and_methods_have_the_same_shape_of_error() -> None:
    async def scenario() -> None:
        async with daemon() as host:
            assert (await host.client.get("/v2")).json()["error"]["code"] == "no_such_path"
            answer = await host.client.put("/v1/keeps")
            assert answer.status_code == 405
            assert answer.json()["error"]["code"] == "method"

    run(scenario())


def test_requests_at_once_are_bounded() -> None:
    class Slow(FakePlatform):
        async def status(self) -> object:  # type: ignore[override]
            await asyncio.sleep(0.2)
            return await super().status()

    async def scenario() -> None:
        async with daemon(Slow(), limits=Limits(requests=3)) as host:
            answers = await asyncio.gather(*(host.client.get("/v1/platform") for _ in range(6)))
            assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 3

    run(scenario())


async def _closed(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(10):
        while await reader.read(1000):
            pass


@pytest.mark.parametrize(
    "beginning",
    [b"", b"GET /v1/he", b"POST /v1/keeps HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc"],
    ids=["nothing", "half a header", "half a body"],
)
def test_a_connection_that_does_not_get_on_is_closed(beginning: bytes) -> None:
    async def scenario() -> None:
        async with daemon(limits=Limits(request_seconds=0.1)) as host:
            reader, writer = await asyncio.open_connection("127.0.0.1", host.running.port)
            writer.write(beginning)
            with contextlib.suppress(ConnectionResetError):
                await _closed(reader)
            writer.close()

    run(scenario())


def test_connections_at_once_are_bounded_and_free_again() -> None:
    async def scenario() -> None:
        async with daemon(limits=Limits(connections=3)) as host:
            held = [await asyncio.open_connection("127.0.0.1", host.running.port) for _ in range(3)]
            with pytest.raises(httpx.TransportError):
                await host.client.get("/v1/health")
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            await until_healthy(host)

    run(scenario())


async def until_healthy(host: Daemon) -> None:
    for _ in range(200):
        try:
            if (await host.client.get("/v1/health")).status_code == 200:
                return
        except httpx.TransportError:
            await asyncio.sleep(0.01)
    raise AssertionError("the host does not answer again")


@pytest.mark.parametrize("name", ["keeps", "idle_seconds", "request_bytes"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        Limits(**{name: 0})


def test_the_platform_tells_its_limits() -> None:
    async def scenario() -> None:
        async with daemon(limits=Limits(keeps=7, idle_seconds=9)) as host:
            platform = (await host.client.get("/v1/platform")).json()
            assert platform["limits"]["keeps"] == 7
            assert platform["limits"]["idle_seconds"] == 9
            assert platform["limits"]["message"] == 983_040
            tee = platform["tees"][0]
            assert tee["root"] == "sha256:" + "5f" * 32
            assert (tee["simulated"], tee["slots"], tee["slots_used"]) == (True, 509, 0)
            assert tee["reported_tcb"] == "4817000000000009"

    run(scenario())


def test_a_machine_that_is_gone_is_said() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(broken=True)) as host:
            assert (await host.client.get("/v1/platform")).json()["error"]["code"] == "machine"
            assert (await host.client.get("/v1/health")).status_code == 200

    run(scenario())
