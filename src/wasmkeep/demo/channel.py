"""Messages over a connection (asyncio streams): one after the other, within bounds and within time."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from wasmkeep.demo.messages import AnyMessage, MessageReader, Type, encode
from wasmkeep.errors import SessionError, TimedOut

__all__ = ["ANSWER_SECONDS", "Channel"]

ANSWER_SECONDS = 60.0
_CHUNK = 1 << 16


class Channel:
    """One connection. ``accepted`` are the message types that the other side may send."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, accepted: frozenset[Type]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._messages = MessageReader(accepted)

    async def send(self, message: AnyMessage) -> None:
        """Raises `SessionError` where nobody reads any more."""
        self._writer.write(encode(message))
        try:
            await self._writer.drain()
        except OSError as error:
            raise _closed(error.strerror or "the connection broke") from error

    async def receive(self, seconds: float = ANSWER_SECONDS) -> AnyMessage:
        """The next message. Raises `SessionError` where none comes any more, `TimedOut`, `MessageError`."""
        message = await self.next(seconds)
        if message is None:
            raise _closed("the end of the connection")
        return message

    async def next(self, seconds: float | None) -> AnyMessage | None:
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

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def _closed(found: str) -> SessionError:
    return SessionError(
        "demo.closed", "the other side hung up", found=found, meaning="see what it says on its own screen"
    )
