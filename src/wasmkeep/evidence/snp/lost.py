"""What accepted SNP evidence lacks that the shipped policy would have asked for.

The words are those of `wasmkeep.evidence.exceptions`, which says the same of a policy without evidence.
"""

from __future__ import annotations

from collections.abc import Iterator

from wasmkeep.evidence.policy import RevocationPolicy, SnpPolicy
from wasmkeep.evidence.result import LostProtection
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit, PlatformBit, format_abi, unknown_platform_bits
from wasmkeep.evidence.snp.case import (
    Case,
    is_provisional,
    minimum_report_version,
    minimum_tcb,
)
from wasmkeep.evidence.snp.report import UNDESCRIBED
from wasmkeep.evidence.snp.revocation import Revocation, RevocationStatus

__all__ = ["of_the_launch", "of_the_platform", "of_the_session"]

_SHIPPED, _SHIPPED_REVOCATION = SnpPolicy(), RevocationPolicy()
_DEBUG = int(GuestPolicyBit.DEBUG)
_MIGRATE_MA = int(GuestPolicyBit.MIGRATE_MA)
_CXL_ALLOW = int(GuestPolicyBit.CXL_ALLOW)
_ALIAS_CHECK = int(PlatformBit.ALIAS_CHECK_COMPLETE)


def of_the_launch(case: Case) -> Iterator[LostProtection]:
    """Exceptions that root and launch made use of."""
    yield from _of_the_root(case)
    yield from _of_the_guest(case)


def of_the_session(case: Case, matched: str | None, revocation: Revocation) -> Iterator[LostProtection]:
    """Exceptions for what is not the same for every keep that was launched alike; ``matched`` names the
    reference value."""
    if matched is None:
        yield LostProtection("any-measurement", "the policy accepts whatever was launched")
    if revocation.status is not RevocationStatus.FRESH:
        yield LostProtection("no-revocation-list", f"revocation: {revocation.status.value}")
    allowed, shipped = case.policy.revocation.max_age_days, _SHIPPED_REVOCATION.max_age_days
    if allowed > shipped:
        issued = f"; this one is of {revocation.issued:%Y-%m-%d}" if revocation.issued else ""
        text = f"a revocation list may be {allowed} days old, {shipped} by default{issued}"
        yield LostProtection("revocation-age-raised", text)


def of_the_platform(case: Case) -> Iterator[LostProtection]:
    """Exceptions that the platform made use of, and every floor that was lowered for it."""
    yield from _of_the_platform(case)
    yield from _lowered_floors(case)


def _of_the_root(case: Case) -> Iterator[LostProtection]:
    genuine = case.genuine
    root = genuine.key.authority.root
    if root.simulated:
        text = f"the root {root.pin} is a simulator's: nothing is protected from the owner of that computer"
        yield LostProtection("simulated", text)
    if genuine.product in case.policy.snp.lifted_denials:
        known = defaults.generation(genuine.product)
        text = f"{genuine.product} is accepted because the policy names it; {known.denied if known else ''}"
        yield LostProtection("denied-generation-allowed", text)


def _of_the_guest(case: Case) -> Iterator[LostProtection]:
    report = case.genuine.report
    if report.policy & _DEBUG:
        yield LostProtection("debug-allowed", "the host may read and write the keep's memory")
    if report.policy & _MIGRATE_MA:
        yield LostProtection("migration-allowed", "a migration agent may read the keep's state")
    if report.policy & _CXL_ALLOW:
        yield LostProtection("cxl-allowed", "CXL devices or memory may be present")
    if report.vmpl:
        yield LostProtection("vmpl", f"the report was made at VMPL {report.vmpl}")


def _of_the_platform(case: Case) -> Iterator[LostProtection]:
    genuine = case.genuine
    report = genuine.report
    if is_provisional(genuine):
        yield LostProtection("provisional-firmware", "the platform's firmware can still be rolled back")
    if report.chip_id_masked:
        yield LostProtection("masked-chip-id", "the chip is not identified")
    if genuine.signer == "VLEK":
        yield LostProtection(
            "vlek", f"a key of {genuine.identity.csp_id} signed the report, not a chip's own"
        )
    if not report.platform_info & _ALIAS_CHECK:
        yield LostProtection(
            "no-alias-check", "the platform did not say that it checked its memory for aliases"
        )
    unknown = unknown_platform_bits(report.platform_info)
    if unknown:
        text = f"the platform info has bits that this verifier does not know: {unknown:#x}"
        yield LostProtection("unknown-platform-bits", text)
    if report.version == UNDESCRIBED:
        text = f"AMD has not described version {report.version} of the report; it was read like version 3"
        yield LostProtection("undescribed-version", text)


def _lowered_floors(case: Case) -> Iterator[LostProtection]:
    """Said whether or not this platform stands below the shipped floor: the verdict did not ask."""
    genuine, snp, shipped = case.genuine, case.policy.snp, _SHIPPED
    line = genuine.line or genuine.product
    minimum, shipped_minimum = minimum_tcb(case), defaults.MINIMUM_TCB[line]
    if minimum.below(shipped_minimum):
        text = (
            f"the minimum TCB for {line} is {minimum}, {shipped_minimum} by default; "
            f"reported {genuine.reported_tcb}, at launch {genuine.launch_tcb}"
        )
        yield LostProtection("minimum-tcb-lowered", text)
    if snp.minimum_abi < shipped.minimum_abi:
        report = genuine.report
        found = format_abi(min(report.current_version[:2], report.committed_version[:2]))
        text = (
            f"the minimum firmware ABI is {format_abi(snp.minimum_abi)}, "
            f"{format_abi(shipped.minimum_abi)} by default; the platform has {found}"
        )
        yield LostProtection("minimum-abi-lowered", text)
    version, shipped_version = minimum_report_version(case), shipped.minimum_report_version[genuine.product]
    if version < shipped_version:
        text = (
            f"reports of version {version} are accepted, {shipped_version} "
            f"by default; this one has version {genuine.report.version}"
        )
        yield LostProtection("report-version-lowered", text)
