"""What a host hands over as SNP evidence: bytes, nothing believed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SnpEvidence"]


@dataclass(frozen=True, slots=True)
class SnpEvidence:
    """An attestation report and the certificates said to vouch for it.

    ``report`` is 1184 bytes; ``vcek`` the DER certificate of the key that signed it (a VLEK's stands here
    too); ``chain`` the two DER certificates above it, (ASK or ASVK, ARK); ``crl`` the ARK's DER revocation
    list.
    """

    report: bytes
    vcek: bytes
    chain: tuple[bytes, ...]
    crl: bytes | None = None
