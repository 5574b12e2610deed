"""The verdict on an Intel quote, as far as TDX and SGX share it. The steps, in order.

 1. The policy names the platform; the quote parses, and is of that TEE.
 2. The PCK's certificates parse; they are of Intel's kinds and end at a pinned root (`chain`).
 3. Collateral is there, parses, and was signed under the same root; every list is the right issuer's.
 4. Dates of all certificates, of TCB info, QE identity and lists; nothing is revoked (issuer and serial); no
    list is older than one already seen.
 5. Signatures, from the root to the quote, and the QE's vouching for the attestation key (`qvl`).
 6. dcap-qvl's reading and levels equal those found here (`agreement`).
 7. The collateral is for this TEE and platform, young enough, of a new enough evaluation.
 8. The quoting enclave, and the TDX module, are those that Intel describes.
 9. A TCB level matches; its status and advisories are accepted. ``Revoked`` never is.
10. The platform is one that the policy lists, configured as it asks.

What cannot be parsed ends the verdict; else all findings are reported together, a wrong signature first: what
follows it is about fields that nobody vouches for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from wasmkeep.evidence.dcap import agreement, chain, collateral, quote, qvl, rules, tcb
from wasmkeep.evidence.dcap.certificates import Certificate
from wasmkeep.evidence.dcap.collateral import ParsedCollateral
from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence
from wasmkeep.evidence.dcap.findings import malformed, unsupported, untrusted
from wasmkeep.evidence.dcap.opinion import judge
from wasmkeep.evidence.dcap.pck import SGX_EXTENSION, PckIdentity, read_identity
from wasmkeep.evidence.dcap.policy import DcapPolicy
from wasmkeep.evidence.dcap.quote import Quote, TeeType
from wasmkeep.evidence.dcap.qvl import Opinion
from wasmkeep.evidence.dcap.tcb import Levels, TcbVerdict
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.roots import INTEL_ROOTS, Root
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["Examined", "examine"]


@dataclass(frozen=True, slots=True)
class Examined:
    """A quote and what was found about it. It is accepted only where ``findings`` is empty; then ``root``,
    ``collateral`` and ``tcb`` are there."""

    quote: Quote
    chain: tuple[Certificate, Certificate, Certificate]
    pck: PckIdentity
    root: Root | None
    collateral: ParsedCollateral | None
    tcb: TcbVerdict | None
    findings: tuple[Finding, ...]


def examine(
    evidence: TdxEvidence | SgxEvidence,
    policy: Policy,
    asked: DcapPolicy,
    tee: TeeType,
    at: datetime,
    not_older_than: Mapping[str, datetime],
) -> Examined:
    """Steps 1 to 10; ``asked`` is the policy's part for this TEE, ``not_older_than`` the issue of the newest
    list seen, by its issuer's pin. Raises `Rejected` for what cannot be parsed."""
    # 1
    parsed = _parsed(evidence.quote, policy, tee)
    # 2
    certificates = chain.load_pck_chain(parsed.quoting_enclave.pck_chain)
    pck = _identity(certificates[0])
    # 3
    material = (
        collateral.parse(evidence.collateral, certificates) if evidence.collateral is not None else None
    )
    levels = _levels(parsed, pck, material) if material is not None else None
    # 4 to 6
    accepted = INTEL_ROOTS if policy.simulated is None else policy.roots
    root = chain.root_of(certificates[2], accepted)
    trust = [*chain.roots(certificates, material, accepted, root), *chain.names(certificates, material)]
    late, moment = chain.dates(certificates, material, at)
    trust += late
    if material is None:
        trust.append(_missing())
    else:
        trust += chain.revocation(certificates, material)
        trust += chain.rollback(certificates, material, not_older_than)
    # 7 to 10
    further: list[Finding] = []
    verdict: TcbVerdict | None = None
    if material is not None:
        further += _described(parsed, pck, material, levels)
        verdict = _verdict(parsed, pck, material, levels)
        if verdict is not None:
            further += rules.status(verdict, asked)
        further += rules.age(material, asked, at)
    further += rules.platform(pck, asked)
    spoken: list[Finding] = []
    if evidence.collateral is not None and material is not None and root is not None and moment is not None:
        known = [finding.check for finding in (*trust, *further)]
        anchor = certificates[2].der if root.simulated else None
        opinion = qvl.ask(evidence.quote, evidence.collateral, moment, anchor)
        spoken += judge(opinion, parsed, known)
        spoken += _agreement(evidence.quote, parsed, pck, material, verdict, opinion)
    return Examined(parsed, certificates, pck, root, material, verdict, (*spoken, *trust, *further))


