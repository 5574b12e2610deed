"""What a file of evidence holds, explained: a heading, facts for programs, and every field in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wasmkeep.evidence.kinds import EvidenceKind, recognise, unsupported
from wasmkeep.evidence.snp.explain import Line

if TYPE_CHECKING:
    from wasmkeep.evidence.dcap.evidence import Collateral
    from wasmkeep.evidence.sev.evidence import SevEvidence
    from wasmkeep.evidence.sev.files import AnyCertificate
    from wasmkeep.evidence.snp.table import CertificateTable

__all__ = ["Shown", "subjects"]

_NOT_YET = (EvidenceKind.NITRO, EvidenceKind.CCA, EvidenceKind.TPM_QUOTE, EvidenceKind.TRUSTZONE)


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing in a file."""

    heading: str
    lines: tuple[Line, ...]
    facts: dict[str, object] = field(default_factory=dict)


def subjects(data: bytes) -> tuple[Shown, ...] | None:
    """What bytes hold; None where they have nothing to do with evidence. Raises Rejected."""
    kind = recognise(data)
    if kind in _NOT_YET:
        raise unsupported(kind)
    if kind is EvidenceKind.UNKNOWN:
        return None
    return tuple(_of_kind(kind, data))


def _of_kind(kind: EvidenceKind, data: bytes) -> Iterator[Shown]:
    if kind in (EvidenceKind.CMW_JSON, EvidenceKind.CMW_CBOR):
        yield from _collection(data)
    elif kind is EvidenceKind.SNP_REPORT:
        yield _report(data)
    elif kind is EvidenceKind.SNP_EXTENDED_REPORT:
        yield from _extended_report(data)
    elif kind is EvidenceKind.HCL_REPORT:
        yield from _wrapped_report(data)
    elif kind in (EvidenceKind.TDX_QUOTE, EvidenceKind.SGX_QUOTE):
        yield _quote(data)
    elif kind is EvidenceKind.COLLATERAL_JSON:
        from wasmkeep.evidence.dcap.collateral_json import decode

        yield _collateral(decode(data))
    elif kind is EvidenceKind.SEV_CERTIFICATES:
        from wasmkeep.evidence.sev.files import parse_all

        yield from map(_sev_certificate, parse_all(data))
    else:
        yield from _certificates(kind, data)


def _report(data: bytes) -> Shown:
    from wasmkeep.evidence.snp.explain import explain
    from wasmkeep.evidence.snp.report import parse

    report = parse(data)
    lines = explain(report)
    processor = next((line.value for line in lines if line.name == "processor"), "")
    named = processor if report.cpuid_family is not None else "which says no processor"
    heading = f"AMD SEV-SNP attestation report, version {report.version}, {named}"
    return Shown(heading, lines, {"kind": "snp-report", "version": report.version})


def _extended_report(data: bytes) -> Iterator[Shown]:
    from wasmkeep.evidence.snp import table
    from wasmkeep.evidence.snp.report import REPORT_SIZE

    yield _report(data[:REPORT_SIZE])
    yield from _table(table.decode(data[REPORT_SIZE:]))


def _table(found: CertificateTable) -> Iterator[Shown]:
    for der in (found.vcek, found.vlek, found.ask, found.ark, found.crl):
        if der is not None:
            yield _der(der)


def _wrapped_report(data: bytes) -> Iterator[Shown]:
    from wasmkeep.evidence.snp import hcl

    wrapped = hcl.decode(data)
    yield _report(wrapped.report)
    holds = "yes" if wrapped.claims_runtime_data else "no"
    runtime = wrapped.runtime_data.decode("utf-8", "replace")
    lines = (
        Line("Azure", "runtime data", runtime, "keys of the virtual TPM, among others"),
        Line("Azure", "claimed by the report", holds, "report data begins with its digest"),
    )
    yield Shown("Azure's wrapping of the report", lines, {"kind": "hcl-report"})


def _quote(data: bytes) -> Shown:
    from wasmkeep.evidence.dcap import quote
    from wasmkeep.evidence.dcap.explain import explain

    parsed = quote.parse(data)
    version = parsed.header.version
    tee = "tdx" if parsed.header.tee_type == quote.TeeType.TDX else "sgx"
    heading = f"Intel {tee.upper()} quote, version {version}"
    return Shown(heading, explain(parsed), {"kind": f"{tee}-quote", "version": version})


def _collateral(found: Collateral) -> Shown:
    from wasmkeep.evidence.dcap import collateral
    from wasmkeep.evidence.dcap.explain import explain_collateral

    parsed = collateral.parse(found)
    heading = f"Intel's collateral for {parsed.tcb_info.identifier} platforms {parsed.tcb_info.fmspc.hex()}"
    return Shown(heading, explain_collateral(parsed), {"kind": "collateral"})


def _collection(data: bytes) -> Iterator[Shown]:
    from wasmkeep.evidence import SevEvidence, SnpEvidence, cmw

    evidence = cmw.decode(data).evidence
    if isinstance(evidence, SevEvidence):
        yield from _launch(evidence)
    elif isinstance(evidence, SnpEvidence):
        yield _report(evidence.report)
        for der in (evidence.vcek, *evidence.chain, *((evidence.crl,) if evidence.crl else ())):
            yield _der(der)
    else:
        yield _quote(evidence.quote)
        if evidence.collateral is not None:
            yield _collateral(evidence.collateral)


def _sev_certificate(one: AnyCertificate) -> Shown:
    from wasmkeep.evidence.sev.explain import explain_certificate, title

    return Shown(title(one), explain_certificate(one), {"certificate": one.label})


def _launch(evidence: SevEvidence) -> Iterator[Shown]:
    from wasmkeep.evidence.sev import ca_certificate, certificate
    from wasmkeep.evidence.sev.explain import explain_launch

    heading = f"{evidence.kind.upper()} launch, which only its tenant can verify"
    yield Shown(heading, explain_launch(evidence), {"launch": evidence.kind})
    chain = evidence.certificates
    for name in ("pdh", "pek", "oca", "cek"):
        yield _sev_certificate(certificate.parse(getattr(chain, name), name.upper()))
    for name in ("ask", "ark"):
        yield _sev_certificate(ca_certificate.parse(getattr(chain, name), name.upper()))


def _certificates(kind: EvidenceKind, data: bytes) -> Iterator[Shown]:
    from wasmkeep.evidence.pem import decode_certificates

    if kind is EvidenceKind.PEM:
        yield from map(_der, decode_certificates(data.decode("ascii", "replace")))
    else:
        yield _der(data)


def _der(der: bytes) -> Shown:
    """A certificate or list of AMD's. Raises Rejected for any other."""
    from wasmkeep.evidence.errors import Rejected
    from wasmkeep.evidence.snp import explain_certificates as words
    from wasmkeep.evidence.snp.certificates import load_authority, load_crl, load_endorsement

    try:
        authority = load_authority(der, "authority")
        return Shown(
            f"AMD's authority {authority.common_name}",
            words.explain_authority(authority),
            {"certificate": authority.common_name},
        )
    except Rejected:
        pass
    try:
        crl = load_crl(der)
        return Shown("AMD's revocation list", words.explain_list(crl), {"kind": "revocation-list"})
    except Rejected:
        pass
    key = load_endorsement(der, "endorsement key")
    name = key.common_name
    return Shown(f"AMD endorsement key {name}", words.explain_endorsement(key), {"certificate": name})
