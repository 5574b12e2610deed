"""What a policy pins of accepted TDX and SGX evidence (`policy_pins` says what that means)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce
from operator import and_, or_
from typing import TypeVar

from wasmkeep.evidence.dcap.facts import DcapFacts
from wasmkeep.evidence.dcap.policy import TCB_STATUSES, DcapPolicy
from wasmkeep.evidence.sgx.bits import Attribute
from wasmkeep.evidence.sgx.facts import SgxFacts
from wasmkeep.evidence.sgx.policy import SgxPolicy
from wasmkeep.evidence.tdx.bits import TdAttribute
from wasmkeep.evidence.tdx.facts import TdxFacts
from wasmkeep.evidence.tdx.policy import TdxPolicy

__all__ = ["pinned_sgx", "pinned_tdx"]

_DAY = timedelta(days=1)
_Policy = TypeVar("_Policy", bound=DcapPolicy)


def pinned_tdx(shown: Sequence[tuple[TdxFacts, datetime]]) -> TdxPolicy:
    """The policy for what at least one quote shows, each with the moment it was judged at."""
    reports = [facts.report for facts, _ in shown]
    attributes = reduce(or_, (report.attributes for report in reports))
    return replace(
        _platform(TdxPolicy(), shown),
        migratable=bool(attributes & TdAttribute.MIGRATABLE),
        perfmon=bool(attributes & TdAttribute.PERFMON),
        key_locker=bool(attributes & TdAttribute.KL),
        xfam_allow=reduce(or_, (report.xfam for report in reports)),
        xfam_require=reduce(and_, (report.xfam for report in reports)),
        rtmr0=frozenset(report.rtmr0 for report in reports),
        rtmr1=frozenset(report.rtmr1 for report in reports),
        rtmr2=frozenset(report.rtmr2 for report in reports),
        rtmr3=frozenset(report.rtmr3 for report in reports),
        mrseam=frozenset(report.mrseam for report in reports),
        mrconfigid=frozenset(report.mrconfigid for report in reports),
        mrowner=frozenset(report.mrowner for report in reports),
        mrownerconfig=frozenset(report.mrownerconfig for report in reports),
        minimum_module_svn=min(report.tee_tcb_svn[0] for report in reports),
    )


def pinned_sgx(shown: Sequence[tuple[SgxFacts, datetime]]) -> SgxPolicy:
    """The same for enclaves."""
    reports = [facts.report for facts, _ in shown]
    attributes = reduce(or_, (report.attributes for report in reports))
    return replace(
        _platform(SgxPolicy(), shown),
        provision_key=bool(attributes & (Attribute.PROVISION_KEY | Attribute.EINITTOKEN_KEY)),
        mrsigners=frozenset(report.mrsigner for report in reports),
        isv_prod_ids=frozenset(report.isv_prod_id for report in reports),
        minimum_isv_svn=min(report.isv_svn for report in reports),
    )


def _platform(policy: _Policy, shown: Sequence[tuple[DcapFacts, datetime]]) -> _Policy:
    statuses = {str(facts.tcb.status) for facts, _ in shown} | {"UpToDate"}
    instances = [facts.pck.platform_instance for facts, _ in shown]
    ages = [-(-(at - facts.collateral_issued) // _DAY) for facts, at in shown]
    return replace(
        policy,
        tcb_statuses=tuple(status for status in TCB_STATUSES if status in statuses),
        advisories=frozenset(advisory for facts, _ in shown for advisory in facts.tcb.advisories),
        max_collateral_age_days=max(*ages, policy.max_collateral_age_days),
        minimum_tcb_evaluation=min(facts.tcb_evaluation for facts, _ in shown),
        smt=not all(facts.pck.smt is False for facts, _ in shown),
        dynamic_platform=not all(facts.pck.dynamic_platform is False for facts, _ in shown),
        cached_keys=not all(facts.pck.cached_keys is False for facts, _ in shown),
        fmspcs=frozenset(facts.pck.fmspc for facts, _ in shown),
        platforms=frozenset() if None in instances else frozenset(x for x in instances if x is not None),
    )
