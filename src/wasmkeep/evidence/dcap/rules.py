"""Acceptance of an Intel platform: what the policy asks of TDX and SGX alike, one function a step."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from wasmkeep.evidence.dcap.collateral import ParsedCollateral
from wasmkeep.evidence.dcap.findings import refused, untrusted
from wasmkeep.evidence.dcap.pck import PckIdentity
from wasmkeep.evidence.dcap.policy import DcapPolicy
from wasmkeep.evidence.dcap.quote import Quote, TeeType
from wasmkeep.evidence.dcap.status import Status
from wasmkeep.evidence.dcap.tcb import Levels, TcbVerdict, module_identity_of
from wasmkeep.evidence.errors import Finding
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["age", "levels", "platform", "quoting_enclave", "right_collateral", "status", "tdx_module"]

_API = "Intel PCS API v4"
_STATUS = f"{_API}, TCB status"
_POLICY = "wasmkeep policy: tdx and sgx"
_QE_IDS = {TeeType.SGX: "QE", TeeType.TDX: "TD_QE"}


def right_collateral(quote: Quote, pck: PckIdentity, collateral: ParsedCollateral) -> Iterator[Finding]:
    """Collateral is for this TEE (``dcap.collateral.tee``) and platform (``dcap.collateral.fmspc``)."""
    tee = TeeType(quote.header.tee_type)
    found = f"{collateral.tcb_info.identifier} and {collateral.qe_identity.identifier}"
    required = f"{tee.name} and {_QE_IDS[tee]}"
    if found != required:
        yield untrusted("dcap.collateral.tee", "the collateral is for another TEE", found, required, _API)
    info = collateral.tcb_info
    if (info.fmspc, info.pce_id) != (pck.fmspc, pck.pce_id):
        yield untrusted(
            "dcap.collateral.fmspc",
            "the TCB info is for another kind of platform",
            f"FMSPC {info.fmspc.hex()}, PCE {info.pce_id.hex()}",
            f"FMSPC {pck.fmspc.hex()}, PCE {pck.pce_id.hex()}",
            _API,
            advice="fetch the collateral of this platform's FMSPC",
        )


def age(collateral: ParsedCollateral, policy: DcapPolicy, at: datetime) -> Iterator[Finding]:
    """What Intel issues anew each month is not older than the policy allows (``dcap.collateral.age``), and of
    a TCB evaluation that is new enough (``dcap.tcb.evaluation``). The root's list lives a year."""
    for name, issued, _ in collateral.dated:
        if name != collateral.root_list.label and at - issued > policy.max_collateral_age:
            yield untrusted(
                "dcap.collateral.age",
                f"the {name} is older than the policy allows",
                f"{(at - issued).days} days",
                f"≤ {policy.max_collateral_age_days} days",
                _POLICY,
                advice="fetch the collateral again",
            )
    if collateral.evaluation < policy.minimum_tcb_evaluation:
        yield refused(
            "dcap.tcb.evaluation",
            "the collateral is of an older TCB evaluation than the policy accepts",
            str(collateral.evaluation),
            f"≥ {policy.minimum_tcb_evaluation}",
            f"{_API}, tcbEvaluationDataNumber",
        )


def quoting_enclave(quote: Quote, collateral: ParsedCollateral) -> Iterator[Finding]:
    """The quoting enclave is the one that Intel's identity describes (``dcap.qe``)."""
    report, identity = quote.quoting_enclave.report, collateral.qe_identity
    misc = report.misc_select & identity.misc_select_mask
    compared = (
        ("MRSIGNER", report.mrsigner.hex(), identity.mrsigner.hex()),
        ("ISVPRODID", str(report.isv_prod_id), str(identity.isv_prod_id)),
        ("MISCSELECT", f"{misc:#x}", f"{identity.misc_select & identity.misc_select_mask:#x}"),
        (
            "attributes",
            _masked(report.attributes_bytes, identity.attributes_mask).hex(),
            _masked(identity.attributes, identity.attributes_mask).hex(),
        ),
    )
    for name, found, required in compared:
        if found != required:
            message = f"the quoting enclave is not Intel's: its {name} differs"
            yield untrusted("dcap.qe", message, found, required, f"{_API}, Get QE Identity")


