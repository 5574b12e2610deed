"""AMD's and Intel's own services, or those that a tenant or an operator configured in their place.

Another address never changes what is trusted: ``wasmkeep.evidence`` has the roots.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from wasmkeep.endorsements.documents import Document, SevCa
from wasmkeep.endorsements.http import HttpSource
from wasmkeep.endorsements.intel import IntelDocument, PublishedRootCaCrl, RootCaCrl

__all__ = ["AMD_KDS", "INTEL_PCS", "Addresses", "VendorSource"]

AMD_KDS = "https://kdsintf.amd.com"
INTEL_PCS = "https://api.trustedservices.intel.com"
_AMD_DOWNLOADS = "https://download.amd.com/developer/eula"
_INTEL_CERTIFICATES = "https://certificates.trustedservices.intel.com"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where AMD's and where Intel's documents come from; None: from the vendor itself.

    Another service than the vendor's has all of its documents: for SEV also ASK and ARK, for quotes also the
    root's revocation list, as a PCCS does.
    """

    amd: str | None = None
    intel: str | None = None


class VendorSource:
    """Asks the service that a document is of. Use as an async context manager, or call ``aclose``."""

    def __init__(self, addresses: Addresses | None = None, *, verify: ssl.SSLContext | bool = True) -> None:
        """Raises ``ConfigurationError`` (check ``endorsements.address``) for an address of another kind."""
        addresses = addresses or Addresses()
        amd, intel = (addresses.amd or AMD_KDS).rstrip("/"), (addresses.intel or INTEL_PCS).rstrip("/")
        self._amd = HttpSource(amd, verify=verify)
        self._intel = HttpSource(intel, verify=verify)
        self._amd_downloads = HttpSource(_AMD_DOWNLOADS, verify=verify) if amd == AMD_KDS else self._amd
        self._intel_files = HttpSource(_INTEL_CERTIFICATES, verify=verify) if intel == INTEL_PCS else None

    async def __aenter__(self) -> VendorSource:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        for source in (self._amd, self._intel, self._amd_downloads, self._intel_files):
            if source is not None:
                await source.aclose()

    async def fetch(self, document: Document, /) -> bytes:
        """The document's bytes. Raises what ``HttpSource.fetch`` raises."""
        if isinstance(document, SevCa):
            return await self._amd_downloads.fetch(document)
        if not isinstance(document, IntelDocument):
            return await self._amd.fetch(document)
        if isinstance(document, RootCaCrl) and self._intel_files is not None:
            return await self._intel_files.fetch(PublishedRootCaCrl())
        return await self._intel.fetch(document)
