"""Evidence put together from files: each report with its chain, each quote with its collateral.

Where several certificates could fit, the one that signed is taken. That decides nothing: the verifier checks
whatever was chosen, and a wrong choice is only a worse message.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from wasmkeep.cli.evidence_files import CarriedList, Files
from wasmkeep.errors import InputError
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.kinds import EvidenceKind, unsupported

if TYPE_CHECKING:
    from datetime import datetime

    from wasmkeep.cli.evidence_files import Subject
    from wasmkeep.evidence.cmw import AnyEvidence
    from wasmkeep.evidence.dcap.evidence import Collateral, SgxEvidence, TdxEvidence
    from wasmkeep.evidence.sev.chain import PlatformCertificates
    from wasmkeep.evidence.snp.certificates import Authority, Endorsement
    from wasmkeep.evidence.snp.evidence import SnpEvidence
    from wasmkeep.evidence.snp.report import Report

__all__ = ["Completed", "complete", "platform_of"]

_REPORTS = (EvidenceKind.SNP_REPORT, EvidenceKind.HCL_REPORT, EvidenceKind.SNP_EXTENDED_REPORT)


@dataclass(frozen=True, slots=True)
class Completed:
    """Evidence, and when the user retrieved its revocation list; None where the list came with it."""

    evidence: AnyEvidence
    crl_retrieved: datetime | None


def complete(subject: Subject, files: Files, where: str | None) -> Completed:
    """The evidence that a subject is, with what vouches for it: from the files, and from ``where`` (a folder
    or services, None for neither). Services are asked for a list and collateral whatever the files hold.

    Raises Rejected: for bytes that break their format, for what is missing, for kinds that are known and not
    judged; and what services raise.
    """
    from wasmkeep.cli.endorsements_places import is_service

    try:
        found: Completed | None = _from_files(subject, files)
    except Rejected as rejected:
        if where is None or rejected.check != "snp.chain.missing":
            raise
        found, missing = None, rejected
    if where is None or (found is not None and not is_service(where) and _is_whole(found.evidence)):
        return found if found is not None else _raise(missing)
    try:
        return _from_elsewhere(subject, found, files, where)
    except InputError:
        if is_service(where):
            raise
        return found if found is not None else _raise(missing)


def _raise(error: Rejected) -> NoReturn:
    raise error


def _from_files(subject: Subject, files: Files) -> Completed:
    evidence = _evidence_of(subject, files)
    crl = getattr(evidence, "crl", None)
    return Completed(evidence, next((one.retrieved for one in files.lists if one.der == crl), None))


def _is_whole(evidence: AnyEvidence) -> bool:
    from wasmkeep.evidence import SnpEvidence
    from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence

    if isinstance(evidence, SnpEvidence):
        return evidence.crl is not None
    return evidence.collateral is not None if isinstance(evidence, TdxEvidence | SgxEvidence) else True


def _from_elsewhere(subject: Subject, found: Completed | None, files: Files, where: str) -> Completed:
    import asyncio

    return asyncio.run(_asked(subject, found, files, where))


async def _asked(subject: Subject, found: Completed | None, files: Files, where: str) -> Completed:
    from wasmkeep.cli.endorsements_places import opened
    from wasmkeep.endorsements.completion import complete_quote, complete_report
    from wasmkeep.evidence import SnpEvidence
    from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence

    evidence = None if found is None else found.evidence
    async with opened(where) as source:
        if isinstance(evidence, TdxEvidence | SgxEvidence):
            return Completed(await complete_quote(source, evidence.quote), None)
        if isinstance(evidence, SnpEvidence):
            completed = await complete_report(source, evidence.report, certificate=evidence.vcek)
        elif found is None:
            report, together = _report_and_files(subject, files)
            completed = await complete_report(source, report, certificate=_own_key(report, together))
        else:
            return found
    return Completed(completed.evidence, completed.crl_retrieved)


def _own_key(data: bytes, files: Files) -> bytes | None:
    """The certificate among the files that signed the report, DER; a VLEK's comes from nowhere else."""
    from wasmkeep.evidence.snp.report import parse

    report = parse(data)
    key = _key(data, report, _keys_for(report, files))
    return None if key is None else key.der


def _evidence_of(subject: Subject, files: Files) -> AnyEvidence:
    kind, data = subject.kind, subject.data
    if kind in (EvidenceKind.CMW_JSON, EvidenceKind.CMW_CBOR):
        return _of_collection(data, files)
    if kind in (EvidenceKind.TDX_QUOTE, EvidenceKind.SGX_QUOTE):
        return _of_quote(kind, data, files)
    if kind in _REPORTS:
        return _of_report(subject.name, *_report_and_files(subject, files))
    raise unsupported(kind)


def _report_and_files(subject: Subject, files: Files) -> tuple[bytes, Files]:
    """The bare report of a subject that has one, and the files with what stood beside it."""
    from wasmkeep.evidence.snp import hcl
    from wasmkeep.evidence.snp.report import REPORT_SIZE

    if subject.kind is EvidenceKind.HCL_REPORT:
        return hcl.decode(subject.data).report, files
    if subject.kind is EvidenceKind.SNP_EXTENDED_REPORT:
        return subject.data[:REPORT_SIZE], _with_table(subject, files)
    return subject.data, files


