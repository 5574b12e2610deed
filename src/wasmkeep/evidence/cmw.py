"""Evidence as it travels and is kept: a CMW collection (RFC 9999, RATS conceptual message wrapper).

A collection is a JSON object or a CBOR map: ``__cmwc_t`` names its type, every other member is a record, an
array of media type, value, and an indicator (bit 1 endorsements, bit 2 evidence); `cmw_form` has the two
forms. SEV-SNP, type ``tag:wasmkeep.invalid,2026:snp-evidence#1``:

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

TDX and SGX, types ``tag:wasmkeep.invalid,2026:tdx-evidence#1`` and ``…:sgx-evidence#1``:

==============  =================================================  =========  =============================
label           media type                                         indicator  value
==============  =================================================  =========  =============================
``quote``       ``application/vnd.wasmkeep.dcap-quote``            evidence   the quote, trailing bytes too
``binding``     ``application/vnd.wasmkeep.binding``               evidence   as above
``collateral``  ``application/vnd.wasmkeep.dcap-collateral+json``  endorsem.  `dcap.collateral_json`
==============  =================================================  =========  =============================

The keys that a SEV launch is verified with are the tenant's secret, and are in no collection (`SevKeys`).
``application/pkix-crl`` is registered (RFC 2585); the ``vnd.wasmkeep`` types are documented here only. The
reader is strict: one encoding in each form, known labels once each, bounded sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from wasmkeep.evidence.cmw_form import MAX_COLLECTION_SIZE, Form, read, write
from wasmkeep.evidence.cmw_records import (
    COLLECTION_TYPES,
    MAX_BINDING_SIZE,
    RECORDS,
    SEV_CERTS_SIZES,
    malformed,
)
from wasmkeep.evidence.dcap.collateral_json import decode as decode_collateral
from wasmkeep.evidence.dcap.collateral_json import encode as encode_collateral
from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence
from wasmkeep.evidence.sev.certificate import CERTIFICATE_SIZE
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.evidence.sev.evidence import LAUNCH_SIZE, SevEvidence
from wasmkeep.evidence.snp.evidence import SnpEvidence
from wasmkeep.evidence.snp.report import SigningKey, parse
from wasmkeep.evidence.snp.table import CertificateTable
from wasmkeep.evidence.snp.table import decode as decode_table
from wasmkeep.evidence.snp.table import encode as encode_table

__all__ = [
    "COLLECTION_TYPE",
    "COLLECTION_TYPES",
    "MAX_BINDING_SIZE",
    "MAX_COLLECTION_SIZE",
    "MEDIA_TYPE",
    "MEDIA_TYPES",
    "MEDIA_TYPE_CBOR",
    "AnyEvidence",
    "EvidenceCollection",
    "Form",
    "decode",
    "encode",
]

MEDIA_TYPE = "application/cmw+json"
MEDIA_TYPE_CBOR = "application/cmw+cbor"
COLLECTION_TYPE = COLLECTION_TYPES["snp"]
AnyEvidence: TypeAlias = SnpEvidence | SevEvidence | TdxEvidence | SgxEvidence

MEDIA_TYPES = {
    kind: {label: record.media_type for label, record in records.items()} for kind, records in RECORDS.items()
}
"""The media type of each label, by kind of TEE."""


@dataclass(frozen=True, slots=True)
class EvidenceCollection:
    """Evidence and, where a session made it, the opaque bytes that its report data is recomputed from."""

    evidence: AnyEvidence
    binding: bytes | None = None


def encode(collection: EvidenceCollection, form: Form = Form.JSON) -> bytes:
    """The bytes in one form. Raises `Rejected` as `decode` does, for evidence that could not be read back."""
    evidence = collection.evidence
    if isinstance(evidence, SevEvidence):
        kind, values = str(evidence.kind), _sev_values(evidence)
    elif isinstance(evidence, SnpEvidence):
        kind, values = "snp", _snp_values(evidence)
    else:
        kind, values = "tdx" if isinstance(evidence, TdxEvidence) else "sgx", _dcap_values(evidence)
    if collection.binding is not None:
        values["binding"] = collection.binding
    encoded = write(kind, values, form)
    decode(encoded)
    return encoded


def decode(data: bytes) -> EvidenceCollection:
    """Read what `encode` writes, in either form.

    Raises `Rejected`: ``cmw.size``, ``cmw.malformed``, ``cmw.type``, and those of `snp.report.parse`,
    `snp.table.decode` and `dcap.collateral_json.decode`. Says nothing about whether the evidence is genuine.
    """
    kind, values = read(data)
    return EvidenceCollection(_evidence(kind, values), values.get("binding"))


def _evidence(kind: str, values: Mapping[str, bytes]) -> AnyEvidence:
    if kind == "snp":
        return _snp_evidence(values)
    if kind in ("sev", "sev-es"):
        return _sev_evidence(kind, values)
    return _dcap_evidence(kind, values)


def _snp_values(evidence: SnpEvidence) -> dict[str, bytes]:
    signer = parse(evidence.report).signing_key
    if len(evidence.chain) != 2:
        raise malformed("the chain has a wrong number of certificates", str(len(evidence.chain)), "2")
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
        raise malformed("the certificates are not those of the report's signer", "others", required)
    return SnpEvidence(values["report"], key, (table.ask, table.ark), values.get("crl"))


def _sev_values(evidence: SevEvidence) -> dict[str, bytes]:
    one = evidence.certificates
    try:
        launch = evidence.launch
    except ValueError as error:
        raise malformed("the launch cannot be written", str(error), f"{LAUNCH_SIZE} bytes") from error
    return {"launch": launch, "certs": one.pdh + one.pek + one.oca + one.cek + one.ask + one.ark}


def _sev_evidence(kind: str, values: Mapping[str, bytes]) -> SevEvidence:
    certs = values["certs"]
    if len(certs) not in SEV_CERTS_SIZES:
        required = " or ".join(map(str, SEV_CERTS_SIZES)) + " bytes"
        raise malformed("the certificates have a wrong size", f"{len(certs)} bytes", required)
    pdh, pek, oca, cek = (
        certs[at : at + CERTIFICATE_SIZE] for at in range(0, 4 * CERTIFICATE_SIZE, CERTIFICATE_SIZE)
    )
    authorities = certs[4 * CERTIFICATE_SIZE :]
    half = len(authorities) // 2
    certificates = PlatformCertificates(authorities[half:], authorities[:half], cek, pek, oca, pdh)
    try:
        return SevEvidence.of_launch("sev" if kind == "sev" else "sev-es", certificates, values["launch"])
    except ValueError as error:
        raise malformed("the launch cannot be read", str(error), f"{LAUNCH_SIZE} bytes") from error


def _dcap_values(evidence: TdxEvidence | SgxEvidence) -> dict[str, bytes]:
    values = {"quote": evidence.quote}
    if evidence.collateral is not None:
        values["collateral"] = encode_collateral(evidence.collateral)
    return values


def _dcap_evidence(kind: str, values: Mapping[str, bytes]) -> TdxEvidence | SgxEvidence:
    encoded = values.get("collateral")
    collateral = None if encoded is None else decode_collateral(encoded)
    if collateral is not None and encode_collateral(collateral) != encoded:
        raise malformed("not the one encoding of this collateral", "another", "no white space, fixed order")
    if kind == "tdx":
        return TdxEvidence(values["quote"], collateral)
    return SgxEvidence(values["quote"], collateral)
