"""EAR: the result as EAT attestation result claims (draft-ietf-rats-ear-04, JSON names; AR4SI values).

What a relying party that knows nothing of wasmkeep reads must not overstate. A simulated machine is therefore
"contraindicated" hardware, whatever its pin's owner accepted; evidence that is bound to no session, or whose
measurement nobody compared, is at best a "warning".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.evidence.snp.revocation import Revocation, RevocationStatus

if TYPE_CHECKING:
    from datetime import datetime

    from wasmkeep.evidence.dcap.facts import DcapFacts
    from wasmkeep.evidence.result import AttestationResult
    from wasmkeep.evidence.sgx.facts import SgxFacts
    from wasmkeep.evidence.tdx.facts import TdxFacts

__all__ = ["EAR_PROFILE", "PROFILE", "TIERS", "VECTOR", "claims"]

EAR_PROFILE = "tag:ietf.org,2026:rats/ear#04"
PROFILE = "tag:wasmkeep.invalid,2026:appraisal#1"
"""Names our own claims below; ``.invalid`` because the name resolves to nothing."""

_NONE, _AFFIRMING, _WARNING, _CONTRAINDICATED = 0, 2, 32, 96
TIERS = {"none": _NONE, "affirming": _AFFIRMING, "warning": _WARNING, "contraindicated": _CONTRAINDICATED}
"""Trustworthiness tiers and the least value of each (AR4SI, 3.2)."""
VECTOR = (
    "instance-identity",
    "configuration",
    "executables",
    "file-system",
    "hardware",
    "runtime-opaque",
    "storage-opaque",
    "sourced-data",
)
"""Claims of the trustworthiness vector; the place of each is its key in CBOR (AR4SI, 3.1)."""
_STATUS = {value: name for name, value in TIERS.items()}
_LOWERS_CONFIGURATION = frozenset(
    {
        "debug-allowed",
        "migration-allowed",
        "key-sharing-allowed",
        "cxl-allowed",
        "vmpl",
        "entry-point-unproven",
        "sept-ve-allowed",
        "service-td",
        "unknown-attributes",
        "perfmon-allowed",
        "key-locker-allowed",
        "provision-key-allowed",
    }
)
_LOWERS_OPACITY = frozenset({"no-memory-integrity", "registers-visible", "no-alias-check"})
_LOWERS_NOTHING = frozenset({"simulated", "any-measurement", "by-signer", "masked-chip-id", "vlek"})
"""Said by another claim: contraindicated hardware, no executables, no instance identity. Every word that is
in none of these sets, those of releases to come too, lowers the hardware's."""

_NO_LIST = Revocation(RevocationStatus.ABSENT)


def claims(result: AttestationResult, *, issued: datetime | None = None) -> dict[str, object]:
    """The claims set of one appraised attester, named by its TEE. ``issued`` is when the result is written
    down, by default the moment it was judged at."""
    vector = _trustworthiness(result)
    unproven = not result.bound or result.reference is None
    status = max(*vector.values(), _WARNING if unproven else _AFFIRMING)
    return {
        "eat_profile": EAR_PROFILE,
        "iat": int((issued or result.at).timestamp()),
        "ear_verifier_id": {"developer": "wasmkeep", "build": result.verifier},
        "submods": {
            result.tee: {
                "eat_profile": PROFILE,
                "ear_status": _STATUS[status],
                "ear_trustworthiness_vector": vector,
                "ear_appraisal_policy_ids": [result.policy_id],
                "ear_attester_claims": _attester_claims(result),
                "ear_verifier_claims": _verifier_claims(result),
            }
        },
    }


def _trustworthiness(result: AttestationResult) -> dict[str, int]:
    """AR4SI claims this appraisal can speak about; file system, storage and sourced data it cannot."""
    lost = {entry.what for entry in result.lost_protections}
    weak = bool(lost - _LOWERS_CONFIGURATION - _LOWERS_OPACITY - _LOWERS_NOTHING)
    hardware = _CONTRAINDICATED if result.simulated else _WARNING if weak else _AFFIRMING
    opaque = _WARNING if lost & _LOWERS_OPACITY else _AFFIRMING
    vector = {
        "configuration": _WARNING if lost & _LOWERS_CONFIGURATION else _AFFIRMING,
        "hardware": hardware,
        "runtime-opaque": _CONTRAINDICATED if result.simulated or "debug-allowed" in lost else opaque,
    }
    if "masked-chip-id" not in lost:
        vector["instance-identity"] = _AFFIRMING
    if result.reference is not None:
        vector["executables"] = _AFFIRMING
    return vector


