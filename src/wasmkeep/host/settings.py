"""What an operator sets: where to listen, and how much of everything one tenant may have."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from wasmkeep.errors import ConfigurationError

__all__ = ["DEFAULT_PORT", "MEMORY_STEP", "MIN_KEEP_MEMORY", "Limits", "Listen"]

DEFAULT_PORT = 7433
MIN_KEEP_MEMORY = 32 * 1024 * 1024
"""Least memory of a keep, bytes."""
MEMORY_STEP = 2 * 1024 * 1024
"""A keep's memory is a multiple of this, bytes."""


def _installed_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit on what tenants and their keeps may use. Sizes are bytes, times seconds."""

    keeps: int = 256
    """Keeps at once."""
    keeps_per_token: int = 64
    """Keeps at once of one token: below ``keeps``, so that one tenant alone cannot turn the others away."""
    keep_memory: int = 4 * 1024**3
    """Most memory of one keep."""
    total_memory: int = field(default_factory=_installed_memory)
    """Memory of all keeps together, as if each used all it was given."""
    boot_seconds: float = 20.0
    """From the request to the keep's first message."""
    connect_seconds: float = 30.0
    """How long a keep waits for its tenant to connect."""
    launch_seconds: float = 20.0
    """How long a tenant may take for each of its messages of a SEV or SEV-ES launch."""
    idle_seconds: float = 600.0
    """How long a keep waits for a message of its tenant's."""
    stall_seconds: float = 60.0
    """How long a tenant may take to accept a message of the keep's."""
    compute_seconds: float = 3600.0
    """How long a keep may run without any exit to its host."""
    lifetime_seconds: float = 86400.0
    """How long a keep may live."""
    guest_messages: int = 64
    """Requests of one keep to the secure processor, over its life."""
    connections: int = 1024
    """TCP connections at once."""
    requests: int = 64
    """HTTP requests being answered at once."""
    request_bytes: int = 4096
    """Body of an HTTP request."""
    header_bytes: int = 16384
    """Request line and headers of an HTTP request."""
    request_seconds: float = 10.0
    """From the first byte of a connection, or of a request on it, to the request's end."""

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if getattr(self, name) <= 0:
                raise ConfigurationError(
                    "host.limits", f"the limit {name} must be above zero", found=str(getattr(self, name))
                )
        if self.keep_memory < MIN_KEEP_MEMORY:
            raise ConfigurationError(
                "host.limits",
                "the limit keep_memory is below what any keep needs",
                found=f"{self.keep_memory} bytes",
                required=f"at least {MIN_KEEP_MEMORY} bytes",
            )


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the daemon listens.

    ``address`` is an IP address or ``localhost``; ``port`` 0 takes a free one. Elsewhere than on loopback a
    certificate and its key (PEM) are required. ``names`` are further names by which tenants may call the
    host; those in the certificate count already.
    """

    address: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    tls_cert: Path | None = None
    tls_key: Path | None = None
    names: tuple[str, ...] = ()
