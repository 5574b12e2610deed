"""What a tenant verifies before it wraps keys for this platform: both chains of SEV, together.

The platform exports PDH, PEK, OCA and CEK (SEV API 0.24, AMD 55766, PDH_CERT_EXPORT), the CEK without AMD's
signature. The signed CEK, ASK and ARK come from where the operator has endorsements. Nothing is checked here:
a host that serves wrong ones only causes refusals.
"""

from __future__ import annotations

import asyncio
import base64
import time

from wasmkeep.endorsements import Cek, Document, SevCa, SevProduct, Source
from wasmkeep.endorsements.bodies import split_sev_ca
from wasmkeep.errors import WasmkeepError
from wasmkeep.host.machine import Platform
from wasmkeep.host.tees import MACHINE_SECONDS, no_machine

__all__ = ["EndorsementMissing", "SevCertificates"]

CERTIFICATE_SIZE = 2084
_SECONDS = 5.0
"""How long what was exported is served: PDH_GEN and a new owner make other certificates."""


class EndorsementMissing(Exception):
    """``document`` could not be had, because of ``error``."""

    def __init__(self, document: type[Document], error: WasmkeepError) -> None:
        super().__init__(error.message)
        self.document = document
        self.error = error


class SevCertificates:
    """The certificates of one platform. One request at a time asks the machine."""

    def __init__(self, platform: Platform, endorsements: Source) -> None:
        self._platform = platform
        self._endorsements = endorsements
        self._known: tuple[float, dict[str, str]] | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> dict[str, str]:
        """Product, and the six certificates in base64. Raises ``Refused``, ``EndorsementMissing``."""
        async with self._lock:
            if self._known is None or time.monotonic() - self._known[0] >= _SECONDS:
                self._known = (time.monotonic(), await self._collected())
            return self._known[1]

    async def _collected(self) -> dict[str, str]:
        pdh, chain, chip_id = await self._exported()
        product = self._platform.description.product
        try:
            pair = SevCa(SevProduct.named(product))
            ask, ark = split_sev_ca(await self._endorsements.fetch(pair))
        except WasmkeepError as error:
            raise EndorsementMissing(SevCa, error) from error
        try:
            cek = await self._endorsements.fetch(Cek(chip_id))
        except WasmkeepError as error:
            raise EndorsementMissing(Cek, error) from error
        pek, oca = chain[:CERTIFICATE_SIZE], chain[CERTIFICATE_SIZE : 2 * CERTIFICATE_SIZE]
        parts = {"pdh": pdh, "pek": pek, "oca": oca, "cek": cek, "ask": ask, "ark": ark}
        encoded = {name: base64.b64encode(part).decode("ascii") for name, part in parts.items()}
        return {"product": product, **encoded}

    async def _exported(self) -> tuple[bytes, bytes, bytes]:
        """PDH, chain (PEK, OCA, unsigned CEK) and the chip's id of 64 bytes."""
        try:
            async with asyncio.timeout(MACHINE_SECONDS):
                pdh, chain = await self._platform.pdh_cert_export()
                return pdh, chain, await self._platform.get_id()
        except (WasmkeepError, OSError):
            raise no_machine() from None