def _attester_claims(result: AttestationResult) -> dict[str, object]:
    claims: dict[str, object] = {
        "wasmkeep_product": result.product,
        "wasmkeep_launch_digest": result.launch_digest.hex(),
        "wasmkeep_report_data": result.report_data.hex(),
        "wasmkeep_simulated": result.simulated,
    }
    if result.snp is not None:
        chip = result.snp.chip_id
        claims["wasmkeep_chip_id"] = chip.hex() if chip else None
        claims["wasmkeep_tcb"] = result.tcb
        claims["wasmkeep_host_data"] = result.host_data.hex()
    if result.sev is not None:
        platform = result.sev.platform
        claims["wasmkeep_firmware"] = result.sev.firmware
        claims["wasmkeep_guest_policy"] = result.sev.launch.policy.encode()
        claims["wasmkeep_chip_key"] = "sha256:" + platform.cek_digest.hex()
        claims["wasmkeep_owner_key"] = "sha256:" + platform.oca_digest.hex()
    facts = result.tdx or result.sgx
    if facts is not None:
        claims |= _platform_of_intel(facts)
    if result.tdx is not None:
        claims |= _trust_domain(result.tdx)
    if result.sgx is not None:
        claims |= _enclave(result.sgx)
    return claims


def _platform_of_intel(facts: DcapFacts) -> dict[str, object]:
    instance = facts.pck.platform_instance
    return {
        "wasmkeep_tcb_status": facts.tcb.status.value,
        "wasmkeep_advisories": list(facts.tcb.advisories),
        "wasmkeep_tcb_evaluation": facts.tcb_evaluation,
        "wasmkeep_fmspc": facts.pck.fmspc.hex(),
        "wasmkeep_platform_instance": None if instance is None else instance.hex(),
    }


def _trust_domain(facts: TdxFacts) -> dict[str, object]:
    report = facts.report
    return {
        "wasmkeep_td_attributes": f"{report.attributes:016x}",
        "wasmkeep_xfam": f"{report.xfam:016x}",
        "wasmkeep_rtmrs": [one.hex() for one in report.rtmrs],
        "wasmkeep_mrseam": report.mrseam.hex(),
        "wasmkeep_mrconfigid": report.mrconfigid.hex(),
        "wasmkeep_mrowner": report.mrowner.hex(),
        "wasmkeep_mrownerconfig": report.mrownerconfig.hex(),
    }


def _enclave(facts: SgxFacts) -> dict[str, object]:
    report = facts.report
    return {
        "wasmkeep_sgx_attributes": f"{report.attributes:016x}",
        "wasmkeep_mrsigner": report.mrsigner.hex(),
        "wasmkeep_isv_prod_id": report.isv_prod_id,
        "wasmkeep_isv_svn": report.isv_svn,
    }


def _verifier_claims(result: AttestationResult) -> dict[str, object]:
    intel = result.tdx or result.sgx
    revocation = result.snp.revocation if result.snp is not None else _NO_LIST
    if intel is not None:
        # Lists in date are a part of the collateral, which is never missing.
        revocation = Revocation(RevocationStatus.FRESH, intel.collateral_issued)
    return {
        "wasmkeep_evidence_digest": "sha256:" + result.evidence_digest.hex(),
        "wasmkeep_root": "sha256:" + result.root_spki.hex(),
        "wasmkeep_judged_at": int(result.at.timestamp()),
        "wasmkeep_reference": result.reference,
        "wasmkeep_bound": result.bound,
        "wasmkeep_verifiable_by": "tenant" if result.tenant_only else "anyone",
        "wasmkeep_host_data_bound": result.host_data_bound,
        "wasmkeep_revocation": revocation.status.name.lower(),
        "wasmkeep_revocation_issued": int(revocation.issued.timestamp()) if revocation.issued else None,
        "wasmkeep_lost_protections": [entry.what for entry in result.lost_protections],
    }
