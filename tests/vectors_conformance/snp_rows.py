"""Rows of SEV-SNP: reports, chains, lists and roots. Expected digests are in `digest_rows`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from tests.vectors_conformance import digest_rows, verdicts
from tests.vectors_conformance.index import UnusableIndex, VectorRow
from tests.vectors_conformance.material import Material, collect
from tests.vectors_conformance.outcome import Outcome
from tests.vectors_conformance.snp_facts import facts_of
from tests.vectors_conformance.verdicts import Verdict
from wasmkeep.evidence import NO_LISTS_SEEN, UNBOUND, Policy, Rejected, verify
from wasmkeep.evidence.snp import chain
from wasmkeep.evidence.snp.bits import GuestPolicyBit
from wasmkeep.evidence.snp.certificates import Signed
from wasmkeep.evidence.snp.endorsement import read_endorsement

__all__ = ["judge"]

_ALLOWABLE = {
    "debug": GuestPolicyBit.DEBUG,
    "smt": GuestPolicyBit.SMT,
    "migration": GuestPolicyBit.MIGRATE_MA,
    "cxl": GuestPolicyBit.CXL_ALLOW,
}


def judge(row: VectorRow, policy: Policy, outcome: Outcome) -> None:
    """Facts and verdict of one row."""
    if row.entry:
        digest_rows.judge(row, outcome)
        return
    material = collect(row)
    outcome.compare(verdicts.facts_in(row.expected), facts_of(material, policy.roots))
    if "policy_verdict" not in row.expected:
        return

    def verifying(policy: Policy, at: datetime) -> Verdict:
        if material.report is not None:
            return lambda: _verify(material, policy, at)
        return lambda: _verify_chain(material, policy, at)

    at = datetime.fromisoformat(row.expected["verify_at"]) if "verify_at" in row.expected else _when(material)
    verdicts.judge_all(
        outcome,
        row.expected,
        lambda moment: verifying(policy, moment or at),
        lambda what: verifying(_allowing(policy, what), at),
    )
    if "verify_with_crl_at" in row.expected:
        _judge_list(row, outcome, lambda at: verifying(_requiring_a_list(policy), at))


def _judge_list(row: VectorRow, outcome: Outcome, verifying: verdicts.AtMoment) -> None:
    """With its list: accepted while that is in date, "out of date" the moment after."""
    listed = datetime.fromisoformat(row.expected["verify_with_crl_at"])
    verdicts.accepted(outcome, verifying(listed), " with its list in date")
    ends = datetime.fromisoformat(row.expected["crl"]["valid_to"])
    late = verifying(ends + timedelta(seconds=1))
    verdicts.refused(outcome, "CRL out of date", late, " after its list has expired")


def _requiring_a_list(policy: Policy) -> Policy:
    return replace(policy, revocation=replace(policy.revocation, required=True))


def _when(material: Material) -> datetime:
    """A moment within the certificate's validity, for a row that does not name one."""
    return material.endorsement.not_before + timedelta(days=30)


def _verify(material: Material, policy: Policy, at: datetime) -> None:
    """The public entry, for a report."""
    verify(material.evidence, policy, at=at, binding=UNBOUND, reference_values={})


def _verify_chain(material: Material, policy: Policy, at: datetime) -> None:
    """A chain without a report: whose it is, its dates, its list."""
    authority = chain.authenticate_authority(material.root, material.intermediate, policy.roots)
    certificates: tuple[Signed, ...] = (authority.ask, authority.ark)
    if material.endorsements:
        key = chain.authenticate_key(material.endorsement, authority)
        read_endorsement(key.certificate)
        certificates = (key.certificate, *certificates)
    findings = list(chain.dates(certificates, at))
    crl = material.crl
    listed = None if crl is None else lambda: chain.authentic_list(crl, authority)
    findings += chain.revocation(authority, listed, policy.revocation, at, not_older_than=NO_LISTS_SEEN)[1]
    if findings:
        raise Rejected(*findings)


def _allowing(policy: Policy, what: str) -> Policy:
    for word, bit in _ALLOWABLE.items():
        if word in what.lower():
            return replace(policy, snp=replace(policy.snp, guest_allow=policy.snp.guest_allow | bit))
    raise UnusableIndex(f"no exception for {what!r} is known here")
