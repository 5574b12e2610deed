"""Where a host may listen, and the socket and TLS it listens with. Fails closed: no TLS, no strangers."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from wasmkeep.errors import InputError, SystemFailure, UsageError
from wasmkeep.host.gate import LOOPBACK_NAMES
from wasmkeep.host.settings import Listen

__all__ = ["BACKLOG", "Listener", "open_listener"]

BACKLOG = 512
"""Connections that wait to be accepted."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket. ``names`` are the host names by which it may be called."""

    socket: socket.socket
    tls: ssl.SSLContext | None
    url: str
    port: int
    loopback: bool
    names: frozenset[str]


def open_listener(listen: Listen, *, stall_seconds: float) -> Listener:
    """Bind as ``listen`` says. A peer that takes nothing of what it is sent for ``stall_seconds`` is cut off.

    Raises ``UsageError`` for an address elsewhere without TLS, ``InputError`` for a certificate or key that
    cannot be used, ``SystemFailure`` where the port is taken or not allowed.
    """
    address = _parse_address(listen.address)
    tls = _open_tls(listen)
    if tls is None and not address.is_loopback:
        raise UsageError(
            "host.listen.tls",
            f"the host does not listen on {address} without TLS",
            found="no certificate",
            required="--tls-cert FILE and --tls-key FILE, or an address of loopback",
            meaning="tokens would cross the network in clear",
        )
    names = set(listen.names)
    names |= LOOPBACK_NAMES if address.is_loopback else set()
    if not address.is_loopback and not address.is_unspecified:
        names.add(str(address))
    if listen.tls_cert is not None:
        names |= _certificate_names(listen.tls_cert)
    bound = _bind(address, listen.port, stall_seconds)
    port = bound.getsockname()[1]
    shown = f"[{address}]" if address.version == 6 else str(address)
    url = f"{'http' if tls is None else 'https'}://{shown}:{port}"
    return Listener(bound, tls, url, port, address.is_loopback, frozenset(names))


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if text == "localhost" else text)
    except ValueError:
        raise UsageError(
            "host.listen.address",
            "that is not an address to listen on",
            found=repr(text[:64]),
            required="an IP address such as 127.0.0.1, ::1 or 0.0.0.0",
        ) from None


def _bind(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, stall_seconds: float
) -> socket.socket:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # The protocol is named, because asyncio turns Nagle's algorithm off only where it knows that this is TCP.
    bound = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # tcp(7); connections inherit it. Without it a peer that never reads holds its connection for ever.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _milliseconds(stall_seconds))
        bound.bind((str(address), port))
        # Now, so that a port taken by somebody who listens is found here.
        bound.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        bound.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise SystemFailure(
            "host.listen.port",
            f"the host cannot listen on {address}, port {port}",
            found="the port is taken" if taken else (getattr(error, "strerror", None) or "not a port"),
            remedy="stop what listens there, or choose another port with --listen ADDRESS:PORT",
        ) from error
    bound.setblocking(False)
    return bound


def _open_tls(listen: Listen) -> ssl.SSLContext | None:
    if listen.tls_cert is None and listen.tls_key is None:
        return None
    if listen.tls_cert is None or listen.tls_key is None:
        raise UsageError(
            "host.listen.tls", "TLS needs a certificate and its key", required="--tls-cert and --tls-key"
        )
    _check_key_mode(listen.tls_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        # An encrypted key fails here, where OpenSSL would ask the terminal.
        context.load_cert_chain(listen.tls_cert, listen.tls_key, password=lambda: "")
    except OSError as error:
        raise InputError(
            "host.tls",
            "certificate or key cannot be used",
            found=getattr(error, "reason", None) or error.strerror or type(error).__name__,
            required=f"a PEM chain in {listen.tls_cert} and its unencrypted PEM key in {listen.tls_key}",
        ) from error
    return context


def _check_key_mode(key: Path) -> None:
    try:
        mode = os.stat(key).st_mode
    except OSError as error:
        raise InputError("host.tls", f"{key} cannot be read", found=error.strerror or "") from error
    if mode & stat.S_IRWXO:
        raise InputError(
            "host.tls.key_mode",
            "everybody on this computer can use the key",
            found=f"{key}, mode {stat.S_IMODE(mode):04o}",
            required="a key that only its owner and group may read",
            remedy=f"chmod 600 {key}",
        )


def _certificate_names(path: Path) -> set[str]:
    """The names a certificate speaks for (RFC 5280, subject alternative name), without wildcards."""
    try:
        leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    except (OSError, ValueError) as error:
        raise InputError(
            "host.tls", f"the certificate {path} cannot be read", found=str(error)[:80]
        ) from error
    found = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    return found | {str(address) for address in names.get_values_for_type(x509.IPAddress)}


def _milliseconds(seconds: float) -> int:
    """As the kernel takes a time: at least 1, and what an int of 32 bits holds."""
    return max(1, min(int(seconds * 1000), 0x7FFF_FFFF))
