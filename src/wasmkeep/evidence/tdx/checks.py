"""The verdict on a TDX quote: what every quote of Intel's must show, and what is asked of the TD.

 1. to 10. `wasmkeep.evidence.dcap.verification`.
11. Attributes: not under debug; SEPT_VE_DISABLE set; not migratable, no performance counters, no Key Locker,
    nothing unknown, but where the policy allows it. XFAM has what the policy asks and no more than it allows.
12. No service TD is bound.
13. RTMR0 to 3, MRSEAM, MRCONFIGID, MROWNER and MROWNERCONFIG are listed, where the policy lists any; the TDX
    module's SVN is high enough.
14. Report data are the expected binding (or the caller said UNBOUND), and listed, where the policy lists any.
15. MRTD is a reference value that the policy names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import datetime

from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.dcap import body, outcome
from wasmkeep.evidence.dcap.body import Asked
from wasmkeep.evidence.dcap.evidence import TdxEvidence
from wasmkeep.evidence.dcap.facts import DcapFacts
from wasmkeep.evidence.dcap.quote import TeeType
from wasmkeep.evidence.dcap.verification import examine
from wasmkeep.evidence.errors import Finding, Rejected
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.evidence.tdx import lost, rules
from wasmkeep.evidence.tdx.facts import TdxFacts
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["verify"]

_SECTION = "TDX DCAP Quoting Library API, A.3 TD report"


def verify(
    evidence: TdxEvidence,
    policy: Policy,
    *,
    at: datetime,
    binding: bytes | Unbound,
    reference_values: Mapping[bytes, str],
    crl_not_older_than: Mapping[str, datetime],
) -> AttestationResult:
    """See `wasmkeep.evidence.verify`."""
    asked = Asked(at, binding, reference_values)
    examined = examine(evidence, policy, policy.tdx, TeeType.TDX, at, crl_not_older_than)
    report = examined.quote.body
    if not isinstance(report, TdReport):
        raise TypeError("a TDX quote is about a trust domain")
    findings = [*examined.findings, *_of_the_td(report, policy, asked)]
    if findings:
        raise Rejected(*findings)
    found = outcome.accepted(examined)
    common = {entry.name: getattr(found.facts, entry.name) for entry in fields(DcapFacts)}
    return outcome.result(
        evidence,
        found,
        policy,
        policy.tdx,
        asked,
        tee="tdx",
        product=f"TDX {report.version}",
        measured=report.mrtd,
        report_data=report.report_data,
        policy_checks=tuple(_policy_checks(report, found, policy)),
        lost_protections=lost.lost_protections(report, found, policy, asked),
        tdx=TdxFacts(**common, report=report),
    )


def _of_the_td(report: TdReport, policy: Policy, asked: Asked) -> Iterator[Finding]:
    yield from rules.findings(report, policy.tdx)
    yield from body.binding("tdx.report-data", report.report_data, asked, _SECTION)
    listed = policy.tdx.report_data
    yield from body.listed_report_data("tdx.report-data.listed", report.report_data, listed, _SECTION)
    yield from body.measurement("tdx.mrtd", "MRTD", report.mrtd, policy, asked)


def _policy_checks(report: TdReport, found: outcome.Accepted, policy: Policy) -> Iterator[str]:
    """What held, in words; each from the check that established it."""
    if not policy.tdx.debug:
        yield "no debug"
    if not policy.tdx.migratable:
        yield "no migration"
    if not policy.tdx.sept_ve:
        yield "no #VE on private memory"
    if report.mr_service_td is not None and not policy.tdx.service_td:
        yield "no service TD"
    yield f"TCB {found.tcb.status}"
    yield f"collateral ≤ {policy.tdx.max_collateral_age_days} days old"
