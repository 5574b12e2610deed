"""The server's machine by the drivers of `wasmkeep.hardware`: the simulated one, or this computer's."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from wasmkeep.demo.machine import GuestExit, SevVersion, What
from wasmkeep.hardware.machine_calls import View
from wasmkeep.hardware.machine_guest import Exit, ExitKind
from wasmkeep.hardware.psp_sev_calls import SevPlatformStatus
from wasmkeep.hardware.sev_guest_commands import Registers
from wasmkeep.hardware.sev_guest_vm import SevGuest

__all__ = ["AheadGuest", "DrivenGuest", "DrivenMachine", "DriverGuest", "DriverPlatform"]

_VIEWS: Final = {"hypervisor": View.HYPERVISOR, "device": View.DEVICE, "cold boot": View.COLD_BOOT}
_EXPORT_SECONDS: Final = 5.0
_SHOWN: Final = ("rip", "rax", "rdx")


class DriverGuest(Protocol):
    """What `SevGuest` and `BareVm` have in common."""

    async def launch_start(
        self, policy: int, owner_certificate: bytes = ..., session: bytes = ...
    ) -> int: ...
    async def launch_update_data(self, gpa: int, data: bytes) -> None: ...
    async def launch_measure(self) -> bytes: ...
    async def launch_secret(self, header: bytes, gpa: int, data: bytes) -> None: ...
    async def launch_finish(self) -> None: ...
    async def run(self) -> Exit: ...
    async def host_read(self, gpa: int, size: int, view: View = ...) -> bytes: ...
    async def registers(self) -> Registers: ...
    async def close(self) -> None: ...


class DriverPlatform(Protocol):
    """What a SEV platform's driver has, as far as it is needed."""

    async def sev_status(self) -> SevPlatformStatus: ...
    async def pdh_cert_export(self) -> tuple[bytes, bytes]: ...


class DrivenGuest:
    """A `BareGuest` of the demonstration."""

    def __init__(self, guest: DriverGuest) -> None:
        self._guest = guest

    async def launch_start(self, policy: int, owner: bytes, session: bytes) -> None:
        await self._guest.launch_start(policy, owner, session)

    async def launch_update_data(self, gpa: int, data: bytes) -> None:
        await self._guest.launch_update_data(gpa, data)

    async def launch_measure(self) -> bytes:
        return await self._guest.launch_measure()

    async def launch_secret(self, header: bytes, gpa: int, data: bytes) -> None:
        await self._guest.launch_secret(header, gpa, data)

    async def launch_finish(self) -> None:
        await self._guest.launch_finish()

    async def run(self) -> GuestExit:
        out = await self._guest.run()
        if out.kind is ExitKind.OUTPUT:
            return GuestExit(What.OUTPUT, out.port or 0, out.data)
        return GuestExit(What.HALTED if out.kind is ExitKind.HALTED else What.CRASHED)

    async def look(self, view: str, gpa: int, size: int) -> bytes:
        return await self._guest.host_read(gpa, size, _VIEWS[view])

    async def registers(self) -> Mapping[str, int]:
        general = (await self._guest.registers()).general
        return {name: general[name] for name in _SHOWN}

    async def close(self) -> None:
        await self._guest.close()


class AheadGuest(DrivenGuest):
    """One of the simulated machine, whose calls may be sent ahead of their answers."""

    def __init__(self, guest: SevGuest) -> None:
        super().__init__(guest)
        self._ahead = guest

    async def launch_finish(self) -> None:
        """What it is refused for is the first run's error."""
        await self._ahead.finish()


class DrivenMachine:
    """A `Machine` of the demonstration. ``create`` makes a guest of so much memory, entered at an address."""

    def __init__(
        self, platform: DriverPlatform, create: Callable[[int, int], Awaitable[DrivenGuest]]
    ) -> None:
        self._platform = platform
        self._create = create
        self._version: SevVersion | None = None
        self._exported: tuple[float, tuple[bytes, bytes]] | None = None

    async def sev_version(self) -> SevVersion:
        """Asked for once: while the platform is up, its firmware stays."""
        if self._version is None:
            self._version = await self._platform.sev_status()
        return self._version

    async def pdh_cert_export(self) -> tuple[bytes, bytes]:
        """As the host's daemon does, asked for every few seconds: PDH_GEN and a new owner make others."""
        if self._exported is None or time.monotonic() - self._exported[0] >= _EXPORT_SECONDS:
            self._exported = time.monotonic(), await self._platform.pdh_cert_export()
        return self._exported[1]

    async def create(self, memory: int, entry: int) -> DrivenGuest:
        return await self._create(memory, entry)
