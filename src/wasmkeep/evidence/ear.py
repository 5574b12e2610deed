"""EAR: the result as EAT attestation result claims (draft-ietf-rats-ear-04, JSON names; AR4SI values).

What a relying party that knows nothing of wasmkeep reads must not overstate. A simulated machine is therefore
"contraindicated" hardware, whatever its pin's owner accepted; evidence that is bound to no session, or whose
measurement nobody compared, is at best a "warning".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wasmkeep.evidence.result import AttestationResult

__all__ = ["EAR_PROFILE", "PROFILE", "claims"]

EAR_PROFILE = "tag:ietf.org,2026:rats/ear#04"
PROFILE = "tag:wasmkeep.invalid,2026:appraisal#1"
"""Names our own claims below; ``.invalid`` because the name resolves to nothing."""

_NONE, _AFFIRMING, _WARNING, _CONTRAINDICATED = 0, 2, 32, 96
_STATUS = {_NONE: "none", _AFFIRMING: "affirming", _WARNING: "warning", _CONTRAINDICATED: "contraindicated"}
_LOWERS_CONFIGURATION = frozenset({"debug-allowed", "migration-allowed", "cxl-allowed", "vmpl"})
_LOWERS_HARDWARE = frozenset(
    {
        "denied-generation-allowed",
        "no-revocation-list",
        "revocation-age-raised",
        "minimum-tcb-lowered",
        "minimum-abi-lowered",
        "report-version-lowered",
        "unknown-platform-bits",
    }
)


def claims(result: AttestationResult) -> dict[str, object]:
    """The claims set of one appraised attester, named by its TEE."""
    vector = _trustworthiness(result)
    unproven = not result.bound or result.reference is None
    status = max(*vector.values(), _WARNING if unproven else _AFFIRMING)
    return {
        "eat_profile": EAR_PROFILE,
        "iat": int(result.at.timestamp()),
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
    weak = bool(lost & _LOWERS_HARDWARE)
    hardware = _CONTRAINDICATED if result.simulated else _WARNING if weak else _AFFIRMING
    vector = {
        "instance-identity": _AFFIRMING,
        "configuration": _WARNING if lost & _LOWERS_CONFIGURATION else _AFFIRMING,
        "hardware": hardware,
        "runtime-opaque": _CONTRAINDICATED if result.simulated or "debug-allowed" in lost else _AFFIRMING,
    }
    if result.reference is not None:
        vector["executables"] = _AFFIRMING
    return vector


def _attester_claims(result: AttestationResult) -> dict[str, object]:
    facts = result.snp
    return {
        "wasmkeep_product": facts.product,
        "wasmkeep_chip_id": facts.chip_id.hex() if facts.chip_id else None,
        "wasmkeep_tcb": result.tcb,
        "wasmkeep_launch_digest": result.launch_digest.hex(),
        "wasmkeep_report_data": result.report_data.hex(),
        "wasmkeep_host_data": result.host_data.hex(),
        "wasmkeep_simulated": result.simulated,
    }


def _verifier_claims(result: AttestationResult) -> dict[str, object]:
    revocation = result.snp.revocation
    return {
        "wasmkeep_evidence_digest": "sha256:" + result.evidence_digest.hex(),
        "wasmkeep_root": "sha256:" + result.root_spki.hex(),
        "wasmkeep_reference": result.reference,
        "wasmkeep_bound": result.bound,
        "wasmkeep_host_data_bound": result.host_data_bound,
        "wasmkeep_revocation": revocation.status.name.lower(),
        "wasmkeep_revocation_issued": int(revocation.issued.timestamp()) if revocation.issued else None,
        "wasmkeep_lost_protections": [entry.what for entry in result.lost_protections],
    }
