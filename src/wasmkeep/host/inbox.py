"""Messages of a tenant's that its keep has not taken yet: a few at most, each whole."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Inbox"]

MESSAGES = 4
"""Messages held for a keep before its tenant's connection is read no further."""


class Inbox:
    """One writer (the tenant's connection) and one reader (the keep's relay)."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._shut = False

    async def has_room(self) -> None:
        await self._room.wait()

    def shut(self) -> None:
        """Nobody will take anything any more: let the writer go on to learn so."""
        self._shut = True
        self._messages.clear()
        self._room.set()

    def put(self, message: bytes) -> None:
        if self._shut:
            return
        self._messages.append(message)
        self._arrived.set()
        if len(self._messages) >= MESSAGES:
            self._room.clear()

    def take(self) -> bytes | None:
        """The oldest message, if there is one."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._room.set()
        if not self._messages:
            self._arrived.clear()
        return message

    async def wait(self, seconds: float | None) -> bytes | None:
        """The oldest message, waiting that long for it (None: as long as it takes); None where none came."""
        if not self._messages and seconds != 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        return self.take()
