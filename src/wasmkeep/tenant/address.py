"""Addresses of hosts: TLS, or plain HTTP on this computer."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from wasmkeep.errors import ConfigurationError, HostUnreachable

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this computer, which plain HTTP may reach."""


@dataclass(frozen=True, slots=True)
class HostAddress:
    """Where a host listens. ``secure`` is TLS."""

    url: str
    hostname: str
    port: int
    secure: bool

    @classmethod
    def parse(cls, url: str) -> HostAddress:
        """Raises ConfigurationError unless ``url`` is https, or http to a loopback address."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), -1
        plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # a password stays out of messages
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.username:
            raise ConfigurationError(
                "host.address", "the host's address is not one", found=plain, required="https://NAME[:PORT]"
            )
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ConfigurationError(
                "host.address", "the host's address has a path", found=parts.path or "?", required="none"
            )
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise ConfigurationError(
                "host.plaintext",
                "a host elsewhere is reached over TLS only",
                found=plain,
                required="https://, or http:// to 127.0.0.1, ::1 or localhost",
                meaning="the token would cross the network in clear",
            )
        secure = parts.scheme == "https"
        return cls(plain, parts.hostname, port or (443 if secure else 80), secure)

    def unreachable(self, found: str) -> HostUnreachable:
        """The error that no connection could be made, because of ``found``."""
        return HostUnreachable(
            "host.unreachable",
            f"the host {self.url} cannot be reached",
            found=found,
            remedy="is `wasmkeep host serve` running there?",
        )
