"""The hardware as the host uses it: what ``wasmkeep.hardware`` provides, in types.

The host needs nothing else of a machine, so tests give it a scripted one. Whatever a machine refuses, and a
machine that is gone, is a ``WasmkeepError``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

__all__ = ["Exit", "Guest", "MachineDescription", "Platform", "PlatformStatus", "Region"]


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

    ``product`` is ``milan``, ``genoa`` or ``turin``; ``root_sha256`` the digest of a simulated root's SPKI
    in hexadecimal, empty where the processor is AMD's own; ``cpu`` is ``kvm`` or ``process`` and
    ``cpu_reason`` says why; ``slots`` is how many guests can have a key at once; ``chip_id`` is 64 bytes in
    hexadecimal.
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

    @property
    def begun(self) -> int:
        """How many guests `begin_next` began that no tenant has yet; ``status`` counts them."""
        ...

    def begin_next(self) -> None:
        """Begin, without waiting, a launch like the last one, up to what its tenant will say."""
        ...
