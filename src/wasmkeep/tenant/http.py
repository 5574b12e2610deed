"""One HTTP/1.1 connection to a host: one request at a time, bounded in time and bytes, no redirects.

`h11` parses; this module moves the bytes. Cancelling an exchange closes the connection, so nothing that a
host does or leaves undone can hold up whoever gave up waiting.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

import h11

from wasmkeep.tenant.address import HostAddress

MAX_ANSWER_SIZE = 1 << 20
ANSWER_TIMEOUT = 20.0
"""Seconds from the first byte of a request to the last of its answer."""
_READ_SIZE = 1 << 16


class AnswerTooLong(Exception):
    """More than MAX_ANSWER_SIZE bytes. Never leaves the client."""


class HttpConnection:
    """A connection that is opened when it is needed, and again when the host has closed it meanwhile."""

    def __init__(self, address: HostAddress, tls: ssl.SSLContext | None) -> None:
        self._address = address
        self._tls = tls
        self._protocol: h11.Connection | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def close(self) -> None:
        """Close it now, without waiting."""
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams = self._protocol = None

    async def get(self, path: str, headers: Sequence[tuple[str, str]]) -> tuple[int, bytes]:
        """Status and body. Raises OSError, UnicodeError, h11.ProtocolError, AnswerTooLong, TimeoutError."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                reused = self._streams is not None
                try:
                    return await self._once(path, headers)
                except (h11.RemoteProtocolError, ConnectionError):
                    if not reused:
                        raise
                    # The host closed an idle connection; one that was just opened gets no second try.
                    self.close()
                    return await self._once(path, headers)
        except BaseException:
            self.close()
            raise

    async def _once(self, path: str, headers: Sequence[tuple[str, str]]) -> tuple[int, bytes]:
        if self._streams is None or self._protocol is None:
            self._streams = await asyncio.open_connection(
                self._address.hostname, self._address.port, ssl=self._tls
            )
            self._protocol = h11.Connection(h11.CLIENT)
        (reader, writer), protocol = self._streams, self._protocol
        host = ("Host", self._address.url.split("://", 1)[1])
        request = h11.Request(method="GET", target=path, headers=[host, *headers])
        parts = [protocol.send(request), protocol.send(h11.EndOfMessage())]
        writer.write(b"".join(part for part in parts if part))
        await writer.drain()
        status, answer = await self._answer(reader, protocol)
        if protocol.our_state is h11.DONE and protocol.their_state is h11.DONE:
            protocol.start_next_cycle()
        else:
            self.close()
        return status, answer

    @staticmethod
    async def _answer(reader: asyncio.StreamReader, protocol: h11.Connection) -> tuple[int, bytes]:
        status, answer = 0, bytearray()
        while True:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                protocol.receive_data(await reader.read(_READ_SIZE))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                answer += event.data
                if len(answer) > MAX_ANSWER_SIZE:
                    raise AnswerTooLong
            elif isinstance(event, h11.EndOfMessage):
                return status, bytes(answer)
            elif not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("the connection was closed before the answer")
