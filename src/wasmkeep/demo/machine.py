"""What the server needs of a machine: SEV's commands as a host has them, simulated or real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = ["BareGuest", "GuestExit", "Machine", "SevVersion", "Vouchers", "What"]


class What(StrEnum):
    """Why a bare guest came out."""

    OUTPUT = "output"
    """It wrote a value to a port."""
    HALTED = "halted"
    CRASHED = "crashed"
    """A triple fault, or an exit that nobody serves."""


@dataclass(frozen=True, slots=True)
class GuestExit:
    """``port`` and ``value`` are of an output."""

    what: What
    port: int = 0
    value: bytes = b""


class SevVersion(Protocol):
    """What PLATFORM_STATUS says of the firmware."""

    @property
    def api_major(self) -> int: ...
    @property
    def api_minor(self) -> int: ...
    @property
    def build(self) -> int: ...


class BareGuest(Protocol):
    """A guest of nothing but memory and one vCPU in real mode. Refusals are the driver's errors."""

    async def launch_start(self, policy: int, owner: bytes, session: bytes) -> None: ...

    async def launch_update_data(self, gpa: int, data: bytes) -> None: ...

    async def launch_measure(self) -> bytes:
        """MEASURE[32] ‖ MNONCE[16]."""
        ...

    async def launch_secret(self, header: bytes, gpa: int, data: bytes) -> None: ...

    async def launch_finish(self) -> None: ...

    async def run(self) -> GuestExit:
        """Until the next exit. At the first run the vCPU begins at the given address."""
        ...

    async def look(self, view: str, gpa: int, size: int) -> bytes:
        """What somebody other than the guest reads: ``hypervisor``, ``device`` or ``cold boot``."""
        ...

    async def registers(self) -> Mapping[str, int]:
        """What the hypervisor sees of the vCPU's registers at an exit."""
        ...

    async def close(self) -> None:
        """Destroy it, at any time."""
        ...


class Machine(Protocol):
    """A host with a secure processor."""

    async def sev_version(self) -> SevVersion: ...

    async def pdh_cert_export(self) -> tuple[bytes, bytes]:
        """PDH, and PEK ‖ OCA ‖ CEK (the CEK without AMD's signature)."""
        ...

    async def create(self, memory: int, entry: int) -> BareGuest:
        """An empty guest whose vCPU will begin at ``entry``."""
        ...


@dataclass(frozen=True, slots=True)
class Vouchers:
    """What AMD publishes: the chip's CEK with its signature, and ASK and ARK. The server passes them on."""

    cek: bytes
    ask: bytes
    ark: bytes
