"""Evidence as it travels and is kept: a CMW collection (RFC 9999, RATS conceptual message wrapper), in JSON.

A collection is a JSON object: ``__cmwc_t`` names its type, every other member is a record, an array of media
type, base64url value without padding, and an indicator (bit 1 endorsements, bit 2 evidence). SEV-SNP, type
``tag:wasmkeep.invalid,2026:snp-evidence#1``:

=============  ==========================================  =========  =====================================
label          media type                                  indicator  value
=============  ==========================================  =========  =====================================
``report``     ``application/vnd.wasmkeep.snp-report``     evidence   attestation report, 1184 bytes
``binding``    ``application/vnd.wasmkeep.binding``        evidence   what report data is recomputed from
``certs``      ``application/vnd.wasmkeep.snp-certs``      endorsem.  certificate table (`snp.table`)
``crl``        ``application/pkix-crl``                    endorsem.  the ARK's revocation list, DER
=============  ==========================================  =========  =====================================

SEV and SEV-ES, types ``tag:wasmkeep.invalid,2026:sev-evidence#1`` and ``…:sev-es-evidence#1``:

=============  ==========================================  =========  =====================================
``launch``     ``application/vnd.wasmkeep.sev-launch``     evidence   88 bytes (`SevEvidence.launch`)
``binding``    ``application/vnd.wasmkeep.binding``        evidence   what report data is recomputed from
``certs``      ``application/vnd.wasmkeep.sev-certs``      endorsem.  PDH ‖ PEK ‖ OCA ‖ CEK ‖ ASK ‖ ARK
=============  ==========================================  =========  =====================================

The keys that a SEV launch is verified with are the tenant's secret, and are in no collection (`SevKeys`).
``application/pkix-crl`` is registered (RFC 2585); the ``vnd.wasmkeep`` types are documented here only. The
reader is strict: one encoding (no white space, members in this order), known labels once each, bounded sizes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.sev.ca_certificate import SIZES as CA_SIZES
from wasmkeep.evidence.sev.certificate import CERTIFICATE_SIZE
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.evidence.sev.evidence import KINDS, LAUNCH_SIZE, SevEvidence
from wasmkeep.evidence.snp.certificates import MAX_CRL_SIZE
from wasmkeep.evidence.snp.evidence import SnpEvidence
from wasmkeep.evidence.snp.report import REPORT_SIZE, SigningKey, parse
from wasmkeep.evidence.snp.table import MAX_TABLE_SIZE, CertificateTable
from wasmkeep.evidence.snp.table import decode as decode_table
from wasmkeep.evidence.snp.table import encode as encode_table

__all__ = [
    "COLLECTION_TYPE",
    "COLLECTION_TYPES",
    "MAX_BINDING_SIZE",
    "MAX_COLLECTION_SIZE",
    "MEDIA_TYPE",
    "MEDIA_TYPES",
    "EvidenceCollection",
    "decode",
    "encode",
]

MEDIA_TYPE = "application/cmw+json"
COLLECTION_TYPES = {kind: f"tag:wasmkeep.invalid,2026:{kind}-evidence#1" for kind in ("snp", *KINDS)}
"""By kind of TEE; ``.invalid`` because the names resolve to nothing."""
COLLECTION_TYPE = COLLECTION_TYPES["snp"]
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


_Records: TypeAlias = Mapping[str, _Record]
_BINDING = _Record("application/vnd.wasmkeep.binding", _EVIDENCE, MAX_BINDING_SIZE)
_SNP = {
    "report": _Record("application/vnd.wasmkeep.snp-report", _EVIDENCE, REPORT_SIZE),
    "binding": _BINDING,
    "certs": _Record("application/vnd.wasmkeep.snp-certs", _ENDORSEMENTS, MAX_TABLE_SIZE),
    "crl": _Record("application/pkix-crl", _ENDORSEMENTS, MAX_CRL_SIZE),
}
_SEV_CERTS_SIZES = tuple(4 * CERTIFICATE_SIZE + 2 * size for size in CA_SIZES)
_SEV = {
    "launch": _Record("application/vnd.wasmkeep.sev-launch", _EVIDENCE, LAUNCH_SIZE),
    "binding": _BINDING,
    "certs": _Record("application/vnd.wasmkeep.sev-certs", _ENDORSEMENTS, max(_SEV_CERTS_SIZES)),
}
_RECORDS: Mapping[str, _Records] = {"snp": _SNP, "sev": _SEV, "sev-es": _SEV}
_REQUIRED = {"snp": ("report", "certs"), "sev": ("launch", "certs"), "sev-es": ("launch", "certs")}

MEDIA_TYPES = {
    kind: {label: record.media_type for label, record in records.items()}
    for kind, records in _RECORDS.items()
}
"""The media type of each label, by kind of TEE."""


@dataclass(frozen=True, slots=True)
class EvidenceCollection:
    """Evidence and, where a session made it, the opaque bytes that its report data is recomputed from."""

    evidence: SnpEvidence | SevEvidence
    binding: bytes | None = None


def encode(collection: EvidenceCollection) -> bytes:
    """JSON bytes. Raises `Rejected` as `decode` does, for evidence that could not be read back."""
    evidence = collection.evidence
    if isinstance(evidence, SevEvidence):
        kind, values = str(evidence.kind), _sev_values(evidence)
    else:
        kind, values = "snp", _snp_values(evidence)
    if collection.binding is not None:
        values["binding"] = collection.binding
    encoded = _to_json(kind, values)
    decode(encoded)
    return encoded


def decode(data: bytes) -> EvidenceCollection:
    """Read what `encode` writes.

    Raises `Rejected`: ``cmw.size``, ``cmw.malformed``, ``cmw.type``, and those of `snp.report.parse` and
    `snp.table.decode`. Says nothing about whether the evidence is genuine.
    """
    kind, values = _from_json(data)
    evidence = _snp_evidence(values) if kind == "snp" else _sev_evidence(kind, values)
    return EvidenceCollection(evidence, values.get("binding"))


def _snp_values(evidence: SnpEvidence) -> dict[str, bytes]:
    signer = parse(evidence.report).signing_key
    if len(evidence.chain) != 2:
        raise _malformed("the chain has a wrong number of certificates", str(len(evidence.chain)), "2")
    ask, ark = evidence.chain
    is_vlek = signer == SigningKey.VLEK
    table = CertificateTable(
        vcek=None if is_vlek else evidence.vcek, vlek=evidence.vcek if is_vlek else None, ask=ask, ark=ark
    )
    values = {"report": evidence.report, "certs": encode_table(table)}
    return values if evidence.crl is None else values | {"crl": evidence.crl}


def _snp_evidence(values: Mapping[str, bytes]) -> SnpEvidence:
    signer = parse(values["report"]).signing_key
    table = decode_table(values["certs"])
    is_vlek = signer == SigningKey.VLEK
    key, other = (table.vlek, table.vcek) if is_vlek else (table.vcek, table.vlek)
    if key is None or table.ask is None or table.ark is None or other is not None or table.crl is not None:
        required = f"{'VLEK' if is_vlek else 'VCEK'}, ASK and ARK"
        raise _malformed("the certificates are not those of the report's signer", "others", required)
    return SnpEvidence(values["report"], key, (table.ask, table.ark), values.get("crl"))


def _sev_values(evidence: SevEvidence) -> dict[str, bytes]:
    one = evidence.certificates
    try:
        launch = evidence.launch
    except ValueError as error:
        raise _malformed("the launch cannot be written", str(error), f"{LAUNCH_SIZE} bytes") from error
    return {"launch": launch, "certs": one.pdh + one.pek + one.oca + one.cek + one.ask + one.ark}


def _sev_evidence(kind: str, values: Mapping[str, bytes]) -> SevEvidence:
    certs = values["certs"]
    if len(certs) not in _SEV_CERTS_SIZES:
        required = " or ".join(map(str, _SEV_CERTS_SIZES)) + " bytes"
        raise _malformed("the certificates have a wrong size", f"{len(certs)} bytes", required)
    pdh, pek, oca, cek = (
        certs[at : at + CERTIFICATE_SIZE] for at in range(0, 4 * CERTIFICATE_SIZE, CERTIFICATE_SIZE)
    )
    authorities = certs[4 * CERTIFICATE_SIZE :]
    half = len(authorities) // 2
    certificates = PlatformCertificates(authorities[half:], authorities[:half], cek, pek, oca, pdh)
    try:
        return SevEvidence.of_launch("sev" if kind == "sev" else "sev-es", certificates, values["launch"])
    except ValueError as error:
        raise _malformed("the launch cannot be read", str(error), f"{LAUNCH_SIZE} bytes") from error


def _to_json(kind: str, values: Mapping[str, bytes]) -> bytes:
    members: dict[str, object] = {"__cmwc_t": COLLECTION_TYPES[kind]}
    for label, record in _RECORDS[kind].items():
        if label in values:
            text = base64.urlsafe_b64encode(values[label]).rstrip(b"=").decode("ascii")
            members[label] = [record.media_type, text, record.indicator]
    return json.dumps(members, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _from_json(data: bytes) -> tuple[str, dict[str, bytes]]:
    """Kind of TEE, and the values by label."""
    if len(data) > MAX_COLLECTION_SIZE:
        found, required = f"{len(data)} bytes", f"≤ {MAX_COLLECTION_SIZE} bytes"
        raise Rejected(Finding("cmw.size", Kind.MALFORMED, "too long", found, required))
    try:
        members = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _malformed("not JSON", type(error).__name__, "a CMW collection") from error
    named = members.pop("__cmwc_t", None) if isinstance(members, dict) else None
    kind = next((kind for kind, name in COLLECTION_TYPES.items() if name == named), None)
    if kind is None:
        raise Rejected(
            Finding(
                "cmw.type",
                Kind.UNSUPPORTED,
                "not a collection of wasmkeep's",
                "",
                " or ".join(COLLECTION_TYPES.values()),
                "RFC 9999, 3.3",
            )
        )
    values = {str(label): _value(_RECORDS[kind], str(label), record) for label, record in members.items()}
    missing = [label for label in _REQUIRED[kind] if label not in values]
    if missing:
        raise _malformed("the collection is incomplete", f"no {missing[0]}", " and ".join(_REQUIRED[kind]))
    if _to_json(kind, values) != data:
        raise _malformed("not the one encoding of this collection", "another", "no white space, fixed order")
    return kind, values


def _value(records: _Records, label: str, member: object) -> bytes:
    record = records.get(label)
    if record is None:
        raise _malformed("an unknown member", repr(label)[:80], ", ".join(records))
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
