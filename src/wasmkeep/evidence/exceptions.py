"""Which rules of the shipped policy a policy lifts or lowers, before any evidence is there.

The words are those of `AttestationResult.lost_protections`, which says what evidence made use of.
"""

from __future__ import annotations

from collections.abc import Iterator

from wasmkeep.evidence.exceptions_intel import of_sgx, of_tdx
from wasmkeep.evidence.policy import SEV_PLATFORMS, Policy, RevocationPolicy, SevPolicy, SnpPolicy
from wasmkeep.evidence.result import LostProtection
from wasmkeep.evidence.sev.bits import GuestPolicyBit as SevGuestPolicyBit
from wasmkeep.evidence.sev.bits import format_api
from wasmkeep.evidence.sev.evidence import KINDS
from wasmkeep.evidence.sev.lost import inherent
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit, format_abi

__all__ = ["exceptions"]

_GUEST_BITS = (
    (GuestPolicyBit.DEBUG, "debug-allowed", "keeps whose memory the host may read and write"),
    (GuestPolicyBit.MIGRATE_MA, "migration-allowed", "keeps whose state a migration agent may read"),
    (GuestPolicyBit.CXL_ALLOW, "cxl-allowed", "keeps beside CXL devices or memory"),
)


_SEV_GUEST_BITS = (
    (SevGuestPolicyBit.NODBG, "debug-allowed", "keeps whose memory the host may read and write"),
    (SevGuestPolicyBit.NOKS, "key-sharing-allowed", "keeps whose memory key another guest may have"),
    (SevGuestPolicyBit.NOSEND, "migration-allowed", "keeps that may be sent to another platform"),
)


def exceptions(policy: Policy) -> tuple[LostProtection, ...]:
    """Every rule on which ``policy`` is less strict than the shipped one; a pinned simulator is none. A table
    counts only where ``platforms`` names what it is about."""
    who = f"the policy {policy.name}"
    found: list[tuple[str, str]] = list(_general(policy))
    if "snp" in policy.platforms:
        found += (
            *_generations(policy.snp),
            *_floors(policy.snp),
            *_guest(policy.snp),
            *_platform(policy.snp),
        )
    if not set(policy.platforms).isdisjoint(SEV_PLATFORMS):
        found += (*_generations(policy.sev), *_sev_kinds(policy), *_sev(policy.sev))
    if "tdx" in policy.platforms:
        found += of_tdx(policy.tdx)
    if "sgx" in policy.platforms:
        found += of_sgx(policy.sgx)
    texts: dict[str, list[str]] = {}
    for what, text in found:
        texts.setdefault(what, []).append(text)
    return tuple(
        LostProtection(what, f"{who} {'; and '.join(dict.fromkeys(said))}") for what, said in texts.items()
    )


def _general(policy: Policy) -> Iterator[tuple[str, str]]:
    if policy.any_measurement:
        yield "any-measurement", "accepts any keep image, also one that tells everything"
    if not policy.revocation.required:
        stale = "" if policy.revocation.in_date else " and accepts one that is out of date"
        yield "no-revocation-list", f"does not ask for a revocation list{stale}"
    days, shipped = policy.revocation.max_age_days, RevocationPolicy().max_age_days
    if days > shipped:
        yield "revocation-age-raised", f"accepts revocation lists of {days} days, {shipped} by default"


def _generations(platform: SnpPolicy | SevPolicy) -> Iterator[tuple[str, str]]:
    if platform.lifted_denials:
        text = (
            f"accepts {', '.join(platform.lifted_denials)}, denied by default: "
            "root secrets of that generation have been published as extractable"
        )
        yield "denied-generation-allowed", text


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
    older = [
        f"version {version} of {name} ({shipped.minimum_report_version[name]} by default)"
        for name, version in snp.minimum_report_version.items()
        if version < shipped.minimum_report_version[name]
    ]
    if older:
        yield "report-version-lowered", f"accepts reports of {', '.join(older)}"


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
    if snp.undescribed_version:
        yield "undescribed-version", "accepts reports of a version that AMD has not described in public"


def _sev_kinds(policy: Policy) -> Iterator[tuple[str, str]]:
    """What naming SEV or SEV-ES accepts."""
    named = [kind for kind in KINDS if kind in policy.platforms]
    for lost in inherent(named[0]):  # plain SEV comes first, and its list holds that of SEV-ES
        kinds = " and ".join(kind.upper() for kind in named if lost in inherent(kind))
        yield lost.what, f"names {kinds}: {lost.text}"


def _sev(sev: SevPolicy) -> Iterator[tuple[str, str]]:
    shipped = SevPolicy()
    if sev.minimum_api < shipped.minimum_api:
        api, by_default = format_api(sev.minimum_api), format_api(shipped.minimum_api)
        yield "minimum-api-lowered", f"accepts SEV API {api}, {by_default} by default"
    for bit, what, text in _SEV_GUEST_BITS:
        if sev.guest_allow & bit:
            yield what, f"accepts {text}"
