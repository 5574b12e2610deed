"""A tenant's WebSocket, joined to its keep for as long as both live."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from starlette.websockets import WebSocket, WebSocketDisconnect

from wasmkeep.host.connections import ABORT
from wasmkeep.host.endings import EMPTY_MESSAGE, NOT_BINARY, TENANT_LEFT, Ending, EndKeep
from wasmkeep.host.keep import Keep
from wasmkeep.host.keeps import EndedKeep, Keeps, LivingKeep
from wasmkeep.host.replies import Refused

__all__ = ["join", "serve_session"]

log = logging.getLogger("wasmkeep.host")

_TELL_SECONDS = 0.5
"""How long a tenant may take to hear of its keep's end."""


class WebSocketChannel:
    """The way to a tenant over its WebSocket. Once closed it stays so."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._open = True

    async def send(self, message: bytes) -> None:
        """Raises ``EndKeep`` where the tenant is gone."""
        if not self._open:
            raise EndKeep(TENANT_LEFT)
        try:
            await self._socket.send({"type": "websocket.send", "bytes": message})
        except WebSocketDisconnect:
            self._open = False
            raise EndKeep(TENANT_LEFT) from None

    async def close(self, ending: Ending) -> None:
        """Tell the tenant; where it takes too long to hear, cut it off."""
        if not self._open:
            return
        self._open = False
        try:
            async with asyncio.timeout(_TELL_SECONDS):
                await self._socket.close(ending.code, ending.reason)
        except WebSocketDisconnect:
            log.debug("a tenant left before its keep's end")
        except TimeoutError:
            self._socket.scope[ABORT]()

    def lost(self) -> None:
        """The tenant's end is closed: nothing can be sent any more."""
        self._open = False


async def serve_session(keeps: Keeps, socket: WebSocket, identifier: str, owner: str) -> None:
    """Join ``socket`` to the keep; returns when either is gone. Raises ``Refused`` before it is accepted."""
    found = keeps.get(identifier, owner)
    if isinstance(found, LivingKeep) and found.keep.state == "ending":
        await found.keep.ended()
        found = keeps.get(identifier, owner)
    if isinstance(found, EndedKeep):
        await socket.accept()
        await WebSocketChannel(socket).close(found.ending)
        return
    if found.keep.state not in {"launching", "waiting"}:
        raise Refused(409, "connected_before", "a keep takes one connection in its life")
    await join(found, socket)


async def join(living: LivingKeep, socket: WebSocket, *, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Accept ``socket``, with these headers, as the keep's; returns when either is gone."""
    channel = WebSocketChannel(socket)
    keep = living.keep
    await socket.accept(headers=headers)
    if not keep.attach(channel):
        await channel.close(keep.ending or TENANT_LEFT)
        return
    try:
        await _read(socket, keep)
    finally:
        # Whatever ended the reading, the keep does not outlive its tenant's connection.
        channel.lost()
        keep.end(TENANT_LEFT)


async def _read(socket: WebSocket, keep: Keep) -> None:
    """Carry messages to the keep until the tenant leaves or the keep has ended."""
    while True:
        event = await socket.receive()
        if event["type"] == "websocket.disconnect":
            return
        message = event.get("bytes")
        if not message:
            keep.end(NOT_BINARY if message is None else EMPTY_MESSAGE)
            await keep.ended()
            return
        await keep.accept(message)
