"""The machine as a process: its socket, its connections, and an end that leaves nothing behind."""

from __future__ import annotations

import os
import selectors
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from wasmkeep.errors import SystemFailure
from wasmkeep.simulator.board import Board
from wasmkeep.simulator.connections import Connection, Watcher

MAX_CONNECTIONS = 2048
_BACKLOG = 256
_BREATH = 0.05  # seconds
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Server:
    """Accepts hosts of this user on a Unix socket, mode 0600."""

    def __init__(self, path: Path) -> None:
        """Raises `SystemFailure` where the socket cannot be made, or another machine has it."""
        self._path = path
        self._listener = _listen(path)
        self._connections: set[Connection] = set()
        self._lock = threading.Lock()

    def serve(self, board: Board, ends: Iterable[int]) -> None:
        """Until a descriptor of `ends` becomes readable or hangs up; then everything is destroyed."""
        watcher = Watcher()
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            for descriptor in ends:
                selector.register(descriptor, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if ready != {self._listener} and ready:
                    return
                if ready:
                    self._accept(board, watcher)

    def _accept(self, board: Board, watcher: Watcher) -> None:
        try:
            host, _ = self._listener.accept()
        except OSError:  # out of descriptors, or the host is gone again: those who are served go on
            time.sleep(_BREATH)
            return
        _, uid, _ = _PEER.unpack(host.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        with self._lock:
            if uid not in (os.geteuid(), 0) or len(self._connections) >= MAX_CONNECTIONS:
                host.close()
                return
            connection = Connection(host, board, watcher)
            self._connections.add(connection)
        try:
            threading.Thread(target=self._run, args=(connection,), name="host", daemon=True).start()
        except RuntimeError:  # out of threads
            self._connections.discard(connection)
            host.close()

    def _run(self, connection: Connection) -> None:
        try:
            connection.serve()
        finally:
            with self._lock:
                self._connections.discard(connection)

    def close(self) -> None:
        """Hang up on everyone, wait until every guest is destroyed, remove the socket."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.stop()
        for connection in connections:
            connection.finished.wait()


def _listen(path: Path) -> socket.socket:
    _clear_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SystemFailure(
            "simulator.socket",
            "the simulated machine cannot make its socket",
            found=f"{path}: {error.strerror or error}",
            required="a path of at most 107 bytes, in a folder you may write",
        ) from error
    finally:
        os.umask(mask)
    return listener


def _clear_stale(path: Path) -> None:
    """Remove a socket that a killed machine left; never anything else, and never a living one's."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise _taken(path, "something that is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise _taken(path, error.strerror or str(error)) from error
    raise _taken(path, "another machine listens there")


def _taken(path: Path, found: str) -> SystemFailure:
    return SystemFailure(
        "simulator.socket",
        "the simulated machine's socket path is taken",
        found=f"{path}: {found}",
        remedy="choose another --socket, or stop the machine that has it",
    )
