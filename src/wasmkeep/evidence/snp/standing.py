"""How a platform stands with a policy: whatever the verdict says that is the same for every keep on it.

Keeps that are launched alike on one platform have reports that differ in report data, measurement, host data
and report ids only. All other rules of `checks`, and the words for them, give the same each time, so that a
`ChainMemory` may hold the answer. It is made from a report without those fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wasmkeep.evidence.binding import UNBOUND
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import LostProtection
from wasmkeep.evidence.snp import lost, rules
from wasmkeep.evidence.snp.bits import GuestPolicyBit, PlatformBit
from wasmkeep.evidence.snp.case import Case, is_provisional, minimum_tcb
from wasmkeep.evidence.snp.platform import Platform
from wasmkeep.evidence.snp.tcb import Tcb

__all__ = ["Standing", "standing"]

_NO_REFERENCES: Mapping[bytes, str] = MappingProxyType({})
_DEBUG = int(GuestPolicyBit.DEBUG)
_MIGRATE_MA = int(GuestPolicyBit.MIGRATE_MA)
_ALIAS_CHECK = int(PlatformBit.ALIAS_CHECK_COMPLETE)


@dataclass(frozen=True, slots=True)
class Standing:
    """A platform that a policy accepts. ``minimum`` is what its TCB had to reach; ``lost_first`` and
    ``lost_last`` what it lacks, before and after what the session lacks."""

    policy: Policy
    platform: Platform
    minimum: Tcb
    provisional: bool
    chip_rule: str
    tcb: str
    policy_checks: tuple[str, ...]
    lost_first: tuple[LostProtection, ...]
    lost_last: tuple[LostProtection, ...]


def standing(case: Case) -> Standing | None:
    """None where a rule refuses: `rules.findings` says which."""
    genuine = case.genuine._replace(report=case.genuine.report.standing())
    alike = Case(genuine, case.policy, UNBOUND, UNBOUND, _NO_REFERENCES)
    if rules.findings_of_platform(alike):
        return None
    return Standing(
        policy=case.policy,
        platform=genuine.platform,
        minimum=minimum_tcb(alike),
        provisional=is_provisional(genuine),
        chip_rule=_chip_rule(alike),
        tcb=str(genuine.reported_tcb),
        policy_checks=tuple(_policy_checks(alike)),
        lost_first=tuple(lost.of_the_launch(alike)),
        lost_last=tuple(lost.of_the_platform(alike)),
    )


def _chip_rule(case: Case) -> str:
    snp = case.policy.snp
    if snp.chips_allow:
        return "a chip that the policy lists"
    if snp.chips_deny:
        return "any chip of this generation that the policy does not deny"
    return "any chip of this generation"


def _policy_checks(case: Case) -> Iterator[str]:
    """What held, in words; each from the check that established it."""
    report = case.genuine.report
    if not report.policy & _DEBUG:
        yield "no debug"
    if not report.policy & _MIGRATE_MA:
        yield "no migration"
    yield f"TCB ≥ {minimum_tcb(case)}"
    yield f"VMPL {report.vmpl}"
    if report.platform_info & _ALIAS_CHECK:
        yield "memory alias check"
    yield _chip_rule(case)
