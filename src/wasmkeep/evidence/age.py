"""How old evidence is: it carries no time, but it cannot be older than the challenge that it answers."""

from __future__ import annotations

from datetime import datetime, timedelta

from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.policy import Policy

__all__ = ["ReportedTogether", "age_finding"]

_SECTION = "wasmkeep policy: evidence.max_age_seconds"


def age_finding(
    policy: Policy, at: datetime, challenged_at: datetime | None, binding: bytes | Unbound
) -> Finding | None:
    """``evidence.age`` where the policy limits the age, and it is too high or not known; else None.

    ``challenged_at`` says something only of evidence that is bound to the challenge.
    """
    limit = policy.max_evidence_age_s
    if limit is None:
        return None
    required = f"≤ {limit} s since its challenge"
    if challenged_at is None or isinstance(binding, Unbound):
        found = "no time of a challenge" if challenged_at is None else "not bound to a challenge"
        message = "nobody knows how old the evidence is"
        advice = "verify it within a session, or let the policy say nothing of its age"
        return Finding("evidence.age", Kind.REFUSED, message, found, required, _SECTION, advice=advice)
    age = at - challenged_at
    if timedelta(0) <= age <= timedelta(seconds=limit):
        return None
    late = age > timedelta(0)
    message = "the evidence answers a challenge that is too old" if late else "the challenge is of the future"
    found = f"{age.total_seconds():.0f} s"
    return Finding("evidence.age", Kind.REFUSED, message, found, required, _SECTION)


class ReportedTogether:
    """Within it, a finding is added to what is refused; where nothing is, it refuses alone: `Rejected`."""

    def __init__(self, finding: Finding | None) -> None:
        self._finding = finding

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._finding is None:
            return
        if isinstance(error, Rejected):
            raise Rejected(*error.findings, self._finding) from error
        if error is None:
            raise Rejected(self._finding)
