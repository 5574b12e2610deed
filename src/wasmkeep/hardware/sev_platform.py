"""The SEV platform as its owner and its guests' tenants need it: the same calls, whoever performs them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from wasmkeep.hardware import psp_sev, psp_sev_calls
from wasmkeep.hardware.calls import Call
from wasmkeep.hardware.psp_sev_calls import SevPlatformStatus

__all__ = ["SevPlatform"]


class SevPlatform(ABC):
    """``/dev/sev``, real or simulated. Refusals are `FirmwareError` or `IoctlRefused`."""

    @abstractmethod
    async def _issue(self, call: Call) -> tuple[bytes, ...]:
        """The call's memory afterwards."""

    async def sev_status(self) -> SevPlatformStatus:
        """PLATFORM_STATUS."""
        return psp_sev_calls.decode_platform_status(await self._issue(psp_sev_calls.platform_status()))

    async def get_id(self) -> bytes:
        """The chip's identity, 64 bytes."""
        return psp_sev.decode_id(await self._issue(psp_sev.get_id()))

    async def pdh_cert_export(self) -> tuple[bytes, bytes]:
        """PDH, 2084 bytes, and PEK ‖ OCA ‖ CEK, 6252. That CEK is unsigned: AMD serves the signed one."""
        return psp_sev_calls.decode_pdh_cert_export(await self._issue(psp_sev_calls.pdh_cert_export()))

    async def pek_gen(self) -> None:
        """A new OCA, PEK and PDH of the platform's own. Refused while guests live."""
        await self._issue(psp_sev_calls.pek_gen())

    async def pek_csr(self) -> bytes:
        """The PEK for an owner to sign: 2084 bytes, both signatures empty."""
        return psp_sev_calls.decode_pek_csr(await self._issue(psp_sev_calls.pek_csr()))

    async def pek_cert_import(self, pek: bytes, oca: bytes) -> None:
        """An owner takes the platform with the PEK that it signed, and its OCA certificate."""
        await self._issue(psp_sev_calls.pek_cert_import(pek, oca))

    async def pdh_gen(self) -> None:
        """A new PDH under the same PEK."""
        await self._issue(psp_sev_calls.pdh_gen())

    async def factory_reset(self) -> None:
        """Everything but the chip's own keys is made again. Refused with EBUSY while guests live."""
        await self._issue(psp_sev_calls.factory_reset())
