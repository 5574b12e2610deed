"""One thread a host connection: frames in, ioctls performed in order, replies out; hung up means destroyed.

A running guest is interrupted as soon as anything happens on its connection: a byte that arrives is the
signal that a kernel's KVM_RUN would end by, and a hang-up ends the guest. One watcher thread sees to that
for all.
"""

from __future__ import annotations

import errno
import select
import socket
import threading
from contextlib import suppress

from wasmkeep.hardware.frames import (
    REQUEST,
    FrameBuffer,
    FrameError,
    Reply,
    Request,
    decode_request,
    encode_reply,
)
from wasmkeep.simulator.board import Board, HostConnection
from wasmkeep.simulator.cpu import GuestCpu, Interrupted

_ARMED = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT


class Watcher:
    """Interrupts the runs of connections on which something happens."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._thread.start()

    def add(self, descriptor: int, connection: Connection) -> None:
        self._connections[descriptor] = connection
        self._epoll.register(descriptor, select.EPOLLONESHOT)

    def arm(self, descriptor: int) -> None:
        """Interrupt once when something happens, or has happened already."""
        self._epoll.modify(descriptor, _ARMED)

    def disarm(self, descriptor: int) -> None:
        """Let things happen: nothing runs that they could interrupt."""
        self._epoll.modify(descriptor, select.EPOLLONESHOT)

    def remove(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)
        del self._connections[descriptor]

    def _watch(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll():
                connection = self._connections.get(descriptor)
                if connection is not None:
                    connection.interrupt()


class Connection:
    """A thread for one host. `stop` ends it from outside, whatever its guest does."""

    def __init__(self, host: socket.socket, board: Board, watcher: Watcher) -> None:
        self._socket = host
        self._host = HostConnection(board)
        self._watcher = watcher
        self._frames = FrameBuffer(REQUEST.size)
        self._replies: list[bytes] = []
        self._descriptors: list[int] = []  # to go with them; the guest's own, not ours to close
        self._interrupting = threading.Lock()
        self._running: GuestCpu | None = None  # while the lock is held, it exists
        self.finished = threading.Event()

    def interrupt(self) -> None:
        with self._interrupting:
            if self._running is not None:
                self._running.interrupt()

    def stop(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        """Until the host hangs up; then its guest is destroyed."""
        descriptor = self._socket.fileno()
        self._watcher.add(descriptor, self)
        try:
            while self._receive():
                while (frame := self._frames.take()) is not None:
                    self._answer(decode_request(frame))
        except (FrameError, BrokenPipeError, ConnectionResetError):
            pass  # that host is gone, or talks nonsense: its guest ends, nobody else's
        finally:
            self._watcher.remove(descriptor)
            self._host.close()
            self._socket.close()
            self.finished.set()

    def _receive(self) -> bool:
        """More bytes; False at the end. Replies go out when there is nothing more to perform."""
        space = self._frames.space()
        try:
            count = self._socket.recv_into(space, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._flush()
            count = self._socket.recv_into(space)
        self._frames.received(count)
        if not count:
            self._flush()  # a host may have stopped sending and still listen
        return count > 0

    def _answer(self, request: Request) -> None:
        if self._host.is_run(request):
            self._flush()
            self._replies.append(encode_reply(self._run(request)))
            return
        reply, descriptor = self._host.perform(request)
        self._replies.append(encode_reply(reply))
        if descriptor is not None:
            self._descriptors.append(descriptor)

    def _flush(self) -> None:
        """Send the replies so far, in one go: each wakes the host, which costs more than most calls."""
        if not self._replies:
            return
        data = memoryview(b"".join(self._replies))
        self._replies.clear()
        if self._descriptors:
            sent = socket.send_fds(self._socket, [data], self._descriptors)
            self._descriptors.clear()
            data = data[sent:]
        self._socket.sendall(data)

    def _run(self, request: Request) -> Reply:
        """Run the guest until it exits or its host wants something else (EINTR)."""
        with self._interrupting:
            self._running = self._host.cpu
        try:
            while True:
                if self._frames:
                    return Reply(-errno.EINTR)
                self._watcher.arm(self._socket.fileno())
                with suppress(Interrupted):
                    return self._host.run(request)
                if self._pending():
                    return Reply(-errno.EINTR)
        finally:
            self._watcher.disarm(self._socket.fileno())
            with self._interrupting:
                self._running = None

    def _pending(self) -> bool:
        """Whether bytes, or the end of them, are waiting."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True
