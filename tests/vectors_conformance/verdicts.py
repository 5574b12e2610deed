"""The words of ``policy_verdict``: which answer they ask of a verifier, and by which check."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from tests.vectors_conformance.outcome import Outcome
from wasmkeep.evidence import Rejected

__all__ = [
    "Answer",
    "AtMoment",
    "Verdict",
    "Words",
    "accepted",
    "facts_in",
    "judge_all",
    "read",
    "refused",
]

_LATER = re.compile(r"verdict_at_(\d{4}-\d{2}-\d{2})")
_NO_FACTS = frozenset({"policy_verdict", "verify_at", "verify_with_crl_at", "rejected_with"})


class Answer(StrEnum):
    ACCEPT = "accept"
    REJECT = "reject"
    ONLY_IF_ALLOWED = "accept only if the policy allows it"
    ONLY_IF_PINNED = "accept only by a pinned key"


@dataclass(frozen=True)
class Words:
    """A verdict as read. ``detail`` is the reason of a refusal, or what a policy must allow."""

    answer: Answer
    detail: str


Verdict = Callable[[], None]
"""Verifies; raises `Rejected` when the verifier does."""
AtMoment = Callable[[datetime], Verdict]
"""A verdict at a moment."""

_EXPIRED = ("snp.chain.expired", "snp.crl.expired", "dcap.chain.expired", "dcap.collateral.expired")
_NOT_YET = ("snp.chain.not-yet-valid", "snp.crl.not-yet-valid", "dcap.chain.not", "dcap.collateral.not")
# The first pattern that is in a reason says which checks may be the one that refused.
_REASONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"collateral (is )?(expired|out of date)", ("dcap.collateral.expired",)),
    (r"crl (is )?(expired|out of date)", ("snp.crl.expired", "dcap.collateral.expired")),
    (r"no(t)? (yet )?(in date|valid yet)", _NOT_YET),
    (r"expired|out of date at", _EXPIRED),
    (r"tcb.*revoked|revoked.*tcb|status.*revoked", ("dcap.tcb.status", "dcap.tcb.level")),
    (r"revoked", ("snp.crl.revoked", "dcap.revoked")),
    (r"debug", ("snp.policy.debug", "sev.policy.debug", "tdx.attributes.debug", "sgx.attributes.debug")),
    (r"no matching tcb level", ("dcap.tcb.level",)),
    (r"service ?td", ("tdx.service-td",)),
    (r"sept_?ve", ("tdx.attributes.sept-ve",)),
    (
        r"certificate signature|chain",
        ("snp.chain.", "snp.root", "dcap.chain", "dcap.root", "sev.chain."),
    ),
    (r"not issued?", ("snp.chain.", "snp.signer.certificate", "dcap.chain", "sev.chain.")),
    (r"hardware id|hwid|chip", ("snp.chip.", "snp.signature")),
    (r"unsigned|not signed$|nobody signed|signing key none", ("snp.signature.unsigned",)),
    (r"signer", ("snp.signer",)),
    (r"not signed by|report signature|quote signature|signature", ("snp.signature", "dcap.signature")),
    (r"root|not pinned", ("snp.root", "dcap.root", "sev.root")),
    (r"tdx module|seam", ("tdx.module",)),
    (r"fmspc", ("dcap.collateral.fmspc", "dcap.platform.fmspc")),
    (r"tcb", ("snp.tcb.", "dcap.tcb.")),
    (r"product|generation", ("snp.product", "snp.generation", "snp.endorsement.product")),
    (r"version", ("snp.report.", "dcap.quote.version")),
    (r"advisor", ("dcap.tcb.advisory",)),
    (r"vmpl", ("snp.vmpl",)),
    (r"qe|enclave identity", ("dcap.qe",)),
    (r"malformed|truncated|parse|reserved|trailing", ("snp.", "dcap.", "sev.", "tdx.", "sgx.", "cmw.")),
)


def read(text: str) -> Words:
    """The answer in a row's words; ``ValueError`` for others."""
    plain = text.strip()
    lower = plain.lower()
    allowed = re.match(r"accept only if (?:the )?policy allows (.+)", plain, re.IGNORECASE)
    if allowed:
        return Words(Answer.ONLY_IF_ALLOWED, allowed.group(1).strip())
    if lower.startswith("reject unless"):
        return Words(Answer.ONLY_IF_PINNED, plain[len("reject unless") :].strip())
    if lower.startswith("accept"):
        return Words(Answer.ACCEPT, plain[len("accept") :].strip(" :()"))
    if lower.startswith("reject"):
        return Words(Answer.REJECT, plain[len("reject") :].strip(" :()"))
    raise ValueError(f"no verdict in {text!r}")


def facts_in(expected: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """What a row states beside its verdicts."""
    return {
        name: value for name, value in expected.items() if name not in _NO_FACTS and not _LATER.match(name)
    }


def judge_all(
    outcome: Outcome,
    expected: Mapping[str, Any],  # Any: JSON
    verify: Callable[[datetime | None], Verdict],
    allowing: Callable[[str], Verdict],
) -> None:
    """Compare a verifier's answers with a row's words. ``verify`` takes a moment, None for the row's own;
    ``allowing`` verifies at that under a policy that allows a thing."""
    _judge(outcome, expected["policy_verdict"], verify(None), allowing)
    if "rejected_with" in expected:
        refused(outcome, expected["rejected_with"], verify(None))
    for name, words in expected.items():
        later = _LATER.fullmatch(name)
        if later:
            moment = datetime.fromisoformat(f"{later.group(1)}T00:00:00+00:00")
            _judge(outcome, words, verify(moment), allowing, f" on {later.group(1)}")


def _judge(
    outcome: Outcome, text: str, verify: Verdict, allowing: Callable[[str], Verdict], where: str = ""
) -> None:
    words = read(text)
    if words.answer is Answer.REJECT:
        refused(outcome, words.detail, verify, where)
    elif words.answer is Answer.ACCEPT:
        accepted(outcome, verify, where)
    elif words.answer is Answer.ONLY_IF_ALLOWED:
        refused(outcome, f"TCB status {words.detail}", verify, where)
        accepted(outcome, allowing(words.detail), f"{where} where {words.detail} is allowed")
    else:
        raise ValueError(f"no verdict of this kind here: {text!r}")


def accepted(outcome: Outcome, verify: Verdict, where: str = "") -> None:
    """The evidence is accepted."""
    outcome.compared += 1
    try:
        verify()
    except Rejected as rejected:
        checks = ", ".join(rejected.checks)
        outcome.problems.append(f"refused{where} by {checks}, expected acceptance: {rejected}")


def refused(outcome: Outcome, reason: str, verify: Verdict, where: str = "") -> None:
    """The evidence is refused, and by a check that fits the reason."""
    outcome.compared += 1
    try:
        verify()
    except Rejected as rejected:
        accepted_checks = _checks(reason)
        if accepted_checks is None:
            outcome.notes.append(f"not checkable: which check fits the reason {reason!r}")
        elif not any(check.startswith(accepted_checks) for check in rejected.checks):
            found = ", ".join(rejected.checks)
            wanted = " or ".join(accepted_checks)
            outcome.problems.append(
                f"refused{where} by {found}, expected by {wanted} for {reason!r}: {rejected}"
            )
        return
    outcome.problems.append(f"accepted{where}, expected a refusal: {reason}")


def _checks(reason: str) -> tuple[str, ...] | None:
    for pattern, checks in _REASONS:
        if re.search(pattern, reason, re.IGNORECASE):
            return checks
    return None
