"""The result of accepted SNP evidence: facts, what was required, and what the policy gave up."""

from __future__ import annotations

from datetime import datetime

from wasmkeep import __version__
from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.evidence.snp.case import Case, reference
from wasmkeep.evidence.snp.facts import SnpFacts
from wasmkeep.evidence.snp.lost import of_the_session
from wasmkeep.evidence.snp.revocation import Revocation
from wasmkeep.evidence.snp.standing import Standing

__all__ = ["result"]

_VERIFIER = f"wasmkeep {__version__}"


def result(
    case: Case, standing: Standing, revocation: Revocation, at: datetime, evidence_digest: bytes
) -> AttestationResult:
    """Assemble the result; called only when no step refused."""
    genuine, policy = case.genuine, case.policy
    authority = genuine.key.authority
    matched = reference(case)
    facts = _facts(case, standing, revocation)
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
        product=facts.product,
        launch_digest=facts.report.measurement,
        reference=matched,
        report_data=facts.report.report_data,
        host_data=facts.report.host_data,
        bound=not isinstance(case.binding, Unbound),
        host_data_bound=not isinstance(case.host_data, Unbound),
        chip=standing.chip_rule,
        tcb=standing.tcb,
        revocation=revocation.words,
        policy_checks=standing.policy_checks,
        lost_protections=(
            *standing.lost_first,
            *of_the_session(case, matched, revocation),
            *standing.lost_last,
        ),
        snp=facts,
    )


def _facts(case: Case, standing: Standing, revocation: Revocation) -> SnpFacts:
    genuine, platform = case.genuine, case.genuine.platform
    report = genuine.report
    return SnpFacts(
        report=report,
        product=platform.product,
        product_name=platform.identity.product_name,
        model_line=platform.line,
        signer=genuine.signer,
        csp_id=platform.identity.csp_id,
        chip_id=None if report.chip_id_masked else report.chip_id,
        chip_rule=standing.chip_rule,
        reported_tcb=platform.reported_tcb,
        current_tcb=platform.current_tcb,
        committed_tcb=platform.committed_tcb,
        launch_tcb=platform.launch_tcb,
        minimum_tcb=standing.minimum,
        provisional=standing.provisional,
        revocation=revocation,
    )
