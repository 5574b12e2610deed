"""Evidence put together from bytes: each report with its chain, each quote with its collateral.

Where several certificates could fit, the one that signed is taken. That decides nothing: `verify` checks
whatever was chosen, and a wrong choice is only a worse message.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from wasmkeep.evidence import cmw
from wasmkeep.evidence.cmw import AnyEvidence
from wasmkeep.evidence.dcap import quote
from wasmkeep.evidence.dcap.chain import load_pck_chain
from wasmkeep.evidence.dcap.evidence import Collateral, SgxEvidence, TdxEvidence
from wasmkeep.evidence.dcap.pck import SGX_EXTENSION, read_identity
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.kinds import EvidenceKind, recognise, unsupported
from wasmkeep.evidence.material import CarriedList, Material
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.evidence.sev.files import assemble as assemble_platform
from wasmkeep.evidence.snp import hcl, signatures, table
from wasmkeep.evidence.snp.certificates import (
    PSS_SALT_SIZE,
    Authority,
    Endorsement,
    load_authority,
    load_crl,
)
from wasmkeep.evidence.snp.evidence import SnpEvidence
from wasmkeep.evidence.snp.report import REPORT_SIZE, SIGNED_SIZE, Report, SigningKey, parse

__all__ = ["assemble", "assemble_sev", "bare_report", "signing_certificate"]

_COLLECTIONS = (EvidenceKind.CMW_JSON, EvidenceKind.CMW_CBOR)
_QUOTES = (EvidenceKind.TDX_QUOTE, EvidenceKind.SGX_QUOTE)
_REPORTS = (EvidenceKind.SNP_REPORT, EvidenceKind.HCL_REPORT, EvidenceKind.SNP_EXTENDED_REPORT)


def assemble(data: bytes, material: Material | None = None) -> AnyEvidence:
    """The evidence in ``data`` (a report, extended report, Azure's wrapping of one, quote, or collection),
    with what of ``material`` belongs to it. A quote may stay without collateral, a report without list.

    Raises `Rejected`: for bytes that break their format, ``snp.chain.missing``, ``platform.unsupported`` and
    ``platform.not-a-tee``, and ``evidence.unknown`` for bytes that are no evidence.
    """
    material = Material() if material is None else material
    kind = recognise(data)
    if kind in _COLLECTIONS:
        return _of_collection(data, material)
    if kind in _QUOTES:
        collateral = _collateral_for(data, material)
        is_tdx = kind is EvidenceKind.TDX_QUOTE
        return TdxEvidence(data, collateral) if is_tdx else SgxEvidence(data, collateral)
    if kind in _REPORTS:
        return _of_report(*bare_report(data, material))
    if kind in (EvidenceKind.NITRO, EvidenceKind.CCA, EvidenceKind.TPM_QUOTE, EvidenceKind.TRUSTZONE):
        raise unsupported(kind)
    raise Rejected(
        Finding(
            "evidence.unknown",
            Kind.UNSUPPORTED,
            "these bytes are no evidence",
            str(kind),
            "a report, quote or collection",
            "wasmkeep: kinds of evidence",
            advice="give the report, quote or collection itself; certificates belong into the material",
        )
    )


def assemble_sev(material: Material) -> PlatformCertificates | None:
    """The SEV chain in ``material``, None where it has no certificate of one. Raises `Rejected`
    ``sev.chain.missing`` where one is missing, or two differ."""
    if not material.sev:
        return None
    certificates, wrong = assemble_platform(material.sev)
    if certificates is None:
        finding = Finding(
            "sev.chain.missing",
            Kind.UNTRUSTED,
            "the files do not hold each certificate of one SEV platform once",
            f"none or several: {', '.join(wrong)}",
            "PDH, PEK, OCA, CEK, ASK and ARK",
            "SEV API, appendices B and C",
            advice="`wasmkeep endorsements fetch` gets the CEK, ASK and ARK",
        )
        raise Rejected(finding)
    return certificates


def bare_report(data: bytes, material: Material) -> tuple[bytes, Material]:
    """The report of 1184 bytes in a report of any kind, and the material with what stood beside it. Raises
    `Rejected` for a wrapping or certificate table that is broken."""
    kind = recognise(data)
    if kind is EvidenceKind.HCL_REPORT:
        return hcl.decode(data).report, material
    if kind is EvidenceKind.SNP_EXTENDED_REPORT:
        return data[:REPORT_SIZE], _with_table(data[REPORT_SIZE:], material)
    return data, material


def signing_certificate(data: bytes, material: Material) -> bytes | None:
    """The certificate that signed a bare report, DER, where the material has it. Raises `Rejected` for a
    report that cannot be read."""
    report = parse(data)
    key = _key(data, report, _keys_for(report, material))
    return None if key is None else key.der


def _of_collection(data: bytes, material: Material) -> AnyEvidence:
    evidence = cmw.decode(data).evidence
    if isinstance(evidence, SnpEvidence):
        lists = list(material.lists)
        if evidence.crl is not None:
            # One that cannot be read is left for the verifier to refuse.
            with suppress(Rejected):
                lists.append(CarriedList(load_crl(evidence.crl), evidence.crl))
        with suppress(Rejected):
            ark = load_authority(evidence.chain[-1], "ARK")
            return replace(evidence, crl=_newest(lists, ark) or evidence.crl)
    if isinstance(evidence, TdxEvidence | SgxEvidence) and evidence.collateral is None:
        return replace(evidence, collateral=_collateral_for(evidence.quote, material))
    return evidence


def _collateral_for(data: bytes, material: Material) -> Collateral | None:
    """Of several, one for this kind of TEE and this family of platforms."""
    if len(material.collaterals) <= 1:
        return material.collaterals[0] if material.collaterals else None
    with suppress(Rejected):
        parsed = quote.parse(data)
        pck = load_pck_chain(parsed.quoting_enclave.pck_chain)[0]
        fmspc = read_identity(dict(pck.extensions).get(SGX_EXTENSION, b"")).fmspc
        tee = quote.TeeType(parsed.header.tee_type).name.lower()
        wanted = (f'"id":"{tee}"', f'"fmspc":"{fmspc.hex()}"')
        for one in material.collaterals:
            if all(word in "".join(one.tcb_info.lower().split()) for word in wanted):
                return one
    return material.collaterals[0]


def _with_table(data: bytes, material: Material) -> Material:
    """What the table of an extended report holds comes first; what it lacks may come from elsewhere."""
    certificates, own = table.decode(data), Material()
    for der in (certificates.vcek, certificates.vlek, certificates.ask, certificates.ark, certificates.crl):
        if der is not None and not own.add_der(der):
            raise Rejected(
                Finding(
                    "snp.certificates.table",
                    Kind.MALFORMED,
                    "the certificate table holds what is no certificate of AMD's",
                    f"{len(der)} bytes",
                    "certificates and a revocation list of AMD's profile, DER",
                    "AMD 56421, 4.1.8.1 extended guest request",
                )
            )
    return Material(
        keys=own.keys + material.keys,
        authorities=own.authorities + material.authorities,
        lists=own.lists + material.lists,
    )


def _of_report(data: bytes, material: Material) -> SnpEvidence:
    report = parse(data)
    key = _key(data, report, _keys_for(report, material))
    if key is None:
        raise _missing(f"the {_signer(report)} that signed it")
    ask = _issuer(key, material.authorities)
    ark = None if ask is None else _issuer(ask, material.authorities)
    if ask is None or ark is None:
        raise _missing("the ASK above its key" if ask is None else "the ARK above its ASK")
    return SnpEvidence(data, key.der, (ask.der, ark.der), _newest(material.lists, ark))


def _signer(report: Report) -> str:
    return "VLEK" if report.signing_key == SigningKey.VLEK else "VCEK"


def _keys_for(report: Report, material: Material) -> list[Endorsement]:
    return [key for key in material.keys if key.common_name == f"SEV-{_signer(report)}"]


def _key(data: bytes, report: Report, keys: list[Endorsement]) -> Endorsement | None:
    """The key that signed the report; else one of its chip, whose certificate contains the chip's identity;
    else any."""
    for key in keys if len(keys) > 1 else ():
        with suppress(InvalidSignature, ValueError):
            signatures.verify(key.key, report.signature_r, report.signature_s, data[:SIGNED_SIZE])
            return key
    of_the_chip = (key for key in keys if any(report.chip_id in value for _, value in key.extensions))
    return next(of_the_chip, keys[0] if keys else None)


def _issuer(certificate: Endorsement | Authority, authorities: list[Authority]) -> Authority | None:
    """Of several of one name, the one whose key signed."""
    named = [one for one in authorities if one.subject == certificate.issuer]
    scheme = padding.PSS(padding.MGF1(hashes.SHA384()), PSS_SALT_SIZE)
    for one in named if len(named) > 1 else ():
        with suppress(InvalidSignature):
            one.key.verify(certificate.signature, certificate.signed_part, scheme, hashes.SHA384())
            return one
    return named[0] if named else None


def _newest(lists: list[CarriedList], ark: Authority) -> bytes | None:
    found = [one for one in lists if one.parsed.issuer == ark.subject]
    return max(found, key=lambda one: one.parsed.issued).der if found else None


def _missing(what: str) -> Rejected:
    return Rejected(
        Finding(
            "snp.chain.missing",
            Kind.UNTRUSTED,
            f"{what} is not among the files",
            required="VCEK (or VLEK), ASK and ARK",
            section="AMD 57230, certificate chain",
            advice="name a folder that holds them, or the service that gives them, with --endorsements",
        )
    )
