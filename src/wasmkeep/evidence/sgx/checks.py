"""The verdict on an SGX quote: what every quote of Intel's must show, and what is asked of the enclave.

 1. to 10. `wasmkeep.evidence.dcap.verification`.
11. Attributes: initialised; not under debug; no provisioning key, but where the policy allows it; nothing
    unknown.
12. MRSIGNER, ISVPRODID and ISVSVN, where the policy asks for them.
13. Report data are the expected binding (or the caller said UNBOUND), and listed, where the policy lists any.
14. MRENCLAVE is a reference value that the policy names, unless the policy goes by signer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import datetime

from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.dcap import body, outcome
from wasmkeep.evidence.dcap.body import Asked
from wasmkeep.evidence.dcap.enclave_report import EnclaveReport
from wasmkeep.evidence.dcap.evidence import SgxEvidence
from wasmkeep.evidence.dcap.facts import DcapFacts
from wasmkeep.evidence.dcap.quote import TeeType
from wasmkeep.evidence.dcap.verification import examine
from wasmkeep.evidence.errors import Finding, Rejected
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.evidence.sgx import lost, rules
from wasmkeep.evidence.sgx.facts import SgxFacts

__all__ = ["verify"]

_SECTION = "SGX ECDSA QuoteLibReference, A.4 enclave report body"


def verify(
    evidence: SgxEvidence,
    policy: Policy,
    *,
    at: datetime,
    binding: bytes | Unbound,
    reference_values: Mapping[bytes, str],
    crl_not_older_than: Mapping[str, datetime],
) -> AttestationResult:
    """See `wasmkeep.evidence.verify`."""
    asked = Asked(at, binding, reference_values)
    examined = examine(evidence, policy, policy.sgx, TeeType.SGX, at, crl_not_older_than)
    report = examined.quote.body
    if not isinstance(report, EnclaveReport):
        raise TypeError("an SGX quote is about an enclave")
    findings = [*examined.findings, *_of_the_enclave(report, policy, asked)]
    if findings:
        raise Rejected(*findings)
    found = outcome.accepted(examined)
    common = {entry.name: getattr(found.facts, entry.name) for entry in fields(DcapFacts)}
    return outcome.result(
        evidence,
        found,
        policy,
        policy.sgx,
        asked,
        tee="sgx",
        product="SGX",
        measured=report.mrenclave,
        report_data=report.report_data,
        policy_checks=tuple(_policy_checks(found, policy)),
        lost_protections=lost.lost_protections(report, found, policy, asked),
        sgx=SgxFacts(**common, report=report),
    )


def _of_the_enclave(report: EnclaveReport, policy: Policy, asked: Asked) -> Iterator[Finding]:
    yield from rules.findings(report, policy.sgx)
    yield from body.binding("sgx.report-data", report.report_data, asked, _SECTION)
    listed = policy.sgx.report_data
    yield from body.listed_report_data("sgx.report-data.listed", report.report_data, listed, _SECTION)
    if not policy.sgx.by_signer:
        yield from body.measurement("sgx.mrenclave", "MRENCLAVE", report.mrenclave, policy, asked)


def _policy_checks(found: outcome.Accepted, policy: Policy) -> Iterator[str]:
    """What held, in words; each from the check that established it."""
    if not policy.sgx.debug:
        yield "no debug"
    if not policy.sgx.provision_key:
        yield "no keys of the platform"
    if policy.sgx.minimum_isv_svn:
        yield f"ISVSVN ≥ {policy.sgx.minimum_isv_svn}"
    yield f"TCB {found.tcb.status}"
    yield f"collateral ≤ {policy.sgx.max_collateral_age_days} days old"
