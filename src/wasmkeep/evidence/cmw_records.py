"""What collections of wasmkeep's hold: labels, media types and bounds, by kind of TEE (table in `cmw`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from wasmkeep.evidence.dcap.collateral_json import MAX_COLLATERAL_SIZE
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.sev.ca_certificate import SIZES as CA_SIZES
from wasmkeep.evidence.sev.certificate import CERTIFICATE_SIZE
from wasmkeep.evidence.sev.evidence import KINDS, LAUNCH_SIZE
from wasmkeep.evidence.snp.certificates import MAX_CRL_SIZE
from wasmkeep.evidence.snp.report import REPORT_SIZE
from wasmkeep.evidence.snp.table import MAX_TABLE_SIZE

__all__ = [
    "COLLECTION_TYPES",
    "MAX_BINDING_SIZE",
    "MAX_QUOTE_SIZE",
    "RECORDS",
    "REQUIRED",
    "SEV_CERTS_SIZES",
    "Record",
    "Records",
    "Values",
    "malformed",
]

COLLECTION_TYPES: Final = {
    kind: f"tag:wasmkeep.invalid,2026:{kind}-evidence#1" for kind in ("snp", *KINDS, "tdx", "sgx")
}
"""By kind of TEE; ``.invalid`` because the names resolve to nothing."""
MAX_BINDING_SIZE: Final = 8 * 1024
"""Bytes; a receiving key of 1,216 bytes and three of 32 make most of it."""
MAX_QUOTE_SIZE: Final = 64 * 1024
"""Bytes; quotes have about 5,000, and 8,000 where they are padded."""
SEV_CERTS_SIZES: Final = tuple(4 * CERTIFICATE_SIZE + 2 * size for size in CA_SIZES)

_ENDORSEMENTS, _EVIDENCE = 1 << 1, 1 << 2


@dataclass(frozen=True, slots=True)
class Record:
    """``indicator`` says which conceptual message it is (bit 1 endorsements, bit 2 evidence); ``limit`` is
    the most bytes its value may have."""

    media_type: str
    indicator: int
    limit: int


Records: TypeAlias = Mapping[str, Record]
Values: TypeAlias = Mapping[str, bytes]

_BINDING = Record("application/vnd.wasmkeep.binding", _EVIDENCE, MAX_BINDING_SIZE)
_SNP = {
    "report": Record("application/vnd.wasmkeep.snp-report", _EVIDENCE, REPORT_SIZE),
    "binding": _BINDING,
    "certs": Record("application/vnd.wasmkeep.snp-certs", _ENDORSEMENTS, MAX_TABLE_SIZE),
    "crl": Record("application/pkix-crl", _ENDORSEMENTS, MAX_CRL_SIZE),
}
_SEV = {
    "launch": Record("application/vnd.wasmkeep.sev-launch", _EVIDENCE, LAUNCH_SIZE),
    "binding": _BINDING,
    "certs": Record("application/vnd.wasmkeep.sev-certs", _ENDORSEMENTS, max(SEV_CERTS_SIZES)),
}
_DCAP = {
    "quote": Record("application/vnd.wasmkeep.dcap-quote", _EVIDENCE, MAX_QUOTE_SIZE),
    "binding": _BINDING,
    "collateral": Record("application/vnd.wasmkeep.dcap-collateral+json", _ENDORSEMENTS, MAX_COLLATERAL_SIZE),
}
RECORDS: Final[Mapping[str, Records]] = {"snp": _SNP, "sev": _SEV, "sev-es": _SEV, "tdx": _DCAP, "sgx": _DCAP}
"""What each kind of TEE has, in the order of the JSON form."""
REQUIRED: Final = {
    "snp": ("report", "certs"),
    "sev": ("launch", "certs"),
    "sev-es": ("launch", "certs"),
    "tdx": ("quote",),
    "sgx": ("quote",),
}


def malformed(message: str, found: str, required: str) -> Rejected:
    """The refusal ``cmw.malformed``."""
    return Rejected(
        Finding(
            "cmw.malformed", Kind.MALFORMED, message, found, required, "RFC 9999, 3",
            advice="get the collection again, whole",
        )
    )  # fmt: skip