def _parsed(data: bytes, policy: Policy, tee: TeeType) -> Quote:
    if tee.name.lower() not in policy.platforms:
        raise Rejected(_platform_denied(policy, tee))
    parsed = quote.parse(data)
    if parsed.header.tee_type != tee:
        found = TeeType(parsed.header.tee_type).name
        raise unsupported("dcap.quote.tee-type", "the quote is of another TEE", found, tee.name)
    return parsed


def _agreement(
    data: bytes,
    parsed: Quote,
    pck: PckIdentity,
    material: ParsedCollateral,
    verdict: TcbVerdict | None,
    opinion: Opinion,
) -> Iterator[Finding]:
    """Finding ``dcap.disagreement``."""
    different = agreement.differing_fields(data, parsed, pck)
    if opinion.claims:
        different += agreement.differing_claims(opinion.claims, pck, material, verdict)
    if different:
        yield _disagreement(different)


def _described(
    parsed: Quote, pck: PckIdentity, material: ParsedCollateral, levels: Levels | None
) -> Iterator[Finding]:
    """The collateral is for this platform, and describes each of its parts."""
    yield from rules.right_collateral(parsed, pck, material)
    yield from rules.quoting_enclave(parsed, material)
    if isinstance(parsed.body, TdReport):
        yield from rules.tdx_module(parsed.body, material)
    if levels is not None:
        yield from rules.levels(levels)


def _identity(certificate: Certificate) -> PckIdentity:
    value = dict(certificate.extensions).get(SGX_EXTENSION)
    if value is None:
        message = "the PCK certificate does not say which platform it is for"
        raise malformed(
            "dcap.pck.extension", message, "none", SGX_EXTENSION, "Intel SGX PCK certificate profile"
        )
    return read_identity(value)


def _levels(parsed: Quote, pck: PckIdentity, material: ParsedCollateral) -> Levels | None:
    """None where the collateral is for another TEE."""
    report = _td_report(parsed)
    if (report is not None) != (material.tcb_info.identifier == TeeType.TDX.name):
        return None
    svn = parsed.quoting_enclave.report.isv_svn
    return tcb.reached(pck, material.tcb_info, material.qe_identity, svn, report)


def _verdict(
    parsed: Quote, pck: PckIdentity, material: ParsedCollateral, levels: Levels | None
) -> TcbVerdict | None:
    return None if levels is None else tcb.converged(levels, pck, material.tcb_info, _td_report(parsed))


def _td_report(parsed: Quote) -> TdReport | None:
    return parsed.body if isinstance(parsed.body, TdReport) else None


def _platform_denied(policy: Policy, tee: TeeType) -> Finding:
    return Finding(
        "platform.denied",
        Kind.REFUSED,
        f"the policy does not name Intel {tee.name}",
        found=tee.name.lower(),
        required=", ".join(policy.platforms),
        section="wasmkeep policy: platforms",
    )


def _missing() -> Finding:
    return untrusted(
        "dcap.collateral.missing",
        "the quote comes without collateral",
        "none",
        "TCB info, QE identity, lists and their issuers' certificates",
        "Intel PCS API v4",
        meaning="nobody can tell whether the platform's firmware has known holes",
        advice="fetch it from Intel's certification service or a cache of it",
    )


def _disagreement(different: list[str]) -> Finding:
    return untrusted(
        "dcap.disagreement",
        "two verifiers read this quote differently",
        ", ".join(different[:8]),
        "the same in both",
        "wasmkeep: own parse beside dcap-qvl",
        meaning="the quote is unusual, or one of the verifiers is wrong; neither is followed",
        advice="report it, with the quote",
    )
