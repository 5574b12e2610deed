"""Rows of TDX and SGX: a quote and its collateral."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from tests.vectors_conformance import verdicts
from tests.vectors_conformance.dcap_facts import facts_of
from tests.vectors_conformance.index import UnusableIndex, VectorRow
from tests.vectors_conformance.outcome import Outcome
from tests.vectors_conformance.verdicts import Verdict
from wasmkeep.evidence import UNBOUND, Policy, verify
from wasmkeep.evidence.dcap import collateral_json
from wasmkeep.evidence.dcap.evidence import Collateral, SgxEvidence, TdxEvidence
from wasmkeep.evidence.dcap.policy import TCB_STATUSES

__all__ = ["evidence_of", "judge"]

Evidence = TdxEvidence | SgxEvidence
_JSON = b"{"


def judge(row: VectorRow, policy: Policy, outcome: Outcome) -> None:
    """Facts and verdict of one row."""
    evidence = evidence_of(row)
    outcome.compare(verdicts.facts_in(row.expected), facts_of(evidence.quote, evidence.collateral))
    if "policy_verdict" not in row.expected:
        return
    at = datetime.fromisoformat(row.expected["verify_at"])

    def verifying(policy: Policy, at: datetime) -> Verdict:
        return lambda: _verify(evidence, policy, at)

    verdicts.judge_all(
        outcome,
        row.expected,
        lambda moment: verifying(policy, moment or at),
        lambda what: verifying(_allowing(policy, what), at),
    )


def evidence_of(row: VectorRow) -> Evidence:
    """The quote and the collateral among a row's files."""
    collateral: Collateral | None = None
    quote: bytes | None = None
    for file in row.files:
        if file.data.lstrip().startswith(_JSON):
            collateral = collateral_json.decode(file.data)
        else:
            quote = file.data
    if quote is None:
        raise UnusableIndex("the row has no quote")
    return TdxEvidence(quote, collateral) if row.technology == "tdx" else SgxEvidence(quote, collateral)


def _verify(evidence: Evidence, policy: Policy, at: datetime) -> None:
    """The public entry."""
    verify(evidence, policy, at=at, binding=UNBOUND, reference_values={})


def _allowing(policy: Policy, what: str) -> Policy:
    """The policy with things more allowed, for both platforms."""
    for one in re.split(r", | and ", what):
        policy = _allowing_one(policy, one.strip())
    return policy


def _allowing_one(policy: Policy, what: str) -> Policy:
    """A TCB status, or a rule of its own."""
    if what in TCB_STATUSES:
        statuses = (*policy.tdx.tcb_statuses, what)
        return replace(
            policy,
            tdx=replace(policy.tdx, tcb_statuses=statuses),
            sgx=replace(policy.sgx, tcb_statuses=statuses),
        )
    lower = what.lower()
    if "sept" in lower:
        return replace(policy, tdx=replace(policy.tdx, sept_ve=True))
    if "service" in lower:
        return replace(policy, tdx=replace(policy.tdx, service_td=True))
    if "migrat" in lower:
        return replace(policy, tdx=replace(policy.tdx, migratable=True))
    if "debug" in lower:
        tdx, sgx = replace(policy.tdx, debug=True), replace(policy.sgx, debug=True)
        return replace(policy, tdx=tdx, sgx=sgx)
    raise UnusableIndex(f"no exception for {what!r} is known here")
