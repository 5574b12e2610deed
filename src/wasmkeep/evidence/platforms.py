"""Kinds of TEE by name, and the refusal of one that a policy does not accept."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from wasmkeep.evidence.errors import Finding, Kind
from wasmkeep.evidence.policy import Policy

__all__ = ["PLATFORM_NAMES", "platform_denied"]

PLATFORM_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "snp": "AMD SEV-SNP",
        "tdx": "Intel TDX",
        "sgx": "Intel SGX",
        "sev-es": "AMD SEV-ES",
        "sev": "AMD SEV",
        "cca": "Arm CCA",
        "nitro": "AWS Nitro Enclaves",
    }
)


def platform_denied(kind: str, policy: Policy) -> Finding:
    """The finding for evidence of a kind that ``policy.platforms`` does not hold."""
    says = "denies" if kind in policy.denied_platforms else "does not name"
    return Finding(
        "platform.denied",
        Kind.REFUSED,
        f"the policy {says} {PLATFORM_NAMES[kind]}",
        found=kind,
        required=", ".join(policy.platforms),
        section="wasmkeep policy: platforms",
    )
