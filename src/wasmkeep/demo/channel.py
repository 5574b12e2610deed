"""Messages over a connection (asyncio streams) or within a process: one by one, within bounds and in time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from wasmkeep.demo.messages import TO_CLIENT, TO_SERVER, AnyMessage, MessageReader, Type, encode
from wasmkeep.errors import SessionError, TimedOut

__all__ = ["ANSWER_SECONDS", "Channel", "pair"]

ANSWER_SECONDS = 60.0
_CLOSE_SECONDS = 1.0
_CHUNK = 1 << 16


class Writer(Protocol):
    """What is needed of an ``asyncio.StreamWriter``."""

    def write(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...
    async def wait_closed(self) -> None: ...


class Channel:
    """One connection. ``accepted`` are the message types that the other side may send."""

    def __init__(self, reader: asyncio.StreamReader, writer: Writer, accepted: frozenset[Type]) -> None:
        self._reader = reader
        self._writer = writer
        self._messages = MessageReader(accepted)

    async def send(self, message: AnyMessage) -> None:
        """Raises `SessionError` where nobody is there any more, `TimedOut` where nobody reads."""
        self._writer.write(encode(message))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._writer.drain()
        except TimeoutError:
            raise TimedOut(
                "demo.silent", "the other side takes nothing", found=f"{ANSWER_SECONDS} s"
            ) from None
        except OSError as error:
            raise _closed(error.strerror or "the connection broke") from error

    async def receive(self, seconds: float = ANSWER_SECONDS) -> AnyMessage:
        """The next message. Raises `SessionError` where none comes any more, `TimedOut`, `MessageError`."""
        message = await self.next(seconds)
        if message is None:
            raise _closed("the end of the connection")
        return message

    async def next(self, seconds: float) -> AnyMessage | None:
        """As `receive`; None where the other side hung up between two messages."""
        try:
            async with asyncio.timeout(seconds):
                while (message := self._messages.take()) is None:
                    data = await self._reader.read(_CHUNK)
                    if not data:
                        if self._messages.midway:
                            raise _closed("part of a message")
                        return None
                    self._messages.feed(data)
                return message
        except TimeoutError:
            raise TimedOut("demo.silent", "the other side said nothing", found=f"{seconds} s") from None
        except OSError as error:
            raise _closed(error.strerror or "the connection broke") from error

    def hang_up(self) -> None:
        """The other side reads to the end of what was sent, and then that it is the end."""
        self._writer.close()

    async def close(self) -> None:
        """Hang up, and wait until it is done: not for long, because the other side need not read."""
        self.hang_up()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._writer.wait_closed()


class _Handover:
    """Writes to a reader in the same process."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._closed = False

    def write(self, data: bytes, /) -> None:
        if not self._closed:
            self._reader.feed_data(data)

    async def drain(self) -> None: ...

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._reader.feed_eof()

    async def wait_closed(self) -> None: ...


def pair() -> tuple[Channel, Channel]:
    """The client's channel and the server's, in one process: the same bytes, handed over in memory."""
    to_client, to_server = asyncio.StreamReader(), asyncio.StreamReader()
    client = Channel(to_client, _Handover(to_server), TO_CLIENT)
    return client, Channel(to_server, _Handover(to_client), TO_SERVER)


def _closed(found: str) -> SessionError:
    return SessionError(
        "demo.closed", "the other side hung up", found=found, meaning="see what it says on its own screen"
    )
