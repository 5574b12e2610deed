"""Acceptance of the platform: processor, firmware and configuration (steps 13, 15, 21 to 26 of `checks`)."""

from __future__ import annotations

from collections.abc import Iterator

from wasmkeep.evidence.errors import Finding, Kind
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import PlatformBit, format_abi, unknown_platform_bits
from wasmkeep.evidence.snp.case import Case, is_provisional, minimum_tcb
from wasmkeep.evidence.snp.findings import REPORT, bit_number, refused
from wasmkeep.evidence.snp.policy import SnpPolicy
from wasmkeep.evidence.snp.products import MODEL_LINES
from wasmkeep.evidence.snp.report import Report
from wasmkeep.evidence.snp.tcb import Tcb

__all__ = [
    "step_13_generation",
    "step_15_abi",
    "step_21_minimum_tcb",
    "step_22_launch_tcb",
    "step_23_committed",
    "step_24_platform_info",
    "step_25_chip_lists",
    "step_26_mitigations",
]

_FURTHER_BITS_SINCE = 3
_FIRST_BITS = int(PlatformBit.SMT_EN | PlatformBit.TSME_EN)
_ALL_BITS = int(~PlatformBit(0))
_ALIAS_CHECK = int(PlatformBit.ALIAS_CHECK_COMPLETE)


def step_13_generation(case: Case) -> Iterator[Finding]:
    product, allowed = case.genuine.product, case.policy.snp.generations
    if product not in allowed:
        known = defaults.generation(product)
        yield refused(
            "snp.generation",
            f"the policy does not accept {product} processors",
            product,
            " or ".join(allowed),
            "wasmkeep policy: snp.generations",
            meaning=known.denied if known else "",
            advice=f"a policy that accepts the risk names it: snp.generations = [{product!r}, …]",
        )
    if case.policy.snp.steppings:
        yield from _stepping(case)


def _stepping(case: Case) -> Iterator[Finding]:
    """A report of version 2 names no model line, and has no stepping to compare."""
    genuine, by_line = case.genuine, case.policy.snp.steppings
    lines = [genuine.line] if genuine.line else [x.name for x in MODEL_LINES if x.product == genuine.product]
    allowed = sorted({stepping for line in lines for stepping in by_line.get(line, ())})
    if allowed and genuine.report.cpuid_stepping not in allowed:
        stepping = genuine.report.cpuid_stepping
        said = "not in the report" if stepping is None else str(stepping)
        yield refused(
            "snp.stepping",
            "the policy does not accept this stepping of the processor",
            f"{genuine.line or genuine.product}, stepping {said}",
            f"{genuine.line or genuine.product}, stepping {' or '.join(map(str, allowed))}",
            REPORT,
        )


def step_15_abi(case: Case) -> Iterator[Finding]:
    report, minimum = case.genuine.report, case.policy.snp.minimum_abi
    lowest = min(report.current_version[:2], report.committed_version[:2])
    if lowest < minimum:
        message = "the platform's firmware ABI is older than the policy accepts"
        yield refused("snp.abi", message, format_abi(lowest), f"≥ {format_abi(minimum)}", REPORT)


def step_21_minimum_tcb(case: Case) -> Iterator[Finding]:
    yield from _reaches_minimum(
        case,
        case.genuine.reported_tcb,
        "snp.tcb.minimum",
        "the platform's firmware is older than the policy accepts",
        meaning="known holes in this firmware are open",
        advice="the host's operator must update its firmware",
    )


def step_22_launch_tcb(case: Case) -> Iterator[Finding]:
    yield from _reaches_minimum(
        case,
        case.genuine.launch_tcb,
        "snp.tcb.launch",
        "the keep was launched under firmware older than the policy accepts",
        meaning="known holes were open when it started; updating firmware under a running keep mends nothing",
        advice="the host must launch the keep anew",
    )


def step_23_committed(case: Case) -> Iterator[Finding]:
    if is_provisional(case.genuine) and not case.policy.snp.provisional_firmware:
        genuine = case.genuine
        yield refused(
            "snp.tcb.provisional",
            "firmware runs that can still be rolled back",
            f"current {genuine.current_tcb}, committed {genuine.committed_tcb}",
            "current committed",
            "AMD 56860, 3.3 provisional firmware",
        )


