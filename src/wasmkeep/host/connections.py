"""uvicorn's connections with the bounds it leaves out: how many, how slow, how fragmented, how unread.

uvicorn bounds the size of headers and messages and the time between requests. It lets a connection wait for
ever in the middle of a request, counts no connections that ask nothing, joins any number of empty
fragments, queues thousands of tiny messages, and an answer to each ping of a peer that reads none. A host
takes connections of strangers, so those are bounded here.
"""

from __future__ import annotations

import asyncio
from asyncio.transports import BaseTransport
from typing import ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from wasmkeep.host.settings import Limits

__all__ = ["ABORT", "BoundedWebSocket", "bounded_http"]

ABORT = "wasmkeep.abort"

_MAX_FRAGMENTS = 1024
"""Frames of one message."""
_MAX_QUEUED = 64
"""Messages that one read of the network may bring, before reading stops until they are taken."""
_MAX_UNREAD_BYTES = 64 * 1024
"""Bytes of answers to pings that a peer may leave unread."""


class _BoundedHttp(H11Protocol):
    """An HTTP connection whose peer must get on with what it began."""

    limits: ClassVar[Limits]
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        crowded = len(self.connections) >= self.limits.connections
        super().connection_made(cast(asyncio.Transport, transport))
        if crowded:
            self.transport.abort()
            return
        self._arm()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            self._disarm()
        elif self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            self._arm()
        else:
            self._disarm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.request_seconds, self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def bounded_http(limits: Limits) -> type[H11Protocol]:
    """The connection class for these limits."""

    class BoundedHttp(_BoundedHttp):
        pass

    BoundedHttp.limits = limits
    return BoundedHttp


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """A tenant's WebSocket. Its scope carries ``ABORT``: a call that cuts it off without a word."""

    async def run_asgi(self) -> None:
        cast(dict[str, object], self.scope)[ABORT] = self.transport.abort
        await super().run_asgi()

    def handle_cont(self, event: Frame) -> None:
        if self.close_sent:
            return
        if len(self.frames) >= _MAX_FRAGMENTS:
            self.conn.fail(1009, "too many fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        if not self.close_sent and self.queue.qsize() >= _MAX_QUEUED:
            self.conn.fail(1008, "too many messages at once")
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES and not self.writable.is_set():
            self.transport.abort()

    def keepalive_timeout(self) -> None:
        if self.read_paused:
            # Its answer may stand behind messages that the keep has not taken yet: ask again later.
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
