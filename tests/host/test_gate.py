"""Who may come in: the table of hosts, origins and tokens, for every route and for the WebSocket."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.host.daemon import NO_TLS, REQUEST, Daemon, daemon, run, until
from tests.host.machine import OFFER, FakePlatform, endless_echo
from wasmkeep.host.openapi import OPERATIONS
from wasmkeep.host.tokens import TokenStore, new_token

PATHS = [
    (operation.method.upper(), operation.path.replace("{keep}", "00" * 16).replace("{product}", "genoa"))
    for operation in OPERATIONS
    if not operation.open
]
BAD_TOKENS = {
    "none": None,
    "empty": "",
    "no scheme": "wk_" + "A" * 43,
    "another scheme": "Basic d2s6",
    "another token": f"Bearer {new_token()}",
    "too short": "Bearer wk_",
    "too long": "Bearer wk_" + "A" * 5000,
    "not ASCII": "Bearer wk_\xe9",
}


def stranger_to(host: Daemon) -> httpx.AsyncClient:
    """A client without a token."""
    return httpx.AsyncClient(base_url=host.running.url, trust_env=False, verify=NO_TLS)


@pytest.mark.parametrize("header", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_without_a_valid_token_every_route_refuses_and_nothing_is_launched(header: str | None) -> None:
    async def scenario() -> None:
        async with daemon() as host:
            headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
            async with stranger_to(host) as stranger:
                for method, path in [*PATHS, ("GET", "/nowhere")]:
                    answer = await stranger.request(method, path, headers=headers, json=REQUEST)
                    assert answer.status_code == 401, (method, path)
                    assert answer.json()["error"]["code"] == "unauthorized"
                    assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert host.platform.launched == []

    run(scenario())


def test_a_token_in_the_url_is_no_token() -> None:
    async def scenario() -> None:
        async with (
            daemon() as host,
            httpx.AsyncClient(base_url=host.running.url, trust_env=False, verify=NO_TLS) as stranger,
        ):
            for name in ("token", "access_token", "authorization"):
                answer = await stranger.get("/v1/keeps", params={name: host.running.token})
                assert answer.status_code == 401

    run(scenario())


def test_two_authorization_headers_are_none() -> None:
    async def scenario() -> None:
        async with (
            daemon() as host,
            httpx.AsyncClient(base_url=host.running.url, trust_env=False, verify=NO_TLS) as stranger,
        ):
            valid = ("Authorization", f"Bearer {host.running.token}")
            answer = await stranger.get("/v1/keeps", headers=[valid, valid])
            assert answer.status_code == 401

    run(scenario())


def test_health_is_open_and_says_what_this_is() -> None:
    async def scenario() -> None:
        async with (
            daemon() as host,
            httpx.AsyncClient(base_url=host.running.url, trust_env=False, verify=NO_TLS) as stranger,
        ):
            answer = await stranger.get("/v1/health")
            assert answer.json() == {"status": "ok", "service": "wasmkeep", "version": "0.1.0"}

    run(scenario())


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST", 200),
        ("[::1]:{port}", 200),
        ("keeps.example:{port}", 421),
        ("127.0.0.1.example", 421),
        ("localhost@evil.example", 421),
        ("evil.example#localhost", 421),
        ("localhost:7433:80", 421),
        ("", 421),
    ],
)
def test_only_requests_for_this_host_are_answered(name: str, status: int) -> None:
    async def scenario() -> None:
        async with daemon() as host:
            headers = {"Host": name.format(port=host.running.port)}
            for path in ("/v1/keeps", "/v1/health"):
                assert (await host.client.get(path, headers=headers)).status_code == status

    run(scenario())


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:{port}", 200),
        ("http://127.0.0.1", 403),
        ("https://127.0.0.1:{port}", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_web_pages_from_elsewhere_are_refused(origin: str, status: int) -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            value = origin.format(port=host.running.port)
            for path in ("/v1/keeps", "/v1/health"):
                assert (await host.client.get(path, headers={"Origin": value})).status_code == status
            created = await host.create()
            headers = {**host.headers, "Origin": value}
            if status == 200:
                async with host.session(created["id"], additional_headers=headers) as tenant:
                    assert await tenant.recv() == OFFER
            else:
                with pytest.raises(InvalidStatus) as refused:
                    await host.session(created["id"], additional_headers=headers)
                assert refused.value.response.status_code == status

    run(scenario())


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": f"Bearer {new_token()}"}, 401)],
    ids=["no token", "another token"],
)
def test_a_websocket_of_a_stranger_is_refused_before_it_is_one(headers: dict[str, str], status: int) -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            created = await host.create()
            with pytest.raises(InvalidStatus) as refused:
                await host.session(created["id"], additional_headers=headers)
            assert refused.value.response.status_code == status
            async with host.session(created["id"]) as tenant:
                assert await tenant.recv() == OFFER

    run(scenario())


def test_a_websocket_for_another_host_is_refused() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            created = await host.create()
            url = f"ws://evil.example/v1/keeps/{created['id']}/session"
            with pytest.raises(InvalidStatus) as refused:
                await connect(
                    url, additional_headers=host.headers, proxy=None, host="127.0.0.1", port=host.running.port
                )
            assert refused.value.response.status_code == 421

    run(scenario())


def test_each_token_sees_its_own_keeps_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = TokenStore(tmp_path / "host" / "tokens.json")
        async with daemon(FakePlatform(endless_echo), tokens=store) as host:
            created = await host.create()
            other = {"Authorization": f"Bearer {store.create('other')}"}
            path = f"/v1/keeps/{created['id']}"
            assert (await host.client.get("/v1/keeps", headers=other)).json() == {"keeps": []}
            for method in ("GET", "DELETE"):
                answer = await host.client.request(method, path, headers=other)
                assert answer.status_code == 404
                unknown = await host.client.request(method, "/v1/keeps/" + "00" * 16, headers=other)
                assert answer.json() == unknown.json()
            with pytest.raises(InvalidStatus) as refused:
                await host.session(created["id"], additional_headers=other)
            assert refused.value.response.status_code == 404
            async with host.session(created["id"]) as tenant:
                assert await tenant.recv() == OFFER

    run(scenario())


def test_a_revoked_token_is_refused_at_once_and_its_keeps_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = TokenStore(tmp_path / "host" / "tokens.json")
        async with daemon(FakePlatform(endless_echo), tokens=store) as host:
            headers = {"Authorization": f"Bearer {store.create('guest')}"}
            answer = await host.client.post("/v1/keeps", json=REQUEST, headers=headers)
            assert answer.status_code == 201
            own = await host.create()
            await until(lambda: host.platform.alive == 2)
            store.revoke("guest")
            assert (await host.client.get("/v1/keeps", headers=headers)).status_code == 401
            await until(lambda: host.platform.alive == 1)
            assert (await host.client.get(f"/v1/keeps/{own['id']}")).json()["state"] == "waiting"

    run(scenario())


def test_with_a_damaged_token_file_nobody_comes_in(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = TokenStore(tmp_path / "host" / "tokens.json")
        async with daemon(tokens=store) as host:
            store.create("guest")
            store.path.chmod(0o644)
            store.path.write_bytes(b"[]")
            assert (await host.client.get("/v1/keeps")).status_code == 503

    run(scenario())
