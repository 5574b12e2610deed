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
    "SevLaunch",
    "SevStatus",
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
    async def guest_request(self, request_gpa: int, response_gpa: int) -> int: ...
    async def close(self) -> None: ...


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


class SevLaunch(Protocol):
    """A guest of SEV or SEV-ES between LAUNCH_START and LAUNCH_FINISH. ``close`` destroys it at any time."""

    async def update_data(self, gpa: int, data: bytes) -> None:
        """LAUNCH_UPDATE_DATA: measured and encrypted in place."""
        ...

    async def update_vmsa(self, vmsa: bytes) -> None:
        """LAUNCH_UPDATE_VMSA, SEV-ES: the one vCPU's initial state, 4096 bytes, measured and encrypted."""
        ...

    async def set_vcpu(self, vmsa: bytes) -> None:
        """Plain SEV: the one vCPU's registers, from a page laid out as a VMSA. Nothing measures them."""
        ...

    async def measure(self) -> bytes:
        """LAUNCH_MEASURE: MEASURE of 32 bytes and MNONCE of 16."""
        ...

    async def secret(self, header: bytes, gpa: int, data: bytes) -> None:
        """LAUNCH_SECRET: a packet's header of 52 bytes and its data, decrypted to ``gpa``."""
        ...

    async def finish(self) -> Guest:
        """LAUNCH_FINISH: the guest, which is not running yet."""
        ...

    async def close(self) -> None: ...


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
    ) -> Guest:
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
        self, kind: str, memory: int, policy: int, owner_certificate: bytes, session: bytes
    ) -> SevLaunch:
        """A guest of ``kind`` ``sev`` or ``sev-es``, up to LAUNCH_START: from now on it has a key slot.

        ``owner_certificate`` is 2084 bytes, ``session`` 128; ``policy`` the u32 that the session vouches for.
        """
        ...

    @property
    def begun(self) -> int:
        """How many guests `begin_next` began that no tenant has yet; ``status`` counts them."""
        ...

    def begin_next(self) -> None:
        """Begin, without waiting, a launch like the last one, up to what its tenant will say."""
        ...
