"""The result of accepted SNP evidence: facts, what was required, and what the policy gave up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from wasmkeep import __version__
from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.evidence.snp.bits import GuestPolicyBit, PlatformBit
from wasmkeep.evidence.snp.case import Case, is_provisional, minimum_tcb, reference
from wasmkeep.evidence.snp.chain import Revocation, RevocationStatus
from wasmkeep.evidence.snp.facts import SnpFacts
from wasmkeep.evidence.snp.lost import lost_protections

__all__ = ["result"]

_VERIFIER = f"wasmkeep {__version__}"
_DEBUG = int(GuestPolicyBit.DEBUG)
_MIGRATE_MA = int(GuestPolicyBit.MIGRATE_MA)
_ALIAS_CHECK = int(PlatformBit.ALIAS_CHECK_COMPLETE)


def result(case: Case, revocation: Revocation, at: datetime, evidence_digest: bytes) -> AttestationResult:
    """Assemble the result; called only when no step refused."""
    genuine, policy = case.genuine, case.policy
    authority = genuine.key.authority
    facts = _facts(case, revocation)
    return AttestationResult(
        tee="snp",
        at=at,
        verifier=_VERIFIER,
        policy=policy,
        evidence_digest=evidence_digest,
        root_name=authority.root.name,
        root_spki=authority.root.spki_sha256,
        simulated=authority.root.simulated,
        chain=(genuine.signer, authority.ask.label, authority.ark.label),
        product=genuine.product,
        launch_digest=genuine.report.measurement,
        reference=reference(case),
        report_data=genuine.report.report_data,
        host_data=genuine.report.host_data,
        bound=not isinstance(case.binding, Unbound),
        host_data_bound=not isinstance(case.host_data, Unbound),
        chip=facts.chip_rule,
        tcb=str(facts.reported_tcb),
        revocation=_describe(revocation),
        policy_checks=tuple(_policy_checks(facts)),
        lost_protections=lost_protections(case, revocation),
        snp=facts,
    )


def _facts(case: Case, revocation: Revocation) -> SnpFacts:
    genuine = case.genuine
    report = genuine.report
    return SnpFacts(
        report=report,
        product=genuine.product,
        product_name=genuine.identity.product_name,
        model_line=genuine.line,
        signer=genuine.signer,
        csp_id=genuine.identity.csp_id,
        chip_id=None if report.chip_id_masked else report.chip_id,
        chip_rule=_chip_rule(case),
        reported_tcb=genuine.reported_tcb,
        current_tcb=genuine.current_tcb,
        committed_tcb=genuine.committed_tcb,
        launch_tcb=genuine.launch_tcb,
        minimum_tcb=minimum_tcb(case),
        provisional=is_provisional(genuine),
        revocation=revocation,
    )


def _chip_rule(case: Case) -> str:
    snp = case.policy.snp
    if snp.chips_allow:
        return "a chip that the policy lists"
    if snp.chips_deny:
        return "any chip of this generation that the policy does not deny"
    return "any chip of this generation"


def _describe(revocation: Revocation) -> str:
    if revocation.status is RevocationStatus.FRESH and revocation.next_update is not None:
        return f"CRL fresh, until {revocation.next_update:%Y-%m-%d}"
    return revocation.status.value


def _policy_checks(facts: SnpFacts) -> Iterator[str]:
    """What held, in words; each from the check that established it."""
    report = facts.report
    if not report.policy & _DEBUG:
        yield "no debug"
    if not report.policy & _MIGRATE_MA:
        yield "no migration"
    yield f"TCB ≥ {facts.minimum_tcb}"
    yield f"VMPL {report.vmpl}"
    if report.platform_info & _ALIAS_CHECK:
        yield "memory alias check"
    yield facts.chip_rule
