"""What may vouch for evidence, sorted by content: certificates, revocation lists, collateral. Nothing here is
trusted: whatever is picked from it goes through every check."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from wasmkeep.evidence.dcap import collateral_json
from wasmkeep.evidence.dcap.evidence import Collateral
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.kinds import EvidenceKind, recognise
from wasmkeep.evidence.pem import decode_certificates
from wasmkeep.evidence.sev.files import AnyCertificate, parse_all
from wasmkeep.evidence.snp.certificates import (
    Authority,
    Endorsement,
    RevocationList,
    load_authority,
    load_crl,
    load_endorsement,
)

__all__ = ["CarriedList", "Material"]

_PEM = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class CarriedList:
    """A revocation list; ``retrieved`` is when the caller got it, None of one that came with the evidence."""

    parsed: RevocationList
    der: bytes
    retrieved: datetime | None = None


@dataclass(slots=True)
class Material:
    """Certificates of AMD's (DER, PEM, SEV's own format), revocation lists, collateral; of any number of
    platforms."""

    sev: list[AnyCertificate] = field(default_factory=list)
    keys: list[Endorsement] = field(default_factory=list)
    authorities: list[Authority] = field(default_factory=list)
    lists: list[CarriedList] = field(default_factory=list)
    collaterals: list[Collateral] = field(default_factory=list)

    def add(self, data: bytes, *, retrieved: datetime | None = None) -> bool:
        """Take in a file's bytes; False where they hold something that vouches for no evidence. ``retrieved``
        is when the caller got them, for lists. Raises `Rejected` for what is broken."""
        kind = recognise(data)
        if kind is EvidenceKind.SEV_CERTIFICATES:
            self.sev += parse_all(data)
            return True
        if kind is EvidenceKind.COLLATERAL_JSON:
            self.collaterals.append(collateral_json.decode(data))
            return True
        if kind is EvidenceKind.DER:
            return self.add_der(data, retrieved=retrieved)
        if kind is not EvidenceKind.PEM or not data.lstrip().startswith(_PEM):
            return False
        taken = [
            self.add_der(der, retrieved=retrieved)
            for der in decode_certificates(data.decode("ascii", "replace"))
        ]
        return all(taken)

    def add_der(self, der: bytes, *, retrieved: datetime | None = None) -> bool:
        """Try the three kinds of DER that AMD issues; False where it is none of them."""
        try:
            self.authorities.append(load_authority(der, "authority"))
            return True
        except Rejected:
            pass
        try:
            self.keys.append(load_endorsement(der, "endorsement key"))
            return True
        except Rejected:
            pass
        try:
            self.lists.append(CarriedList(load_crl(der), der, retrieved))
        except Rejected:
            return False
        return True
