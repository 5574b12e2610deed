"""A program's standard streams on the tenant's side: where input comes from and output goes.

``Input`` is read only when the program asks. ``FileInput`` serves pipes, terminals, sockets and regular
files without a thread that could outlive the deployment.
"""

from __future__ import annotations

import asyncio
import os
import select
from typing import Protocol

from wasmkeep.errors import OutputError


class Input(Protocol):
    """Where standard input comes from."""

    async def read(self, limit: int) -> bytes:
        """1 to ``limit`` bytes as soon as there are any; none at the end, then always none."""


class Output(Protocol):
    """Where output goes."""

    async def write(self, data: bytes) -> None:
        """All of ``data``, however long its reader takes. Raises OutputError where it cannot be written."""


class BytesInput:
    """Input that is already there."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, limit: int) -> bytes:
        part, self._data = self._data[:limit], self._data[limit:]
        return part


class FileInput:
    """Input from a file descriptor, which stays the caller's."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ended = False

    async def read(self, limit: int) -> bytes:
        if self._ended:
            return b""
        await self._readable()
        try:
            data = os.read(self._descriptor, limit)
        except OSError:
            # A closed or unreadable standard input is one at its end, as for any local command.
            data = b""
        self._ended = not data
        return data

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        try:
            loop.add_reader(self._descriptor, _wake, ready)
        except (PermissionError, OSError, ValueError):
            return  # a regular file cannot be watched, and never makes its reader wait
        try:
            await ready
        finally:
            loop.remove_reader(self._descriptor)


class BytesOutput:
    """Output kept in memory."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self._parts.append(data)

    def getvalue(self) -> bytes:
        return b"".join(self._parts)


class NoOutput:
    """Output thrown away."""

    async def write(self, data: bytes) -> None:
        pass


class FileOutput:
    """Output to a file descriptor, which stays the caller's. A reader that pauses holds up nothing else."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                if not self._has_room():
                    await self._room()
                # A pipe that has room takes this much without blocking (POSIX, PIPE_BUF).
                view = view[os.write(self._descriptor, view[: select.PIPE_BUF]) :]
            except BlockingIOError:
                await self._room()
            except OSError as error:
                raise OutputError(
                    "output.write",
                    f"the program's {self._name} cannot be written",
                    found=error.strerror or type(error).__name__,
                    meaning="the keep was ended",
                ) from None

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    async def _room(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_writer(self._descriptor, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_writer(self._descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
