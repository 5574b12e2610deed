"""The daemon: a machine, its images and its limits, served on a socket for as long as a block lasts."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from wasmkeep.endorsements import Source
from wasmkeep.errors import WasmkeepError
from wasmkeep.host.app import Host, create_app
from wasmkeep.host.connections import BoundedWebSocket, bounded_http
from wasmkeep.host.images import Images
from wasmkeep.host.journal import silence
from wasmkeep.host.keeps import Keeps
from wasmkeep.host.listening import BACKLOG, Listener, open_listener
from wasmkeep.host.machine import Platform, Tee
from wasmkeep.host.private_files import make_private_folder, write_private
from wasmkeep.host.settings import Limits, Listen
from wasmkeep.host.sev_certificates import SevCertificates
from wasmkeep.host.tap import PASS_THROUGH, Tap
from wasmkeep.host.tees import Tees
from wasmkeep.host.tokens import Tokens, TokenStore, new_token, runtime_token_path
from wasmkeep.host.window import DATA_SIZE

__all__ = ["Running", "Service", "serving"]

log = logging.getLogger("wasmkeep.host")

_SWEEP_SECONDS = 1.0
_STOP_SECONDS = 5.0
_TLS_HANDSHAKE_SECONDS = 10.0
_KEEP_ALIVE_SECONDS = 75
_PING_SECONDS = 30.0
_DESCRIPTORS_A_KEEP = 4
_DESCRIPTORS_BESIDE = 64


@dataclass(frozen=True, slots=True)
class Service:
    """What is served.

    ``tsc_khz`` is the rate of the machine's time stamp counter; ``tokens`` the store of the operator's
    tokens, or None for a host that only its own token opens. ``tees`` are the kinds of TEE that are served,
    of those that the machine has; where it is empty, SNP.
    """

    platform: Platform
    images: Images
    endorsements: Source
    tsc_khz: int
    limits: Limits = field(default_factory=Limits)
    tokens: TokenStore | None = None
    tap: Tap = PASS_THROUGH
    tees: tuple[Tee, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that listens. ``token`` opens it while it runs; ``token_file`` is where it was left, if so."""

    url: str
    port: int
    token: str = field(repr=False)
    token_file: Path | None
    host: Host


@asynccontextmanager
async def serving(
    service: Service, listen: Listen | None = None, *, leave_token: bool = False
) -> AsyncIterator[Running]:
    """Listen, serve, and on the way out end every keep and close every connection.

    ``leave_token`` writes the daemon's own token where commands of the same user find it; on loopback only.
    Raises what ``open_listener`` raises, and ``SystemFailure`` where the token cannot be left.
    """
    silence()
    _allow_descriptors(service.limits)
    own = new_token()
    host = _host(service, own)
    listener = open_listener(listen or Listen(), stall_seconds=service.limits.stall_seconds)
    try:
        token_file = _leave_token(listener.port, own) if leave_token and listener.loopback else None
    except WasmkeepError:
        listener.socket.close()
        raise
    sweeper = asyncio.create_task(_sweep(host), name="sweep of revoked tokens")
    try:
        async with _accepting(create_app(host, names=listener.names), listener, service.limits, host.keeps):
            yield Running(listener.url, listener.port, own, token_file, host)
    finally:
        listener.socket.close()
        sweeper.cancel()
        await asyncio.wait([sweeper])
        if token_file is not None:
            token_file.unlink(missing_ok=True)


def _host(service: Service, own: str) -> Host:
    platform = service.platform
    keeps = Keeps(platform, service.limits, tap=service.tap)
    tees = service.tees or (Tee("snp", platform.description.slots),)
    return Host(
        images=service.images,
        keeps=keeps,
        tees=Tees(platform, tees, keeps),
        sev_certificates=SevCertificates(platform, service.endorsements),
        endorsements=service.endorsements,
        tokens=Tokens(service.tokens, own=own),
        limits=service.limits,
        tsc_khz=service.tsc_khz,
    )


@asynccontextmanager
async def _accepting(app: ASGIApp, listener: Listener, limits: Limits, keeps: Keeps) -> AsyncIterator[None]:
    """uvicorn's protocols on our socket: its ``Server`` takes the process's signals, and stops slowly."""
    http = bounded_http(limits)
    config = uvicorn.Config(
        app,
        http=http,
        ws=BoundedWebSocket,
        ws_max_size=DATA_SIZE,
        ws_per_message_deflate=False,
        ws_ping_interval=_PING_SECONDS,
        ws_ping_timeout=limits.stall_seconds,
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        h11_max_incomplete_event_size=limits.header_bytes,
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: http(config=config, server_state=state, app_state={}),
        sock=listener.socket,
        ssl=listener.tls,
        backlog=BACKLOG,
        ssl_handshake_timeout=None if listener.tls is None else _TLS_HANDSHAKE_SECONDS,
    )
    try:
        yield
    finally:
        server.close()
        await keeps.stop()
        await _close_connections(state)


async def _close_connections(state: ServerState) -> None:
    for connection in list(state.connections):
        connection.shutdown()
    if state.tasks:
        await asyncio.wait(set(state.tasks), timeout=_STOP_SECONDS)
    for task in set(state.tasks):
        task.cancel()
    for connection in list(state.connections):
        connection.transport.abort()
    # One turn of the loop, in which the transports say that they are closed.
    await asyncio.sleep(0)


async def _sweep(host: Host) -> None:
    """End the keeps of tokens that were revoked."""
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for owner in host.keeps.owners():
                try:
                    valid = host.tokens.is_valid(owner)
                except WasmkeepError as error:
                    log.error("the tokens cannot be read: %s", error.message)
                    break
                if not valid:
                    host.keeps.end_of_owner(owner)


def _allow_descriptors(limits: Limits) -> None:
    """Let this process open as many files as its limits may need, where the system allows it."""
    needed = limits.connections + _DESCRIPTORS_A_KEEP * limits.keeps + _DESCRIPTORS_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _leave_token(port: int, token: str) -> Path:
    path = runtime_token_path(port)
    make_private_folder(path.parent)
    write_private(path, token.encode() + b"\n")
    return path
