"""Acceptance: steps 8 to 25 of `checks`, one function a step, each yielding what it refuses.

Everything here works on a `Genuine` report: signed, by a key that leads to an accepted root.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator

from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.errors import Finding, Kind
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import (
    GuestPolicyBit,
    PlatformBit,
    format_abi,
    unknown_guest_bits,
    unknown_platform_bits,
)
from wasmkeep.evidence.snp.case import (
    Case,
    is_provisional,
    minimum_report_version,
    minimum_tcb,
    reference,
    short,
)
from wasmkeep.evidence.snp.products import layout_of
from wasmkeep.evidence.snp.tcb import Tcb, TcbLayout

__all__ = ["STEPS", "findings"]

_REPORT = "AMD 56860, 7.3 ATTESTATION_REPORT"
_POLICY = "AMD 56860, 4.3 guest policy"
_HOST_REQUESTED = 0xFFFF_FFFF
_ALIAS_CHECK_SINCE = 3
_FORBIDDABLE = (
    (GuestPolicyBit.DEBUG, "debug", "the host may read and write the keep's memory"),
    (GuestPolicyBit.MIGRATE_MA, "migration-agent", "a migration agent may read the keep's state"),
    (GuestPolicyBit.SMT, "smt", "another thread may share the keep's core"),
    (GuestPolicyBit.CXL_ALLOW, "cxl", "CXL devices or memory may be present"),
)


def findings(case: Case) -> list[Finding]:
    """What steps 8 to 25 refuse, in order; empty when the report is accepted."""
    return [finding for step in STEPS for finding in step(case)]


def _step_08_signer(case: Case) -> Iterator[Finding]:
    signer = case.genuine.signer.lower()
    if signer not in case.policy.snp.signers:
        yield _refused(
            "snp.signer",
            "the report was signed by a kind of key that the policy does not allow",
            case.genuine.signer,
            " or ".join(case.policy.snp.signers).upper(),
            _REPORT,
            meaning="a VLEK is held by a cloud provider, not by one chip" if signer == "vlek" else "",
        )


def _step_09_version(case: Case) -> Iterator[Finding]:
    version, floor = case.genuine.report.version, minimum_report_version(case)
    if version < floor:
        yield _refused(
            "snp.report.floor",
            "the report has an older version than the policy accepts",
            str(version),
            f"≥ {floor}",
            _REPORT,
            meaning="an older version leaves fields out that the policy judges",
            advice="the platform needs newer firmware",
        )


def _step_10_product(case: Case) -> Iterator[Finding]:
    named, by_report = case.genuine.identity.product, case.genuine.product
    of_root = case.genuine.key.authority.root.product
    if named != by_report or of_root not in ("", by_report):
        yield _untrusted(
            "snp.product",
            "certificate and report are for different processors",
            f"{named} in the certificate, {of_root or 'a simulator'}'s root, {by_report} in the report",
            "one product",
        )


def _step_11_tcb_in_certificate(case: Case) -> Iterator[Finding]:
    certified, reported = case.genuine.identity.tcb, case.genuine.reported_tcb
    if certified != reported:
        yield _untrusted(
            "snp.tcb.certificate",
            "the certificate is for another TCB than the report",
            f"{certified} in the certificate",
            f"{reported} as reported",
            advice="fetch the certificate for the reported TCB",
        )


def _step_12_chip(case: Case) -> Iterator[Finding]:
    report, identity = case.genuine.report, case.genuine.identity
    is_vcek = case.genuine.signer == "VCEK"
    size = 8 if layout_of(case.genuine.product) is TcbLayout.FAMILY_1AH else 64
    if report.chip_id_masked:
        if not case.policy.snp.masked_chip_id:
            message = "the host masks the chip's identity"
            yield _refused("snp.chip.masked", message, "zeros", "a chip id", _REPORT)
    elif is_vcek and (identity.hw_id or b"").ljust(64, b"\0") != report.chip_id:
        found = (identity.hw_id or b"").hex() or "none"
        message = "the certificate is another chip's"
        yield _untrusted("snp.chip.certificate", message, found, report.chip_id.hex())
    if is_vcek != (identity.hw_id is not None) or is_vcek != (identity.csp_id is None):
        message = f"the {case.genuine.signer}'s certificate has the other kind's extensions"
        yield _untrusted("snp.endorsement.kind", message, "hwID or cspID", "hwID in a VCEK, cspID in a VLEK")
    elif identity.hw_id is not None and len(identity.hw_id) != size:
        message = "the hardware id in the certificate has a wrong size"
        yield _untrusted("snp.chip.size", message, f"{len(identity.hw_id)} bytes", f"{size} bytes")


def _step_13_generation(case: Case) -> Iterator[Finding]:
    product, allowed = case.genuine.product, case.policy.snp.generations
    if product not in allowed:
        known = defaults.generation(product)
        yield _refused(
            "snp.generation",
            f"the policy does not accept {product} processors",
            product,
            " or ".join(allowed),
            "wasmkeep policy: snp.generations",
            meaning=known.denied if known else "",
            advice=f"a policy that accepts the risk names it: snp.generations = [{product!r}, …]",
        )


def _step_14_guest_policy(case: Case) -> Iterator[Finding]:
    value, policy = case.genuine.report.policy, case.policy.snp
    found = f"guest policy {value:#x}"
    if not value & GuestPolicyBit.RESERVED_ONE:
        yield _untrusted("snp.policy.reserved", "bit 17 of the guest policy is clear", found, "set", _POLICY)
    unknown = unknown_guest_bits(value)
    if unknown:
        message = "the guest policy has bits that this verifier does not know"
        yield Finding("snp.policy.unknown", Kind.UNSUPPORTED, message, f"{unknown:#x}", "none", _POLICY)
    for bit, word, meaning in _FORBIDDABLE:
        if value & bit and not policy.guest_allow & bit:
            message = f"the keep was started with a guest policy that allows {word.replace('-', ' ')}"
            yield _refused(
                f"snp.policy.{word}", message, found, f"bit {_number(bit)} clear", _POLICY, meaning=meaning
            )
    for bit in GuestPolicyBit:
        if policy.guest_require & bit and not value & bit:
            word = (bit.name or "").lower().replace("_", "-")
            message = f"the keep was started with a guest policy that does not require {word}"
            yield _refused("snp.policy.required", message, found, f"bit {_number(bit)} ({word}) set", _POLICY)


def _step_15_abi(case: Case) -> Iterator[Finding]:
    report, minimum = case.genuine.report, case.policy.snp.minimum_abi
    lowest = min(report.current_version[:2], report.committed_version[:2])
    if lowest < minimum:
        message = "the platform's firmware ABI is older than the policy accepts"
        yield _refused("snp.abi", message, format_abi(lowest), f"≥ {format_abi(minimum)}", _REPORT)


def _step_16_vmpl(case: Case) -> Iterator[Finding]:
    vmpl, highest = case.genuine.report.vmpl, case.policy.snp.maximum_vmpl
    if vmpl > highest:
        yield _refused(
            "snp.vmpl",
            "the report was not made for the keep's own privilege level",
            "requested by the host" if vmpl == _HOST_REQUESTED else str(vmpl),
            f"VMPL {highest}" if not highest else f"≤ {highest}",
            _REPORT,
            meaning="something less privileged in the guest, or the host, asked for this report",
        )


def _step_17_binding(case: Case) -> Iterator[Finding]:
    yield from _equal(
        "snp.report-data",
        "the report is not bound to this session",
        case.genuine.report.report_data,
        case.binding,
    )


def _step_18_host_data(case: Case) -> Iterator[Finding]:
    yield from _equal(
        "snp.host-data",
        "the keep was not launched for this tenant's key",
        case.genuine.report.host_data,
        case.host_data,
    )


def _step_19_measurement(case: Case) -> Iterator[Finding]:
    if case.policy.any_measurement or reference(case) is not None:
        return
    genuine = case.genuine
    chip = genuine.report.chip_id
    who = f"chip {short(chip)}" if any(chip) else "a masked chip"
    accepted = [
        f"{short(digest)} ({name})"
        for digest, name in case.reference_values.items()
        if name in case.policy.runtime_names
    ]
    accepted += [short(digest) for digest in case.policy.runtime_digests]
    yield _refused(
        "snp.measurement",
        "launch digest is not one you accept",
        f"{genuine.report.measurement.hex()} (in a report correctly signed by {who}, "
        f"{genuine.signer} of TCB {genuine.reported_tcb})",
        " or ".join(accepted) or f"{', '.join(case.policy.runtime)}, for which no digest is known",
        "AMD 56860, 8.17.2 launch digest",
        meaning="the host started something other than your keep; nothing was sent to it",
        advice="compare `wasmkeep image measure --tee snp`, or ask the host's operator which image it serves",
    )


def _step_20_identity(case: Case) -> Iterator[Finding]:
    report, policy = case.genuine.report, case.policy.snp
    listed = (
        ("snp.id-key", "ID key digest", report.id_key_digest, policy.id_key_digests),
        ("snp.author-key", "author key digest", report.author_key_digest, policy.author_key_digests),
        ("snp.family-id", "family id", report.family_id, policy.family_ids),
        ("snp.image-id", "image id", report.image_id, policy.image_ids),
    )
    for check, name, value, accepted in listed:
        if accepted and value not in accepted:
            required = f"one of {len(accepted)} in the policy"
            yield _refused(check, f"{name} is not one you accept", value.hex(), required, _REPORT)
    if report.guest_svn < policy.minimum_guest_svn:
        required = f"≥ {policy.minimum_guest_svn}"
        yield _refused("snp.guest-svn", "guest SVN is too low", str(report.guest_svn), required, _REPORT)


def _step_21_minimum_tcb(case: Case) -> Iterator[Finding]:
    yield from _reaches_minimum(
        case,
        case.genuine.reported_tcb,
        "snp.tcb.minimum",
        "the platform's firmware is older than the policy accepts",
        meaning="known holes in this firmware are open",
        advice="the host's operator must update its firmware",
    )


def _step_22_launch_tcb(case: Case) -> Iterator[Finding]:
    yield from _reaches_minimum(
        case,
        case.genuine.launch_tcb,
        "snp.tcb.launch",
        "the keep was launched under firmware older than the policy accepts",
        meaning="known holes were open when it started; updating firmware under a running keep mends nothing",
        advice="the host must launch the keep anew",
    )


def _step_23_committed(case: Case) -> Iterator[Finding]:
    if is_provisional(case.genuine) and not case.policy.snp.provisional_firmware:
        genuine = case.genuine
        yield _refused(
            "snp.tcb.provisional",
            "firmware runs that can still be rolled back",
            f"current {genuine.current_tcb}, committed {genuine.committed_tcb}",
            "current committed",
            "AMD 56860, 3.3 provisional firmware",
        )


def _step_24_platform_info(case: Case) -> Iterator[Finding]:
    report, policy = case.genuine.report, case.policy.snp
    found = f"platform info {report.platform_info:#x}"
    required = report.version >= _ALIAS_CHECK_SINCE and policy.alias_check
    if required and not report.platform_info & PlatformBit.ALIAS_CHECK_COMPLETE:
        yield _refused(
            "snp.platform.alias-check",
            "the platform did not check its memory for aliases",
            found,
            "bit 5 set",
            _REPORT,
            meaning="two addresses may name the same memory, which lets a host read or replay it",
        )
    unknown = unknown_platform_bits(report.platform_info)
    if unknown and not policy.unknown_platform_bits:
        message = "the platform info has bits that this verifier does not know"
        yield Finding("snp.platform.unknown", Kind.UNSUPPORTED, message, f"{unknown:#x}", "none", _REPORT)


def _step_25_chip_lists(case: Case) -> Iterator[Finding]:
    chip, masked = case.genuine.report.chip_id, case.genuine.report.chip_id_masked
    allow, deny = case.policy.snp.chips_allow, case.policy.snp.chips_deny
    found = "masked" if masked else chip.hex()
    section = "wasmkeep policy: snp.chips"
    if allow and (masked or chip not in allow):
        required = f"one of {len(allow)} in the policy"
        yield _refused(
            "snp.chip.allow", "the chip is not one that the policy lists", found, required, section
        )
    if deny and (masked or chip in deny):
        message = (
            "nobody can tell that the chip is not a denied one" if masked else "the policy denies this chip"
        )
        yield _refused("snp.chip.deny", message, found, "a chip that is not denied", section)


STEPS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _step_08_signer,
    _step_09_version,
    _step_10_product,
    _step_11_tcb_in_certificate,
    _step_12_chip,
    _step_13_generation,
    _step_14_guest_policy,
    _step_15_abi,
    _step_16_vmpl,
    _step_17_binding,
    _step_18_host_data,
    _step_19_measurement,
    _step_20_identity,
    _step_21_minimum_tcb,
    _step_22_launch_tcb,
    _step_23_committed,
    _step_24_platform_info,
    _step_25_chip_lists,
)


def _reaches_minimum(
    case: Case, tcb: Tcb, check: str, message: str, *, meaning: str, advice: str
) -> Iterator[Finding]:
    """Every component of ``tcb`` is at least the minimum's."""
    minimum = minimum_tcb(case)
    low = tcb.below(minimum)
    if low:
        detail = ", ".join(f"{name} {getattr(tcb, name)}" for name in low)
        required = ", ".join(f"{name} ≥ {getattr(minimum, name)}" for name in low)
        yield _refused(
            check,
            message,
            f"{detail} (TCB {tcb})",
            f"{required} (TCB {minimum})",
            "AMD 56860, 2.2 TCB_VERSION",
            meaning=meaning,
            advice=advice,
        )


def _equal(check: str, message: str, found: bytes, expected: bytes | Unbound) -> Iterator[Finding]:
    if not isinstance(expected, Unbound) and not hmac.compare_digest(found, expected):
        yield _refused(
            check,
            message,
            found.hex(),
            expected.hex(),
            _REPORT,
            meaning="the evidence is replayed, forwarded, or for another key or nonce",
        )


def _number(bit: GuestPolicyBit) -> int:
    return int(bit).bit_length() - 1


def _refused(
    check: str, message: str, found: str, required: str, section: str, *, meaning: str = "", advice: str = ""
) -> Finding:
    return Finding(check, Kind.REFUSED, message, found, required, section, meaning, advice)


def _untrusted(
    check: str, message: str, found: str, required: str, section: str = _REPORT, *, advice: str = ""
) -> Finding:
    return Finding(check, Kind.UNTRUSTED, message, found, required, section, advice=advice)
