"""Evidence as it travels and is kept: a CMW collection (RFC 9999, RATS conceptual message wrapper), in JSON.

A collection is a JSON object: ``__cmwc_t`` names its type, every other member is a record, an array of media
type, base64url value without padding, and an indicator (bit 1 endorsements, bit 2 evidence).

=============  ==========================================  =========  =====================================
label          media type                                  indicator  value
=============  ==========================================  =========  =====================================
``report``     ``application/vnd.wasmkeep.snp-report``     evidence   attestation report, 1184 bytes
``binding``    ``application/vnd.wasmkeep.binding``        evidence   what report data is recomputed from
``certs``      ``application/vnd.wasmkeep.snp-certs``      endorsem.  certificate table (`snp.table`)
``crl``        ``application/pkix-crl``                    endorsem.  the ARK's revocation list, DER
=============  ==========================================  =========  =====================================

``application/pkix-crl`` is registered (RFC 2585); the ``vnd.wasmkeep`` types are documented here only. The
reader is strict: one encoding (no white space, members in this order), known labels once each, bounded sizes.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.snp.certificates import MAX_CRL_SIZE
from wasmkeep.evidence.snp.evidence import SnpEvidence
from wasmkeep.evidence.snp.report import REPORT_SIZE, SigningKey, parse
from wasmkeep.evidence.snp.table import MAX_TABLE_SIZE, CertificateTable
from wasmkeep.evidence.snp.table import decode as decode_table
from wasmkeep.evidence.snp.table import encode as encode_table

__all__ = [
    "COLLECTION_TYPE",
    "MAX_BINDING_SIZE",
    "MAX_COLLECTION_SIZE",
    "MEDIA_TYPE",
    "MEDIA_TYPES",
    "EvidenceCollection",
    "decode",
    "encode",
]

MEDIA_TYPE = "application/cmw+json"
COLLECTION_TYPE = "tag:wasmkeep.invalid,2026:snp-evidence#1"
"""``.invalid`` because the name resolves to nothing."""
MAX_BINDING_SIZE = 8 * 1024
"""Bytes; a receiving key of 1,216 bytes and three of 32 make most of it."""
MAX_COLLECTION_SIZE = 512 * 1024
"""Bytes of JSON."""

_ENDORSEMENTS, _EVIDENCE = 1 << 1, 1 << 2


@dataclass(frozen=True, slots=True)
class _Record:
    media_type: str
    indicator: int
    limit: int


_RECORDS = {
    "report": _Record("application/vnd.wasmkeep.snp-report", _EVIDENCE, REPORT_SIZE),
    "binding": _Record("application/vnd.wasmkeep.binding", _EVIDENCE, MAX_BINDING_SIZE),
    "certs": _Record("application/vnd.wasmkeep.snp-certs", _ENDORSEMENTS, MAX_TABLE_SIZE),
    "crl": _Record("application/pkix-crl", _ENDORSEMENTS, MAX_CRL_SIZE),
}
_REQUIRED = ("report", "certs")

MEDIA_TYPES = {label: record.media_type for label, record in _RECORDS.items()}
"""The media type of each label."""


@dataclass(frozen=True, slots=True)
class EvidenceCollection:
    """SNP evidence and, where a session made it, the opaque bytes that its report data is recomputed from."""

    evidence: SnpEvidence
    binding: bytes | None = None


def encode(collection: EvidenceCollection) -> bytes:
    """JSON bytes. Raises `Rejected` as `decode` does, for evidence that could not be read back."""
    evidence = collection.evidence
    signer = parse(evidence.report).signing_key
    if len(evidence.chain) != 2:
        raise _malformed("the chain has a wrong number of certificates", str(len(evidence.chain)), "2")
    ask, ark = evidence.chain
    is_vlek = signer == SigningKey.VLEK
    table = CertificateTable(
        vcek=None if is_vlek else evidence.vcek, vlek=evidence.vcek if is_vlek else None, ask=ask, ark=ark
    )
    values = {
        "report": evidence.report,
        "binding": collection.binding,
        "certs": encode_table(table),
        "crl": evidence.crl,
    }
    encoded = _to_json({label: value for label, value in values.items() if value is not None})
    decode(encoded)
    return encoded


def decode(data: bytes) -> EvidenceCollection:
    """Read what `encode` writes.

    Raises `Rejected`: ``cmw.size``, ``cmw.malformed``, ``cmw.type``, and those of `snp.report.parse` and
    `snp.table.decode`. Says nothing about whether the evidence is genuine.
    """
    values = _from_json(data)
    signer = parse(values["report"]).signing_key
    table = decode_table(values["certs"])
    is_vlek = signer == SigningKey.VLEK
    key, other = (table.vlek, table.vcek) if is_vlek else (table.vcek, table.vlek)
    if key is None or table.ask is None or table.ark is None or other is not None or table.crl is not None:
        required = f"{'VLEK' if is_vlek else 'VCEK'}, ASK and ARK"
        raise _malformed("the certificates are not those of the report's signer", "others", required)
    evidence = SnpEvidence(values["report"], key, (table.ask, table.ark), values.get("crl"))
    return EvidenceCollection(evidence, values.get("binding"))


def _to_json(values: dict[str, bytes]) -> bytes:
    members: dict[str, object] = {"__cmwc_t": COLLECTION_TYPE}
    for label, record in _RECORDS.items():
        if label in values:
            text = base64.urlsafe_b64encode(values[label]).rstrip(b"=").decode("ascii")
            members[label] = [record.media_type, text, record.indicator]
    return json.dumps(members, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _from_json(data: bytes) -> dict[str, bytes]:
    if len(data) > MAX_COLLECTION_SIZE:
        raise Rejected(
            Finding(
                "cmw.size", Kind.MALFORMED, "too long", f"{len(data)} bytes", f"≤ {MAX_COLLECTION_SIZE} bytes"
            )
        )
    try:
        members = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _malformed("not JSON", type(error).__name__, "a CMW collection") from error
    if not isinstance(members, dict) or members.pop("__cmwc_t", None) != COLLECTION_TYPE:
        raise Rejected(
            Finding(
                "cmw.type",
                Kind.UNSUPPORTED,
                "not a collection of wasmkeep's",
                "",
                COLLECTION_TYPE,
                "RFC 9999, 3.3",
            )
        )
    values = {str(label): _value(str(label), record) for label, record in members.items()}
    missing = [label for label in _REQUIRED if label not in values]
    if missing:
        raise _malformed("the collection is incomplete", f"no {missing[0]}", " and ".join(_REQUIRED))
    if _to_json(values) != data:
        raise _malformed("not the one encoding of this collection", "another", "no white space, fixed order")
    return values


def _value(label: str, member: object) -> bytes:
    record = _RECORDS.get(label)
    if record is None:
        raise _malformed("an unknown member", repr(label)[:80], ", ".join(_RECORDS))
    required = f"[{record.media_type!r}, base64url, {record.indicator}]"
    if not isinstance(member, list) or len(member) != 3 or not isinstance(member[1], str):
        raise _malformed(f"{label} is not a record", type(member).__name__, required)
    media_type, text, indicator = member
    if media_type != record.media_type or indicator != record.indicator or isinstance(indicator, bool):
        raise _malformed(f"{label} is another kind of record", repr([media_type, indicator])[:80], required)
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise _malformed(f"{label} is not base64url", "", required) from error
    if not value or len(value) > record.limit:
        raise _malformed(f"{label} has a wrong size", f"{len(value)} bytes", f"1 to {record.limit} bytes")
    return value


def _malformed(message: str, found: str, required: str) -> Rejected:
    return Rejected(Finding("cmw.malformed", Kind.MALFORMED, message, found, required, "RFC 9999, 3"))
