"""Acceptance of a trust domain: one function a step, each yielding what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wasmkeep.evidence.dcap.findings import refused
from wasmkeep.evidence.errors import Finding, Kind
from wasmkeep.evidence.tdx.bits import UNDER_DEBUG, TdAttribute, unjudged_attributes
from wasmkeep.evidence.tdx.policy import TdxPolicy
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["findings"]

_ATTRIBUTES: Final = "Intel TDX module ABI, TD attributes"
_REPORT: Final = "TDX DCAP Quoting Library API, A.3 TD report"


def findings(report: TdReport, policy: TdxPolicy) -> list[Finding]:
    """What the policy refuses of the TD; empty when it is accepted."""
    return [
        *_debug(report, policy),
        *_attributes(report, policy),
        *_unknown(report, policy),
        *_xfam(report, policy),
        *_service_td(report, policy),
        *_registers(report, policy),
        *_module_svn(report, policy),
    ]


def _debug(report: TdReport, policy: TdxPolicy) -> Iterator[Finding]:
    if report.attributes & UNDER_DEBUG and not policy.debug:
        yield refused(
            "tdx.attributes.debug",
            "the TD runs under debug",
            f"attributes {report.attributes:#x}",
            "bits 0 to 7 clear",
            _ATTRIBUTES,
            meaning="the host may read and write the TD's memory and registers",
        )


def _attributes(report: TdReport, policy: TdxPolicy) -> Iterator[Finding]:
    found = f"attributes {report.attributes:#x}"
    if not report.attributes & TdAttribute.SEPT_VE_DISABLE and not policy.sept_ve:
        yield refused(
            "tdx.attributes.sept-ve",
            "the host can make the TD take exceptions on its private memory",
            found,
            "bit 28 (SEPT_VE_DISABLE) set",
            _ATTRIBUTES,
            meaning="a guest that handles #VE may be led astray when the host takes pages away",
        )
    listed = (
        ("tdx.attributes.migratable", TdAttribute.MIGRATABLE, policy.migratable, "may be migrated"),
        ("tdx.attributes.perfmon", TdAttribute.PERFMON, policy.perfmon, "may use performance counters"),
        ("tdx.attributes.key-locker", TdAttribute.KL, policy.key_locker, "may use Key Locker"),
    )
    for check, bit, allowed, what in listed:
        if report.attributes & bit and not allowed:
            message = f"the TD {what}, which the policy does not allow"
            number = int(bit).bit_length() - 1
            yield refused(check, message, found, f"bit {number} clear", _ATTRIBUTES)


def _unknown(report: TdReport, policy: TdxPolicy) -> Iterator[Finding]:
    strange = unjudged_attributes(report.attributes)
    if strange and not policy.unknown_attributes:
        message = "the TD has attributes that this verifier does not judge"
        yield Finding(
            "tdx.attributes.unknown", Kind.UNSUPPORTED, message, f"{strange:#x}", "none", _ATTRIBUTES
        )


def _xfam(report: TdReport, policy: TdxPolicy) -> Iterator[Finding]:
    section = "Intel TDX module ABI, XFAM"
    lacking = policy.xfam_require & ~report.xfam
    if lacking:
        message = "the TD lacks processor features that the policy requires"
        yield refused("tdx.xfam.required", message, f"XFAM {report.xfam:#x}", f"{lacking:#x} set", section)
    beyond = 0 if policy.xfam_allow is None else report.xfam & ~policy.xfam_allow
    if beyond:
        message = "the TD has processor features that the policy does not allow"
        yield refused("tdx.xfam.allowed", message, f"XFAM {report.xfam:#x}", f"{beyond:#x} clear", section)


def _service_td(report: TdReport, policy: TdxPolicy) -> Iterator[Finding]:
    bound = report.mr_service_td
    if bound is not None and any(bound) and not policy.service_td:
        yield refused(
            "tdx.service-td",
            "a service TD is bound to the TD",
            bound.hex(),
            "zeros",
            _REPORT,
            meaning="another TD, for example one that migrates it, may reach into this one; nobody judges it",
        )


def _registers(report: TdReport, policy: TdxPolicy) -> Iterator[Finding]:
    listed = (
        ("tdx.rtmr0", "RTMR0", report.rtmr0, policy.rtmr0),
        ("tdx.rtmr1", "RTMR1", report.rtmr1, policy.rtmr1),
        ("tdx.rtmr2", "RTMR2", report.rtmr2, policy.rtmr2),
        ("tdx.rtmr3", "RTMR3", report.rtmr3, policy.rtmr3),
        ("tdx.mrseam", "MRSEAM (TDX module)", report.mrseam, policy.mrseam),
        ("tdx.mrconfigid", "MRCONFIGID", report.mrconfigid, policy.mrconfigid),
        ("tdx.mrowner", "MROWNER", report.mrowner, policy.mrowner),
        ("tdx.mrownerconfig", "MROWNERCONFIG", report.mrownerconfig, policy.mrownerconfig),
    )
    for check, name, value, accepted in listed:
        if accepted and value not in accepted:
            required = f"one of {len(accepted)} in the policy"
            yield refused(check, f"{name} is not one you accept", value.hex(), required, _REPORT)


def _module_svn(report: TdReport, policy: TdxPolicy) -> Iterator[Finding]:
    if report.tee_tcb_svn[0] < policy.minimum_module_svn:
        required = f"≥ {policy.minimum_module_svn}"
        message = "the TDX module's SVN is lower than the policy accepts"
        yield refused("tdx.module.svn", message, str(report.tee_tcb_svn[0]), required, _REPORT)