def tdx_module(report: TdReport, collateral: ParsedCollateral) -> Iterator[Finding]:
    """The TDX module that launched the TD is one that Intel's TCB info describes (``tdx.module``)."""
    section = f"{_API}, tdxModuleIdentities"
    identity = module_identity_of(collateral.tcb_info, report.tee_tcb_svn)
    if identity is None:
        found = f"major version {report.tee_tcb_svn[1]}"
        message = "the TCB info describes no TDX module of this version"
        yield untrusted("tdx.module", message, found, "one that Intel describes", section)
        return
    compared = (
        ("MRSIGNERSEAM", report.mrsignerseam.hex(), identity.mrsigner.hex()),
        (
            "SEAMATTRIBUTES",
            report.seam_attributes.hex(),
            _masked(identity.attributes, identity.attributes_mask).hex(),
        ),
    )
    for name, found, required in compared:
        if found != required:
            yield untrusted(
                "tdx.module", f"the TDX module is not Intel's: its {name} differs", found, required, section
            )


def levels(found: Levels) -> Iterator[Finding]:
    """Every part reaches a level: platform and TDX module (``dcap.tcb.level``), the quoting enclave
    (``dcap.qe.level``); and where the TDX module of the launch does, so does the one that runs now
    (``tdx.module.current``)."""
    launched = found.platform is not None and (found.module is not None or not found.module_counts)
    missing = (
        ("dcap.tcb.level", found.platform is None, "the platform's TCB matches no level of Intel's"),
        (
            "dcap.tcb.level",
            found.module_counts and found.module is None,
            "the TDX module's SVN matches no level of Intel's",
        ),
        (
            "tdx.module.current",
            launched and not found.current,
            "the TDX module that runs now matches no level of Intel's",
        ),
        ("dcap.qe.level", found.quoting_enclave is None, "the quoting enclave matches no level of Intel's"),
    )
    for check, is_missing, message in missing:
        if is_missing:
            yield untrusted(
                check,
                message,
                "below every level",
                "a level, with a status",
                _STATUS,
                meaning="it is so old that Intel says nothing about it",
                advice="the host's operator must update firmware, microcode and TDX module",
            )


def status(tcb: TcbVerdict, policy: DcapPolicy) -> Iterator[Finding]:
    """The status is accepted (``dcap.tcb.status``), and so is every advisory that applies
    (``dcap.tcb.advisory``)."""
    if tcb.status not in policy.tcb_statuses or tcb.status is Status.Revoked:
        yield refused(
            "dcap.tcb.status",
            "the platform's TCB status is not one that the policy accepts",
            tcb.status,
            " or ".join(policy.tcb_statuses),
            _STATUS,
            meaning="Intel withdrew its trust in this TCB" if tcb.status is Status.Revoked else "",
            advice="the host's operator must update or configure the platform",
        )
    unaccepted = [name for name in tcb.advisories if name not in policy.advisories]
    if unaccepted and not policy.any_advisory:
        yield refused(
            "dcap.tcb.advisory",
            "security advisories apply to the platform that the policy does not accept",
            ", ".join(unaccepted),
            ", ".join(sorted(policy.advisories)) or "none",
            _STATUS,
        )


def platform(pck: PckIdentity, policy: DcapPolicy) -> Iterator[Finding]:
    """The platform is one that the policy lists, where it lists any, and configured as it asks."""
    if policy.fmspcs and pck.fmspc not in policy.fmspcs:
        required = f"one of {len(policy.fmspcs)} in the policy"
        message = "the platform is of a kind that the policy does not list"
        yield refused("dcap.platform.fmspc", message, pck.fmspc.hex(), required, _POLICY)
    instance = pck.platform_instance
    if policy.platforms and instance not in policy.platforms:
        required = f"one of {len(policy.platforms)} in the policy"
        found = instance.hex() if instance else "none in the certificate"
        message = "the platform is not one that the policy lists"
        yield refused("dcap.platform.instance", message, found, required, _POLICY)
    settings = (
        ("dcap.platform.smt", policy.smt, pck.smt, "simultaneous multithreading is on"),
        ("dcap.platform.dynamic", policy.dynamic_platform, pck.dynamic_platform, "packages can be added"),
        ("dcap.platform.cached-keys", policy.cached_keys, pck.cached_keys, "Intel keeps its keys"),
    )
    for check, allowed, value, what in settings:
        if not allowed and value is not False:
            found = what if value else "the certificate does not say"
            yield refused(check, f"the policy refuses a platform where {what}", found, "off", _POLICY)


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(one & other for one, other in zip(value, mask, strict=True))
