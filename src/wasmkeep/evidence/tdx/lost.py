"""What accepted TDX evidence lacks that the shipped policy would have asked for."""

from __future__ import annotations

from collections.abc import Iterator

from wasmkeep.evidence.dcap.body import Asked, reference
from wasmkeep.evidence.dcap.lost import of_the_platform
from wasmkeep.evidence.dcap.outcome import Accepted
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import LostProtection
from wasmkeep.evidence.tdx.bits import UNDER_DEBUG, TdAttribute, unjudged_attributes
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["lost_protections"]

_ALLOWED = (
    (TdAttribute.MIGRATABLE, "migration-allowed", "the TD may be migrated to another platform"),
    (TdAttribute.PERFMON, "perfmon-allowed", "performance counters of the TD are visible to it"),
    (TdAttribute.KL, "key-locker-allowed", "the TD may use Key Locker"),
)


def lost_protections(
    report: TdReport, found: Accepted, policy: Policy, asked: Asked
) -> tuple[LostProtection, ...]:
    """Every exception that this evidence made use of."""
    return (*of_the_platform(found, policy.tdx), *_of_the_td(report, policy, asked))


def _of_the_td(report: TdReport, policy: Policy, asked: Asked) -> Iterator[LostProtection]:
    if report.attributes & UNDER_DEBUG:
        yield LostProtection("debug-allowed", "the host may read and write the TD's memory")
    if not report.attributes & TdAttribute.SEPT_VE_DISABLE:
        text = "the host can make the TD take exceptions on its private memory"
        yield LostProtection("sept-ve-allowed", text)
    for bit, what, text in _ALLOWED:
        if report.attributes & bit:
            yield LostProtection(what, text)
    unknown = unjudged_attributes(report.attributes)
    if unknown:
        text = f"the TD has attributes that this verifier does not judge: {unknown:#x}"
        yield LostProtection("unknown-attributes", text)
    if report.mr_service_td is not None and any(report.mr_service_td):
        yield LostProtection("service-td", "a service TD that nobody judged is bound to the TD")
    if reference(report.mrtd, policy, asked.reference_values) is None:
        yield LostProtection("any-measurement", "the policy accepts whatever was launched")