def step_24_platform_info(case: Case) -> Iterator[Finding]:
    report, policy = case.genuine.report, case.policy.snp
    info = report.platform_info
    required = report.version >= _FURTHER_BITS_SINCE and policy.alias_check
    if required and not info & _ALIAS_CHECK:
        yield refused(
            "snp.platform.alias-check",
            "the platform did not check its memory for aliases",
            f"platform info {info:#x}",
            "bit 5 set",
            REPORT,
            meaning="two addresses may name the same memory, which lets a host read or replay it",
        )
    unknown = unknown_platform_bits(info)
    if unknown and not policy.unknown_platform_bits:
        message = "the platform info has bits that this verifier does not know"
        yield Finding("snp.platform.unknown", Kind.UNSUPPORTED, message, f"{unknown:#x}", "none", REPORT)
    if policy.platform_require or policy.platform_forbid:
        yield from _platform_bits(report, policy)


def _platform_bits(report: Report, policy: SnpPolicy) -> Iterator[Finding]:
    """What the policy asks of the platform itself. Version 2 has the first bits only."""
    found = f"platform info {report.platform_info:#x}"
    defined = _ALL_BITS if report.version >= _FURTHER_BITS_SINCE else _FIRST_BITS
    for bit in PlatformBit:
        word = (bit.name or "").lower().replace("_", "-")
        if policy.platform_require & bit & ~report.platform_info:
            message = f"the platform does not have {word}"
            yield refused("snp.platform.required", message, found, f"bit {bit_number(bit)} set", REPORT)
        if policy.platform_forbid & bit & (report.platform_info | ~defined):
            says = report.platform_info & bit
            message = (
                f"the platform has {word}" if says else f"the report does not say whether there is {word}"
            )
            yield refused("snp.platform.forbidden", message, found, f"bit {bit_number(bit)} clear", REPORT)


def step_25_chip_lists(case: Case) -> Iterator[Finding]:
    chip, masked = case.genuine.report.chip_id, case.genuine.report.chip_id_masked
    allow, deny = case.policy.snp.chips_allow, case.policy.snp.chips_deny
    if not (allow or deny):
        return
    found = "masked" if masked else chip.hex()
    section = "wasmkeep policy: snp.chips"
    if allow and (masked or chip not in allow):
        required = f"one of {len(allow)} in the policy"
        yield refused("snp.chip.allow", "the chip is not one that the policy lists", found, required, section)
    if deny and (masked or chip in deny):
        message = (
            "nobody can tell that the chip is not a denied one" if masked else "the policy denies this chip"
        )
        yield refused("snp.chip.deny", message, found, "a chip that is not denied", section)


def step_26_mitigations(case: Case) -> Iterator[Finding]:
    report, policy, product = case.genuine.report, case.policy.snp, case.genuine.product
    yield from _mitigated(
        "snp.mitigations.launch",
        report.launch_mit_vector,
        policy.launch_mitigations.get(product, 0),
        "the keep was launched by firmware without mitigations that the policy requires",
    )
    yield from _mitigated(
        "snp.mitigations.current",
        report.current_mit_vector,
        policy.current_mitigations.get(product, 0),
        "the platform's firmware lacks mitigations that the policy requires",
    )


def _mitigated(check: str, vector: int | None, required: int, message: str) -> Iterator[Finding]:
    """A report below version 5 has no vectors, which is no mitigation at all."""
    if required & ~(vector or 0):
        found = "not in this version of the report" if vector is None else f"{vector:#x}"
        advice = "the platform needs newer firmware"
        yield refused(check, message, found, f"the bits {required:#x}", REPORT, advice=advice)


def _reaches_minimum(
    case: Case, tcb: Tcb, check: str, message: str, *, meaning: str, advice: str
) -> Iterator[Finding]:
    """Every component of ``tcb`` is at least the minimum's."""
    minimum = minimum_tcb(case)
    low = tcb.below(minimum)
    if low:
        detail = ", ".join(f"{name} {getattr(tcb, name)}" for name in low)
        required = ", ".join(f"{name} ≥ {getattr(minimum, name)}" for name in low)
        yield refused(
            check,
            message,
            f"{detail} (TCB {tcb})",
            f"{required} (TCB {minimum})",
            "AMD 56860, 2.2 TCB_VERSION",
            meaning=meaning,
            advice=advice,
        )
