"""A policy that pins what some accepted evidence shows: the same machines, software and settings, or better.

What belongs to one session (report data, host data) is not pinned. Where evidence differs, what all of it has
is required, and what any of it shows is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from wasmkeep.evidence.policy import Policy, RevocationPolicy, SgxPolicy, SnpPolicy, TdxPolicy
from wasmkeep.evidence.policy_pins_intel import pinned_sgx, pinned_tdx
from wasmkeep.evidence.policy_pins_snp import pinned_snp
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.evidence.snp.facts import SnpFacts
from wasmkeep.evidence.snp.revocation import RevocationStatus

__all__ = ["pinned"]

_DAY = timedelta(days=1)


def pinned(results: Sequence[AttestationResult], *, name: str) -> Policy:
    """The policy for at least one result, all of one root's kind: simulated or not. ``ValueError`` for none,
    for both kinds together, and for results of SEV, which convince nobody but their own tenant."""
    if not results or any(result.tenant_only for result in results):
        raise ValueError("a policy is made from evidence of SEV-SNP, TDX or SGX")
    simulated = {result.root.pin if result.simulated else None for result in results}
    if len(simulated) > 1:
        raise ValueError("a policy is for one simulator, or for none")
    snp = [(result.snp, result) for result in results if result.snp is not None]
    tdx = [(result.tdx, result.at) for result in results if result.tdx is not None]
    sgx = [(result.sgx, result.at) for result in results if result.sgx is not None]
    return Policy(
        name=name,
        platforms=tuple(dict.fromkeys(result.tee for result in results)),
        runtime=tuple(dict.fromkeys(result.launch_digest.hex() for result in results)),
        simulated=next(iter(simulated)),
        revocation=_revocation(snp) if snp else RevocationPolicy(),
        snp=pinned_snp([facts for facts, _ in snp]) if snp else SnpPolicy(),
        tdx=pinned_tdx(tdx) if tdx else TdxPolicy(),
        sgx=pinned_sgx(sgx) if sgx else SgxPolicy(),
    )


def _revocation(snp: Sequence[tuple[SnpFacts, AttestationResult]]) -> RevocationPolicy:
    """Required where all of it came with a list in date."""
    fresh = all(facts.revocation.status is RevocationStatus.FRESH for facts, _ in snp)
    ages = [result.at - facts.revocation.issued for facts, result in snp if facts.revocation.issued]
    days = max((-(-age // _DAY) for age in ages), default=0)
    return RevocationPolicy(required=fresh, max_age_days=max(days, RevocationPolicy().max_age_days))
