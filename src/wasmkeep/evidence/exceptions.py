"""Which rules of the shipped policy a policy lifts or lowers, before any evidence is there.

The words are those of `AttestationResult.lost_protections`, which says what evidence made use of.
"""

from __future__ import annotations

from collections.abc import Iterator

from wasmkeep.evidence.policy import Policy, RevocationPolicy, SnpPolicy
from wasmkeep.evidence.result import LostProtection
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit, format_abi

__all__ = ["exceptions"]

_GUEST_BITS = (
    (GuestPolicyBit.DEBUG, "debug-allowed", "keeps whose memory the host may read and write"),
    (GuestPolicyBit.MIGRATE_MA, "migration-allowed", "keeps whose state a migration agent may read"),
    (GuestPolicyBit.CXL_ALLOW, "cxl-allowed", "keeps beside CXL devices or memory"),
)


def exceptions(policy: Policy) -> tuple[LostProtection, ...]:
    """Every rule on which ``policy`` is less strict than the shipped one; a pinned simulator is none."""
    who = f"the policy {policy.name}"
    found = (*_general(policy), *_floors(policy.snp), *_guest(policy.snp), *_platform(policy.snp))
    return tuple(LostProtection(what, f"{who} {text}") for what, text in found)


def _general(policy: Policy) -> Iterator[tuple[str, str]]:
    if policy.snp.lifted_denials:
        text = (
            f"accepts {', '.join(policy.snp.lifted_denials)}, denied by default: "
            "root secrets of that generation have been published as extractable"
        )
        yield "denied-generation-allowed", text
    if policy.any_measurement:
        yield "any-measurement", "accepts any keep image, also one that tells everything"
    if not policy.revocation.required:
        yield "no-revocation-list", "does not ask for a revocation list"
    days, shipped = policy.revocation.max_age_days, RevocationPolicy().max_age_days
    if days > shipped:
        yield "revocation-age-raised", f"accepts revocation lists of {days} days, {shipped} by default"


def _floors(snp: SnpPolicy) -> Iterator[tuple[str, str]]:
    shipped = SnpPolicy()
    lowered = [
        f"{line} {snp.minimum_tcb[line]} ({minimum} by default)"
        for line, minimum in defaults.MINIMUM_TCB.items()
        if snp.minimum_tcb[line].below(minimum)
    ]
    if lowered:
        yield "minimum-tcb-lowered", f"lowers the minimum TCB: {', '.join(lowered)}"
    if snp.minimum_abi < shipped.minimum_abi:
        abi, by_default = format_abi(snp.minimum_abi), format_abi(shipped.minimum_abi)
        yield "minimum-abi-lowered", f"accepts firmware ABI {abi}, {by_default} by default"
    version = snp.minimum_report_version
    if version < shipped.minimum_report_version:
        text = f"accepts reports of version {version}, {shipped.minimum_report_version} by default"
        yield "report-version-lowered", text


def _guest(snp: SnpPolicy) -> Iterator[tuple[str, str]]:
    for bit, what, text in _GUEST_BITS:
        if snp.guest_allow & bit:
            yield what, f"accepts {text}"
    if snp.maximum_vmpl:
        yield "vmpl", f"accepts reports made at VMPL {snp.maximum_vmpl}, less privileged than the keep"


def _platform(snp: SnpPolicy) -> Iterator[tuple[str, str]]:
    if snp.provisional_firmware:
        yield "provisional-firmware", "accepts firmware that can still be rolled back"
    if snp.masked_chip_id:
        yield "masked-chip-id", "accepts chips that are not identified"
    if "vlek" in snp.signers:
        yield "vlek", "accepts reports that a cloud's key signed, not a chip's own"
    if not snp.alias_check:
        yield "no-alias-check", "accepts platforms that did not check their memory for aliases"
    if snp.unknown_platform_bits:
        yield "unknown-platform-bits", "accepts platform info bits that this verifier does not know"
