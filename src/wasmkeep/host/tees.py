"""The kinds of TEE that this host serves: what it says of each, and how many key slots are left.

A chip has two ranges of key slots: SEV-ES and SNP guests share one, plain SEV guests have the other (SEV API
0.24, AMD 55766, ACTIVATE).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from wasmkeep.errors import WasmkeepError
from wasmkeep.host.keeps import Keeps
from wasmkeep.host.machine import Platform, PlatformStatus, Tee
from wasmkeep.host.replies import Refused

__all__ = ["Tees", "no_machine"]

_STATUS_SECONDS = 5.0
"""How old the platform's status may be that a new keep's answer quotes."""
MACHINE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _SevVersion:
    api: str
    build: int


class Tees:
    """The tees of one machine, in the order in which they are offered."""

    def __init__(self, platform: Platform, tees: Sequence[Tee], keeps: Keeps) -> None:
        self._platform = platform
        self._tees = {tee.kind: tee for tee in tees}
        self._keeps = keeps
        self._status_known: tuple[PlatformStatus, float] | None = None

    def require(self, kind: str) -> Tee:
        """The tee of this kind. Raises ``Refused`` where the host does not serve it."""
        tee = self._tees.get(kind)
        if tee is None:
            found, required = kind, " or ".join(self._tees)
            raise Refused(422, "tee", "the host has no such TEE", found=found, required=required)
        return tee

    @property
    def slots(self) -> int:
        """Key slots that keeps of any kind can have at once."""
        shared = [tee.slots for tee in self._tees.values() if tee.kind != "sev"]
        plain = [tee.slots for tee in self._tees.values() if tee.kind == "sev"]
        return max(shared, default=0) + sum(plain)

    @property
    def pre_attested(self) -> bool:
        """Whether a kind is served whose tenants need the platform's certificates before the launch."""
        return any(kind != "snp" for kind in self._tees)

    async def described(self) -> list[dict[str, object]]:
        """What ``/v1/platform`` says of each. Raises ``Refused`` where the machine does not answer."""
        guests = 0
        described: list[dict[str, object]] = []
        if "snp" in self._tees:
            status = await self._status(max_age=0)
            guests = max(0, status.guest_count - self._platform.begun)
        for tee in self._tees.values():
            used = self._used(tee.kind, guests)
            described.append(
                {**self._common(tee), "slots_used": min(used, tee.slots), **await self._own(tee)}
            )
        return described

    async def of_new_keep(self, kind: str) -> dict[str, object]:
        """The part of a new keep's answer that is about the machine. Raises ``Refused``."""
        machine = self._platform.description
        facts: dict[str, object] = {"product": machine.product, "chip_id": machine.chip_id}
        if kind == "snp":
            status = await self._status(max_age=_STATUS_SECONDS)
            facts["reported_tcb"] = f"{status.reported_tcb:016x}"
        return facts

    def _common(self, tee: Tee) -> dict[str, object]:
        machine = self._platform.description
        return {
            "kind": tee.kind,
            "product": machine.product,
            "simulated": bool(machine.root_sha256),
            "root": f"sha256:{machine.root_sha256}" if machine.root_sha256 else None,
            "cpu": machine.cpu,
            "cpu_reason": machine.cpu_reason,
            "slots": tee.slots,
            "chip_id": machine.chip_id,
        }

    def _used(self, kind: str, snp_guests: int) -> int:
        """Slots in use of the range that this kind takes from, as far as this host knows."""
        if kind == "sev":
            return self._keeps.holding("sev")
        return snp_guests + self._keeps.holding("sev-es")

    async def _own(self, tee: Tee) -> dict[str, object]:
        if tee.kind == "snp":
            return {"reported_tcb": f"{(await self._status(max_age=_STATUS_SECONDS)).reported_tcb:016x}"}
        version = await self._sev_version()
        return {"api": version.api, "build": version.build}

    async def _sev_version(self) -> _SevVersion:
        try:
            async with asyncio.timeout(MACHINE_SECONDS):
                status = await self._platform.sev_status()
        except (WasmkeepError, OSError):
            raise no_machine() from None
        return _SevVersion(f"{status.api_major}.{status.api_minor}", status.build)

    async def _status(self, *, max_age: float) -> PlatformStatus:
        """The SNP platform's status, at most ``max_age`` seconds old."""
        if self._status_known is not None and time.monotonic() - self._status_known[1] < max_age:
            return self._status_known[0]
        try:
            async with asyncio.timeout(MACHINE_SECONDS):
                status = await self._platform.status()
        except (WasmkeepError, OSError):
            raise no_machine() from None
        self._status_known = (status, time.monotonic())
        return status


def no_machine() -> Refused:
    return Refused(503, "machine", "the machine does not answer")
