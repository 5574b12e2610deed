"""One connection to the simulated machine: calls go out as frames, replies come back in order (asyncio).

A raw non-blocking socket with one reader callback, because a keep's start is a handful of round trips and
streams would cost more than the machine. Calls may be sent ahead of their replies; the machine performs
them in order.
"""

from __future__ import annotations

import array
import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware.calls import Call, Result
from wasmkeep.hardware.frames import (
    REPLY,
    Frame,
    FrameBuffer,
    FrameError,
    decode_reply,
    encode_call,
    result_memory,
)

_SEND_BUFFER = 1 << 20  # bytes: a whole launch in one system call
_IOV_MAX = 512  # buffers of one sendmsg; the kernel's own limit is 1024
_ANCILLARY = socket.CMSG_SPACE(array.array("i", [0]).itemsize)


class MachineGone(PlatformUnavailable):
    """The simulated machine closed the connection, or was never there."""

    def __init__(self, found: str) -> None:
        super().__init__(
            "platform.machine",
            "the simulated machine is not there",
            found=found,
            remedy="start it again (`wasmkeep host serve --simulated snp` does)",
        )


class Answer(NamedTuple):
    """A call's result; `descriptor` is one the machine passed along, owned by the receiver."""

    call: Call
    result: Result
    descriptor: int | None


def connect(path: str) -> socket.socket:
    """A non-blocking connection to the machine's socket. Raises `MachineGone`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise MachineGone(f"{path}: {error.strerror or error}") from error
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    return connection


class Connection:
    """`submit` calls, await their answers; `close` ends all that the connection owns on the machine."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._incoming = FrameBuffer(REPLY.size)
        self._outgoing = bytearray()
        self._descriptors: deque[int] = deque()
        self._waiting: deque[tuple[Call, asyncio.Future[Answer]]] = deque()
        self._ended = self._loop.create_future()
        self._loop.add_reader(connection.fileno(), self._readable)

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def submit(self, frames: Sequence[Frame]) -> list[asyncio.Future[Answer]]:
        """Send calls in one go. Raises `MachineGone` when the connection has ended."""
        if self.closed:
            raise MachineGone("the connection has ended")
        buffers = [buffer for frame in frames for buffer in frame.buffers]
        if not self._outgoing and len(buffers) <= _IOV_MAX:
            self._send_now(buffers)
        else:
            self._outgoing += b"".join(buffers)
            self._loop.add_writer(self._socket.fileno(), self._writable)
        futures = []
        for frame in frames:
            future: asyncio.Future[Answer] = self._loop.create_future()
            self._waiting.append((frame.call, future))
            futures.append(future)
        return futures

    async def call(self, call: Call) -> Answer:
        """Send one call and wait for its answer."""
        return await self.submit([encode_call(call)])[0]

    def _send_now(self, buffers: list[bytes]) -> None:
        try:
            sent = self._socket.sendmsg(buffers)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(MachineGone(os.strerror(error.errno or errno.EPIPE)))
            raise MachineGone(os.strerror(error.errno or errno.EPIPE)) from error
        if sent < sum(map(len, buffers)):
            self._outgoing += b"".join(buffers)[sent:]
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._outgoing)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(MachineGone(os.strerror(error.errno or errno.EPIPE)))
            return
        del self._outgoing[:sent]
        if not self._outgoing:
            self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        try:
            space = self._incoming.space()
            count, ancillary, _, _ = self._socket.recvmsg_into([space], _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except (OSError, FrameError) as error:
            self._fail(MachineGone(str(error)))
            return
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._descriptors.extend(array.array("i", content))
        if not count:
            self._fail(MachineGone("it closed the connection"))
            return
        self._incoming.received(count)
        try:
            while (frame := self._incoming.take()) is not None:
                self._answer(frame)
        except (FrameError, IndexError) as error:
            self._fail(MachineGone(f"it answered something that is no reply: {error}"))

    def _answer(self, frame: memoryview) -> None:
        reply = decode_reply(frame)
        call, future = self._waiting.popleft()
        descriptor = self._descriptors.popleft() if reply.descriptors else None
        answer = Answer(call, Result(reply.value, result_memory(call, reply)), descriptor)
        if not future.done():
            future.set_result(answer)
        elif descriptor is not None:  # nobody waits any more
            os.close(descriptor)

    def _fail(self, error: MachineGone) -> None:
        """The connection has ended: everyone who waits is told."""
        if self._ended.done():
            return
        self._ended.set_result(None)
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever waits hears of it; who does not is not complained about
        self._waiting.clear()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    async def close(self) -> None:
        """Hang up and wait until the machine has destroyed what the connection owned."""
        if self.closed:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
            # Whoever is cancelled here must not take the end for what has happened: `abandon` still closes.
            await asyncio.shield(self._ended)
        except OSError:  # the machine is gone already
            pass
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Hang up without waiting. The machine still destroys everything, a little later."""
        self._fail(MachineGone("the connection was closed"))
