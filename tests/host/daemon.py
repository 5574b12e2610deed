"""A real daemon on a free port, with a scripted machine, and clients for it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.host.machine import MEMORY, FakeImages, FakePlatform
from wasmkeep.endorsements import FolderSource, Source
from wasmkeep.host.machine import Tee
from wasmkeep.host.server import Running, Service, serving
from wasmkeep.host.settings import Limits, Listen
from wasmkeep.host.tap import PASS_THROUGH, Tap
from wasmkeep.host.tokens import TokenStore

NONCE, KEY_DIGEST = b"\x01" * 32, b"\x02" * 32
REQUEST = {
    "tee": "snp",
    "image": "wasmkeep 0.1.0",
    "memory": MEMORY,
    "nonce": NONCE.hex(),
    "tenant_key_digest": KEY_DIGEST.hex(),
}
TSC_KHZ = 2_500_000
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Spares each client loading the system's certificates."""


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run to the end, and see that no task is left over."""

    async def whole() -> None:
        await scenario
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(whole())


@dataclass
class Daemon:
    """A daemon that runs, and a client with its own token."""

    running: Running
    platform: FakePlatform
    client: httpx.AsyncClient

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.running.token}"}

    async def create(self, **changes: object) -> dict[str, Any]:
        answer = await self.client.post("/v1/keeps", json={**REQUEST, **changes})
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    def session(self, keep: str, **options: Any) -> connect:
        url = f"ws://127.0.0.1:{self.running.port}/v1/keeps/{keep}/session"
        options.setdefault("additional_headers", self.headers)
        return connect(url, compression=None, max_size=1 << 20, proxy=None, **options)

    async def gone(self) -> None:
        """Wait until no guest is left."""
        await until(lambda: self.platform.alive == 0)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.002)


@asynccontextmanager
async def daemon(
    platform: FakePlatform | None = None,
    *,
    limits: Limits | None = None,
    listen: Listen | None = None,
    endorsements: Source | None = None,
    tokens: TokenStore | None = None,
    tap: Tap = PASS_THROUGH,
    leave_token: bool = False,
    tees: tuple[Tee, ...] = (),
) -> AsyncIterator[Daemon]:
    machine = platform or FakePlatform()
    source = endorsements or FolderSource(Path("/nonexistent"))
    service = Service(machine, FakeImages(), source, TSC_KHZ, limits or Limits(), tokens, tap, tees)
    async with (
        serving(service, listen or Listen(port=0), leave_token=leave_token) as running,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{running.port}",
            headers={"Authorization": f"Bearer {running.token}"},
            trust_env=False,
            verify=NO_TLS,
        ) as client,
    ):
        yield Daemon(running, machine, client)
    assert machine.alive == 0, "a guest outlived its daemon"


async def closed_with(socket: ClientConnection) -> tuple[int, str]:
    """Read until the other end closes; the close code and reason."""
    with suppress(ConnectionClosed):
        async for _ in socket:
            pass
    assert socket.close_code is not None
    return socket.close_code, socket.close_reason or ""