def platform_of(files: Files) -> PlatformCertificates | None:
    """The SEV chain, None where there is no certificate of one. Raises Rejected where one is missing, or two
    differ."""
    from wasmkeep.evidence.sev.files import assemble

    if not files.sev:
        return None
    certificates, wrong = assemble(files.sev)
    if certificates is None:
        finding = Finding(
            "sev.chain.missing",
            Kind.UNTRUSTED,
            "the files do not hold each certificate of one SEV platform once",
            f"none or several: {', '.join(wrong)}",
            "PDH, PEK, OCA, CEK, ASK and ARK",
            advice="`wasmkeep endorsements fetch` gets the CEK, ASK and ARK",
        )
        raise Rejected(finding)
    return certificates


def _of_collection(data: bytes, files: Files) -> AnyEvidence:
    from wasmkeep.evidence import SnpEvidence, cmw
    from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence
    from wasmkeep.evidence.snp.certificates import load_authority, load_crl

    evidence = cmw.decode(data).evidence
    if isinstance(evidence, SnpEvidence):
        lists = list(files.lists)
        if evidence.crl is not None:
            # One that cannot be read is left for the verifier to refuse.
            with suppress(Rejected):
                lists.append(CarriedList(load_crl(evidence.crl), evidence.crl))
        with suppress(Rejected):
            ark = load_authority(evidence.chain[-1], "ARK")
            return replace(evidence, crl=_newest(lists, ark) or evidence.crl)
    if isinstance(evidence, TdxEvidence | SgxEvidence) and evidence.collateral is None:
        return replace(evidence, collateral=_collateral_for(evidence.quote, files))
    return evidence


def _of_quote(kind: EvidenceKind, data: bytes, files: Files) -> TdxEvidence | SgxEvidence:
    from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence

    collateral = _collateral_for(data, files)
    if kind is EvidenceKind.TDX_QUOTE:
        return TdxEvidence(data, collateral)
    return SgxEvidence(data, collateral)


def _collateral_for(quote: bytes, files: Files) -> Collateral | None:
    """Of several, one for this kind of TEE and this family of platforms."""
    if len(files.collaterals) <= 1:
        return files.collaterals[0] if files.collaterals else None
    from wasmkeep.endorsements.claims import intel_platform_of

    with suppress(Rejected, InputError):
        platform = intel_platform_of(quote)
        wanted = (f'"id":"{platform.tee.value}"', f'"fmspc":"{platform.fmspc.hex()}"')
        for one in files.collaterals:
            if all(word in "".join(one.tcb_info.lower().split()) for word in wanted):
                return one
    return files.collaterals[0]


def _with_table(subject: Subject, files: Files) -> Files:
    """What the table of an extended report holds comes first; what it lacks may come from elsewhere."""
    from wasmkeep.evidence.snp import table
    from wasmkeep.evidence.snp.report import REPORT_SIZE

    certificates, own = table.decode(subject.data[REPORT_SIZE:]), Files()
    for der in (certificates.vcek, certificates.vlek, certificates.ask, certificates.ark, certificates.crl):
        if der is not None and not own.add_certificate(der):
            raise Rejected(
                Finding(
                    "snp.certificates.table",
                    Kind.MALFORMED,
                    f"{subject.name}: the certificate table holds what is no certificate of AMD's",
                    f"{len(der)} bytes",
                    "certificates and a revocation list of AMD's profile, DER",
                    "AMD 56421, 4.1.8.1 extended guest request",
                )
            )
    return Files(
        keys=own.keys + files.keys,
        authorities=own.authorities + files.authorities,
        lists=own.lists + files.lists,
    )


def _of_report(name: str, data: bytes, files: Files) -> SnpEvidence:
    from wasmkeep.evidence import SnpEvidence
    from wasmkeep.evidence.snp.report import parse

    report = parse(data)
    key = _key(data, report, _keys_for(report, files))
    if key is None:
        raise _missing(name, f"the {_signer(report)} that signed it")
    ask = _issuer(key, files.authorities)
    ark = None if ask is None else _issuer(ask, files.authorities)
    if ask is None or ark is None:
        raise _missing(name, "the ASK above its key" if ask is None else "the ARK above its ASK")
    return SnpEvidence(data, key.der, (ask.der, ark.der), _newest(files.lists, ark))


def _signer(report: Report) -> str:
    from wasmkeep.evidence.snp.report import SigningKey

    return "VLEK" if report.signing_key == SigningKey.VLEK else "VCEK"


def _keys_for(report: Report, files: Files) -> list[Endorsement]:
    return [key for key in files.keys if key.common_name == f"SEV-{_signer(report)}"]


def _key(data: bytes, report: Report, keys: list[Endorsement]) -> Endorsement | None:
    """The key that signed the report; else one of its chip, whose certificate contains the chip's identity;
    else any."""
    from cryptography.exceptions import InvalidSignature

    from wasmkeep.evidence.snp import signatures
    from wasmkeep.evidence.snp.report import SIGNED_SIZE

    for key in keys if len(keys) > 1 else ():
        with suppress(InvalidSignature, ValueError):
            signatures.verify(key.key, report.signature_r, report.signature_s, data[:SIGNED_SIZE])
            return key
    of_the_chip = (key for key in keys if any(report.chip_id in value for _, value in key.extensions))
    return next(of_the_chip, keys[0] if keys else None)


def _issuer(certificate: Endorsement | Authority, authorities: list[Authority]) -> Authority | None:
    """Of several of one name, the one whose key signed."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    from wasmkeep.evidence.snp.certificates import PSS_SALT_SIZE

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


def _missing(name: str, what: str) -> Rejected:
    return Rejected(
        Finding(
            "snp.chain.missing",
            Kind.UNTRUSTED,
            f"{name}: {what} is not among the files",
            required="VCEK (or VLEK), ASK and ARK",
            section="AMD 57230, certificate chain",
            advice="name a folder that holds them, or the service that gives them, with --endorsements",
        )
    )
