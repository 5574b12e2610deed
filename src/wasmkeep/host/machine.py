"""The hardware as the host uses it: what ``wasmkeep.hardware`` provides, in types.

The host needs nothing else of a machine, so tests give it a scripted one. Whatever a machine refuses, and a
machine that is gone, is a ``WasmkeepError``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

__all__ = [
    "Exit",
    "Guest",
    "MachineDescription",
    "Platform",
    "PlatformStatus",
    "Region",
    "SevGuest",
    "SevStatus",
    "SnpGuest",
    "Tee",
]


@dataclass(frozen=True, slots=True)
class Tee:
    """A kind of TEE that is served (``snp``, ``sev-es``, ``sev``), and how many guests of it have a key."""

    kind: str
    slots: int


class Region(Protocol):
    """A piece of a guest's initial memory. ``data`` is empty for page types without contents."""

    @property
    def gpa(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def page_type(self) -> int: ...
    @property
    def data(self) -> bytes: ...


class Exit(Protocol):
    """Why a guest stopped: ``kind`` is ``vmgexit``, ``shutdown`` or ``ended``; ``rip`` where, if it shows."""

    @property
    def kind(self) -> str: ...
    @property
    def rip(self) -> int | None: ...


class Guest(Protocol):
    """One launched guest. Every call may be cancelled; ``close`` destroys it at any time, running or not."""

    @property
    def window(self) -> memoryview:
        """The shared window, 1 MiB."""
        ...

    async def run(self) -> Exit: ...
    async def close(self) -> None: ...


class SnpGuest(Guest, Protocol):
    """A guest that may ask the secure processor: both addresses are pages of the window."""

    async def guest_request(self, request_gpa: int, response_gpa: int) -> int: ...


class MachineDescription(Protocol):
    """What does not change while a machine is up.

    ``product`` is ``naples``, ``rome``, ``milan``, ``genoa`` or ``turin``; ``root_sha256`` the digest of a
    simulated root's SPKI in hexadecimal, empty where the processor is AMD's own; ``cpu`` is ``kvm`` or
    ``process`` and ``cpu_reason`` says why; ``slots`` is how many SNP guests can have a key at once;
    ``chip_id`` is 64 bytes in hexadecimal.
    """

    @property
    def product(self) -> str: ...
    @property
    def root_sha256(self) -> str: ...
    @property
    def cpu(self) -> str: ...
    @property
    def cpu_reason(self) -> str: ...
    @property
    def slots(self) -> int: ...
    @property
    def chip_id(self) -> str: ...


class PlatformStatus(Protocol):
    """The part of SNP_PLATFORM_STATUS (SEV-SNP firmware ABI 56860, section 8.3) that the host shows."""

    @property
    def guest_count(self) -> int: ...
    @property
    def reported_tcb(self) -> int: ...


class SevStatus(Protocol):
    """The part of PLATFORM_STATUS (SEV API 0.24, AMD 55766, section 5.6) that the host shows and sends."""

    @property
    def api_major(self) -> int: ...
    @property
    def api_minor(self) -> int: ...
    @property
    def build(self) -> int: ...


class SevGuest(Guest, Protocol):
    """A guest of SEV or SEV-ES, launched up to LAUNCH_MEASURE.

    ``measurement`` is what that gave: MEASURE of 32 bytes and MNONCE of 16.
    """

    @property
    def measurement(self) -> bytes: ...

    async def inject(self, header: bytes, data: bytes, gpa: int) -> None:
        """LAUNCH_SECRET: a packet's header of 52 bytes and its data, decrypted to ``gpa``."""
        ...

    async def finish(self) -> None:
        """LAUNCH_FINISH. What it is refused for may be raised by the first ``run``."""
        ...


class Platform(Protocol):
    """One machine with an AMD secure processor."""

    @property
    def description(self) -> MachineDescription: ...
    async def status(self) -> PlatformStatus: ...
    async def launch(
        self,
        memory: int,
        regions: Iterable[Region],
        vmsa: bytes,
        *,
        policy: int,
        host_data: bytes,
        id_block: bytes | None = None,
        id_auth: bytes | None = None,
        guest_requests: int = 0,
    ) -> SnpGuest:
        """A guest of ``memory`` bytes, launched as far as it can be without running.

        Its first ``guest_requests`` to the secure processor are passed on without an exit.
        What LAUNCH_FINISH is refused for may be raised by the guest's first ``run``.
        """
        ...

    async def sev_status(self) -> SevStatus: ...

    async def pdh_cert_export(self) -> tuple[bytes, bytes]:
        """PDH of 2084 bytes, and PEK, OCA and unsigned CEK one after the other."""
        ...

    async def get_id(self) -> bytes:
        """The chip's id, 64 bytes."""
        ...

    async def launch_sev(
        self,
        kind: str,
        memory: int,
        regions: Iterable[Region],
        vmsa: bytes,
        *,
        policy: int,
        owner_certificate: bytes,
        session: bytes,
    ) -> SevGuest:
        """A guest of ``kind`` ``sev`` or ``sev-es``, launched with a key slot and measured.

        ``owner_certificate`` is 2084 bytes, ``session`` 128; ``policy`` the u32 that the session vouches for.
        The regions are measured in their order; then ``vmsa``, but for plain SEV, whose vCPU it only sets.
        """
        ...

    @property
    def begun(self) -> int:
        """How many guests `begin_next` began that no tenant has yet; ``status`` counts them."""
        ...

    def begin_next(self) -> None:
        """Begin, without waiting, a launch like the last one, up to what its tenant will say."""
        ...
