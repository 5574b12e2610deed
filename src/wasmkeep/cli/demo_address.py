"""Where the demonstration's two programs meet: a Unix socket, or a port of this computer. Nowhere else."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from wasmkeep.errors import HostUnreachable, SystemFailure, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Address", "dial", "listening", "parse"]

_BACKLOG = 16


class Address:
    """``path`` of a Unix socket, or ``host`` and ``port`` on loopback."""

    __slots__ = ("host", "path", "port")

    def __init__(self, *, path: str = "", host: str = "", port: int = 0) -> None:
        self.path = path
        self.host = host
        self.port = port

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        if self.path:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def of_socket(self) -> str | tuple[str, int]:
        return self.path or (self.host, self.port)


def parse(text: str) -> Address:
    """A path (anything with a slash in it, or after ``unix:``), else ``127.0.0.1:PORT``, ``[::1]:PORT``,
    ``localhost:PORT``. Raises UsageError."""
    path = text.removeprefix("unix:")
    if path != text or "/" in text:
        if not path or "\0" in path or len(os.fsencode(path)) > 107:
            raise _wrong(text, "a path of 1 to 107 bytes")
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    if not colon or not 0 <= number <= 0xFFFF:
        raise _wrong(text, "a path with a slash in it, or 127.0.0.1:PORT")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address("127.0.0.1" if bare == "localhost" else bare)
    except ValueError:
        raise _wrong(text, "an address of this computer, such as 127.0.0.1:PORT") from None
    if not address.is_loopback:
        raise _wrong(text, "loopback: the demonstration's programs run on one computer")
    return Address(host=str(address), port=number)


def _wrong(text: str, required: str) -> UsageError:
    return UsageError("usage.address", f"{text}: not an address to meet at", required=required)


@contextmanager
def listening(address: Address) -> Iterator[tuple[socket.socket, Address]]:
    """A listening socket, and its address with the port that it got. A Unix socket is this user's alone, and
    removed at the end. Raises SystemFailure."""
    listener = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        _bind(listener, address)
        try:
            port = 0 if address.path else listener.getsockname()[1]
            yield listener, Address(path=address.path, host=address.host, port=port)
        finally:
            if address.path:
                with suppress(FileNotFoundError):
                    os.unlink(address.path)
    finally:
        listener.close()


def _bind(listener: socket.socket, address: Address) -> None:
    mask = os.umask(0o177)
    try:
        if not address.path:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address.of_socket)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        raise SystemFailure(
            "demo.listen",
            f"nothing can listen at {address}",
            found=error.strerror or str(error),
            remedy="choose another address; a path must not be there yet",
        ) from error
    finally:
        os.umask(mask)


def dial(address: Address) -> socket.socket:
    """A connection to whoever listens there. Raises HostUnreachable."""
    connection = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connection.connect(address.of_socket)
    except OSError as error:
        connection.close()
        raise HostUnreachable(
            "demo.connect",
            f"nobody listens at {address}",
            found=error.strerror or str(error),
            remedy=f"start `wasmkeep demo sev --listen {address}` first",
        ) from error
    connection.setblocking(False)
    return connection
