"""Acceptance: steps 8 to 26 of `checks`, one function a step, each yielding what it refuses.

Everything here works on a `Genuine` report: signed, by a key that leads to an accepted root.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator

from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.errors import Finding, Kind
from wasmkeep.evidence.snp import platform_rules
from wasmkeep.evidence.snp.bits import GuestPolicyBit, abi_of, format_abi, unknown_guest_bits
from wasmkeep.evidence.snp.case import Case, minimum_report_version, reference, short
from wasmkeep.evidence.snp.findings import POLICY, REPORT, bit_number, refused
from wasmkeep.evidence.snp.products import layout_of
from wasmkeep.evidence.snp.report import UNDESCRIBED
from wasmkeep.evidence.snp.tcb import TcbLayout

__all__ = ["STEPS", "findings", "findings_of_platform", "findings_of_session"]

_HOST_REQUESTED = 0xFFFF_FFFF
_RESERVED_ONE = int(GuestPolicyBit.RESERVED_ONE)
_FORBIDDABLE = (
    (
        "snp.policy.debug",
        int(GuestPolicyBit.DEBUG),
        "debugging",
        "the host may read and write the keep's memory",
    ),
    (
        "snp.policy.migration-agent",
        int(GuestPolicyBit.MIGRATE_MA),
        "a migration agent",
        "a migration agent may read the keep's state",
    ),
    ("snp.policy.smt", int(GuestPolicyBit.SMT), "SMT", "another thread may share the keep's core"),
    ("snp.policy.cxl", int(GuestPolicyBit.CXL_ALLOW), "CXL", "CXL devices or memory may be present"),
)


def findings(case: Case) -> list[Finding]:
    """What steps 8 to 26 refuse, in order; empty when the report is accepted."""
    return [finding for step in STEPS for finding in step(case)]


def findings_of_session(case: Case) -> list[Finding]:
    """Those that refuse report data, host data or measurement."""
    return [finding for step in _SESSION_STEPS for finding in step(case)]


def findings_of_platform(case: Case) -> list[Finding]:
    """All others: they are the same for every keep that was launched alike on this platform."""
    return [finding for step in STEPS if step not in _SESSION_STEPS for finding in step(case)]


def _step_08_signer(case: Case) -> Iterator[Finding]:
    signer = case.genuine.signer.lower()
    if signer not in case.policy.snp.signers:
        yield refused(
            "snp.signer",
            "the report was signed by a kind of key that the policy does not allow",
            case.genuine.signer,
            " or ".join(case.policy.snp.signers).upper(),
            REPORT,
            meaning="a VLEK is held by a cloud provider, not by one chip" if signer == "vlek" else "",
        )


def _step_09_version(case: Case) -> Iterator[Finding]:
    version, floor = case.genuine.report.version, minimum_report_version(case)
    if version < floor:
        yield refused(
            "snp.report.floor",
            "the report has an older version than the policy accepts",
            str(version),
            f"≥ {floor}",
            REPORT,
            meaning="an older version leaves fields out that the policy judges",
            advice="the platform needs newer firmware",
        )
    if version == UNDESCRIBED and not case.policy.snp.undescribed_version:
        yield Finding(
            "snp.report.version",
            Kind.UNSUPPORTED,
            "AMD has not described this version of the report in public",
            found=str(version),
            required="2, 3 or 5",
            section=REPORT,
            meaning="a field that this verifier takes for reserved may say something",
            advice="the platform needs newer firmware; or a policy takes the risk: snp.undescribed_version",
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
            yield refused("snp.chip.masked", message, "zeros", "a chip id", REPORT)
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


def _step_14_guest_policy(case: Case) -> Iterator[Finding]:
    value, policy = case.genuine.report.policy, case.policy.snp
    allowed = int(policy.guest_allow)
    found = f"guest policy {value:#x}"
    if not value & _RESERVED_ONE:
        yield _untrusted("snp.policy.reserved", "bit 17 of the guest policy is clear", found, "set", POLICY)
    unknown = unknown_guest_bits(value)
    if unknown:
        message = "the guest policy has bits that this verifier does not know"
        yield Finding("snp.policy.unknown", Kind.UNSUPPORTED, message, f"{unknown:#x}", "none", POLICY)
    for check, mask, what, meaning in _FORBIDDABLE:
        if value & mask & ~allowed:
            message = f"the keep was started with a guest policy that allows {what}"
            required = f"bit {bit_number(mask)} clear"
            yield refused(check, message, found, required, POLICY, meaning=meaning)
    missing = int(policy.guest_require) & ~value
    if missing:
        yield from _required_bits(missing, found)
    if abi_of(value) < policy.guest_minimum_abi:
        yield refused(
            "snp.policy.abi",
            "the guest policy lets the keep run on older firmware than the policy accepts",
            f"{found}, ABI ≥ {format_abi(abi_of(value))}",
            f"ABI ≥ {format_abi(policy.guest_minimum_abi)}",
            POLICY,
        )


def _required_bits(missing: int, found: str) -> Iterator[Finding]:
    for bit in GuestPolicyBit:
        if missing & bit:
            word = (bit.name or "").lower().replace("_", "-")
            message = f"the keep was started with a guest policy that does not require {word}"
            yield refused(
                "snp.policy.required", message, found, f"bit {bit_number(bit)} ({word}) set", POLICY
            )


def _step_16_vmpl(case: Case) -> Iterator[Finding]:
    vmpl, highest = case.genuine.report.vmpl, case.policy.snp.maximum_vmpl
    if vmpl > highest:
        yield refused(
            "snp.vmpl",
            "the report was not made for the keep's own privilege level",
            "requested by the host" if vmpl == _HOST_REQUESTED else str(vmpl),
            f"VMPL {highest}" if not highest else f"≤ {highest}",
            REPORT,
            meaning="something less privileged in the guest, or the host, asked for this report",
        )


def _step_17_binding(case: Case) -> Iterator[Finding]:
    listed, report_data = case.policy.snp.report_data, case.genuine.report.report_data
    if _differs(report_data, case.binding):
        yield _of_another(
            "snp.report-data", "the report is not bound to this session", report_data, case.binding
        )
    if listed and report_data not in listed:
        message = "the report data is not one that the policy lists"
        required = f"one of {len(listed)} in the policy"
        yield refused("snp.report-data.listed", message, report_data.hex(), required, REPORT)


def _step_18_host_data(case: Case) -> Iterator[Finding]:
    listed, host_data = case.policy.snp.host_data, case.genuine.report.host_data
    if _differs(host_data, case.host_data):
        message = "the keep was not launched for this tenant's key"
        yield _of_another("snp.host-data", message, host_data, case.host_data)
    if listed and host_data not in listed:
        message = "the host data is not one that the policy lists"
        required = f"one of {len(listed)} in the policy"
        yield refused("snp.host-data.listed", message, host_data.hex(), required, REPORT)


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
    yield refused(
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
            yield refused(check, f"{name} is not one you accept", value.hex(), required, REPORT)
    if report.guest_svn < policy.minimum_guest_svn:
        required = f"≥ {policy.minimum_guest_svn}"
        yield refused("snp.guest-svn", "guest SVN is too low", str(report.guest_svn), required, REPORT)


STEPS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _step_08_signer,
    _step_09_version,
    _step_10_product,
    _step_11_tcb_in_certificate,
    _step_12_chip,
    platform_rules.step_13_generation,
    _step_14_guest_policy,
    platform_rules.step_15_abi,
    _step_16_vmpl,
    _step_17_binding,
    _step_18_host_data,
    _step_19_measurement,
    _step_20_identity,
    platform_rules.step_21_minimum_tcb,
    platform_rules.step_22_launch_tcb,
    platform_rules.step_23_committed,
    platform_rules.step_24_platform_info,
    platform_rules.step_25_chip_lists,
    platform_rules.step_26_mitigations,
)
_SESSION_STEPS = (_step_17_binding, _step_18_host_data, _step_19_measurement)


def _differs(found: bytes, expected: bytes | Unbound) -> bool:
    return not isinstance(expected, Unbound) and not hmac.compare_digest(found, expected)


def _of_another(check: str, message: str, found: bytes, expected: bytes | Unbound) -> Finding:
    required = "" if isinstance(expected, Unbound) else expected.hex()
    meaning = "the evidence is replayed, forwarded, or for another key or nonce"
    return refused(check, message, found.hex(), required, REPORT, meaning=meaning)


def _untrusted(
    check: str, message: str, found: str, required: str, section: str = REPORT, *, advice: str = ""
) -> Finding:
    return Finding(check, Kind.UNTRUSTED, message, found, required, section, advice=advice)
