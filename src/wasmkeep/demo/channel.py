"""Messages over a connection (asyncio streams) or within a process: one by one, within bounds and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from wasmkeep.demo.messages import TO_CLIENT, TO_SERVER, AnyMessage, MessageReader, Type, encode
from wasmkeep.errors import SessionError, TimedOut

__all__ = ["ANSWER_SECONDS", "Channel", "Exchange", "Handover"]

ANSWER_SECONDS = 60.0
_CLOSE_SECONDS = 1.0
_CHUNK = 1 << 16


class Exchange(Protocol):
    """A client's way to its server: a message there, a message back."""

    async def send(self, message: AnyMessage, /) -> None: ...

    async def receive(self) -> AnyMessage: ...


class Channel:
    """One connection. ``accepted`` are the message types that the other side may send."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, accepted: frozenset[Type]
    ) -> None:
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


class Handover:
    """The client's channel to a server in the same process: the same bytes, read by the same rules.

    ``answer`` is the server's answer to a message; its work is done where the client waits for it.
    """

    def __init__(self, answer: Callable[[AnyMessage], Awaitable[AnyMessage]]) -> None:
        self._answer = answer
        self._requests = MessageReader(TO_SERVER)
        self._answers = MessageReader(TO_CLIENT)

    async def send(self, message: AnyMessage) -> None:
        self._requests.feed(encode(message))

    async def receive(self) -> AnyMessage:
        """Raises `MessageError`; `SessionError` where nothing was asked."""
        request = self._requests.take()
        if request is None:
            raise _closed("an answer that nobody asked for")
        self._answers.feed(encode(await self._answer(request)))
        answer = self._answers.take()
        if answer is None:
            raise _closed("part of a message")
        return answer


def _closed(found: str) -> SessionError:
    return SessionError(
        "demo.closed", "the other side hung up", found=found, meaning="see what it says on its own screen"
    )
