"""What a tenant asks for: one value that says everything about a deployment before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wasmkeep.evidence.policy import Policy

__all__ = ["DeliveredDirectory", "DeploymentRequest", "OtherHost"]


@dataclass(frozen=True, slots=True)
class DeliveredDirectory:
    """A local tree that goes into the keep under ``/guest``; ``writable`` is a private copy, gone at exit."""

    local: Path
    guest: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class OtherHost:
    """A host to go to where those before it have no place for a keep; as in ``DeploymentRequest``."""

    host: str
    token: str = field(default="", repr=False)
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class DeploymentRequest:
    """A program, what it is given, where it runs, and what the tenant requires of that place.

    ``program`` is a ``.wasm`` or ``.wat`` file, or a directory holding ``main.wasm`` and ``Keep.toml``;
    ``configuration`` names another ``Keep.toml``. ``arguments`` of None leaves the configuration's; a tuple
    replaces them (the program's name is not among them). ``environment`` and ``directories`` are added to the
    configuration's and win over it. ``timeout`` is seconds for the whole deployment, None for no limit; each
    wait for the host before the program starts is bounded whatever it says. ``ca_file`` names certificates
    (PEM) to accept for the host's TLS instead of the system's; TLS protects the token, never the keep.
    ``other_hosts`` are tried in order where ``host`` has no place for a keep: before evidence, never after.
    """

    program: Path
    host: str
    policy: Policy
    token: str = field(default="", repr=False)
    configuration: Path | None = None
    arguments: tuple[str, ...] | None = None
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    directories: tuple[DeliveredDirectory, ...] = ()
    memory: int | None = None
    timeout: float | None = None
    ca_file: Path | None = None
    other_hosts: tuple[OtherHost, ...] = ()
