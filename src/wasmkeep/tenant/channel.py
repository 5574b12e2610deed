"""A keep's channel: opaque messages, carried by a host that may cut them off."""

from __future__ import annotations

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from wasmkeep.errors import HostRefused, SessionError, TimedOut, WasmkeepError
from wasmkeep.tenant.host_api import printable

__all__ = ["Channel"]

_CLOSE_REASONS = {
    4001: "the keep refused to go on",
    4002: "the host ended a keep that misbehaved",
    4003: "the host ended the keep: nothing moved for too long",
}


class Channel:
    """Opaque messages to and from one keep, carried by its host."""

    def __init__(self, connection: ClientConnection, host: str) -> None:
        self._connection = connection
        self._host = host

    async def send(self, message: bytes) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise self._closed(closed) from None

    async def receive(self) -> bytes | None:
        """The next message, or None where the host closed the connection in an orderly way."""
        try:
            message = await self._connection.recv(decode=False)
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == 1000:
                return None
            raise self._closed(closed) from None
        return bytes(message)

    def _closed(self, closed: ConnectionClosed) -> WasmkeepError:
        code = closed.rcvd.code if closed.rcvd is not None else 1006
        reason = closed.rcvd.reason if closed.rcvd is not None else ""
        if code == 1013:
            return HostRefused(
                "host.slots",
                "the host has no free key slot now",
                found=f"close code {code} from {self._host}",
                remedy="try again later, or choose another host",
            )
        error = TimedOut if code == 4003 else SessionError
        return error(
            "session.closed",
            _CLOSE_REASONS.get(code, "the connection to the keep was cut"),
            found=f"close code {code}" + (f", {printable(reason)}" if reason else ""),
            required="a verified receipt",
            meaning=f"what {self._host} says of the cause is its word alone",
            remedy="run again; if it happens again, ask the host's operator or choose another host",
        )
