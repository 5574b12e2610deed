"""A report in words: every field with its meaning, for people. Nothing here is a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wasmkeep.evidence.snp.bits import (
    GuestPolicyBit,
    PlatformBit,
    abi_of,
    format_abi,
    unknown_guest_bits,
    unknown_platform_bits,
)
from wasmkeep.evidence.snp.products import layout_of, line_of
from wasmkeep.evidence.snp.report import Report, SigningKey
from wasmkeep.evidence.snp.tcb import Tcb, TcbLayout

__all__ = ["Line", "explain"]

_CHIP_ID_TURIN_SIZE = 8


@dataclass(frozen=True, slots=True)
class Line:
    """``group`` is ``guest``, ``platform`` or ``signature``; ``value`` as it stands, ``meaning`` in words."""

    group: str
    name: str
    value: str
    meaning: str = ""


def explain(report: Report, *, product: str | None = None) -> tuple[Line, ...]:
    """Every field of a report. ``product`` (from the certificate) decides how a version 2 report's TCB is
    read; later versions say themselves."""
    return (*_guest(report), *_platform(report, product), *_signature(report))


def _guest(report: Report) -> Iterator[Line]:
    yield Line("guest", "policy", f"{report.policy:#x}", _policy_words(report.policy))
    yield Line("guest", "measurement", report.measurement.hex(), "launch digest")
    yield Line("guest", "report data", report.report_data.hex(), "chosen by the guest")
    yield Line("guest", "host data", report.host_data.hex(), "fixed by the host at launch")
    yield Line("guest", "VMPL", f"{report.vmpl:#x}" if report.vmpl > 3 else str(report.vmpl))
    yield Line("guest", "guest SVN", str(report.guest_svn))
    yield Line("guest", "family id", report.family_id.hex())
    yield Line("guest", "image id", report.image_id.hex())
    yield Line("guest", "ID key digest", report.id_key_digest.hex())
    yield Line("guest", "author key digest", report.author_key_digest.hex())
    yield Line("guest", "report id", report.report_id.hex(), "random, per launch")
    agent = "no migration agent" if report.report_id_ma == b"\xff" * 32 else "of the migration agent"
    yield Line("guest", "report id MA", report.report_id_ma.hex(), agent)


def _platform(report: Report, product: str | None) -> Iterator[Line]:
    layout = _layout(report, product)
    yield Line("platform", "processor", _processor(report))
    for name, value in (
        ("reported", report.reported_tcb),
        ("current", report.current_tcb),
        ("committed", report.committed_tcb),
        ("launch", report.launch_tcb),
    ):
        words = _tcb_words(value, layout)
        if name == "reported" and _is_below(value, report.current_tcb, layout):
            words += "  ← reported is below current"
        yield Line("platform", f"TCB {name}", f"{value:#018x}", words)
    yield Line("platform", "chip id", report.chip_id.hex(), "masked" if report.chip_id_masked else "")
    for name, version in (("current", report.current_version), ("committed", report.committed_version)):
        yield Line("platform", f"firmware {name}", "{}.{}.{}".format(*version))
    yield Line(
        "platform", "platform info", f"{report.platform_info:#x}", _platform_words(report.platform_info)
    )
    if report.launch_mit_vector is not None and report.current_mit_vector is not None:
        yield Line("platform", "mitigations at launch", f"{report.launch_mit_vector:#x}")
        yield Line("platform", "mitigations now", f"{report.current_mit_vector:#x}")


def _signature(report: Report) -> Iterator[Line]:
    known = {int(key): key.name for key in SigningKey}
    signer = known.get(report.signing_key, "unknown")
    yield Line("signature", "signing key", str(report.signing_key), signer)
    yield Line("signature", "author key", str(report.author_key_en).lower())
    yield Line("signature", "chip key masked", str(report.mask_chip_key).lower())
    algorithm = "ECDSA P-384 with SHA-384" if report.signature_algo == 1 else "unknown"
    yield Line("signature", "algorithm", str(report.signature_algo), algorithm)


def _policy_words(policy: int) -> str:
    def word(bit: GuestPolicyBit, name: str) -> str:
        return f"{name} {'allowed' if policy & bit else 'NOT allowed'}"

    words = [
        word(GuestPolicyBit.SMT, "SMT"),
        word(GuestPolicyBit.DEBUG, "debug"),
        word(GuestPolicyBit.MIGRATE_MA, "migration"),
        f"ABI ≥ {format_abi(abi_of(policy))}",
    ]
    further = (
        (GuestPolicyBit.SINGLE_SOCKET, "one socket only"),
        (GuestPolicyBit.CXL_ALLOW, "CXL allowed"),
        (GuestPolicyBit.MEM_AES_256_XTS, "AES-256-XTS required"),
        (GuestPolicyBit.RAPL_DIS, "RAPL off required"),
        (GuestPolicyBit.CIPHERTEXT_HIDING_DRAM, "ciphertext hiding required"),
        (GuestPolicyBit.PAGE_SWAP_DISABLE, "page swapping off required"),
    )
    words += [name for bit, name in further if policy & bit]
    unknown = unknown_guest_bits(policy)
    if unknown:
        words.append(f"unknown bits {unknown:#x}")
    return " · ".join(words)


def _platform_words(info: int) -> str:
    words = [(bit.name or "").lower().replace("_", " ") for bit in PlatformBit if info & bit]
    unknown = unknown_platform_bits(info)
    if unknown:
        words.append(f"unknown bits {unknown:#x}")
    return " · ".join(words)


def _processor(report: Report) -> str:
    if report.cpuid_family is None or report.cpuid_model is None:
        return "not in a version 2 report"
    line = line_of(report.cpuid_family, report.cpuid_model)
    name = line.name if line else "unknown"
    return (
        f"{name} (family {report.cpuid_family:x}h, model {report.cpuid_model:x}h, "
        f"stepping {report.cpuid_stepping})"
    )


def _layout(report: Report, product: str | None) -> TcbLayout:
    """For showing only: a version 2 report without a certificate is Turin's if its chip id is short."""
    if report.cpuid_family is not None and report.cpuid_model is not None:
        line = line_of(report.cpuid_family, report.cpuid_model)
        product = line.product if line else product
    if product is not None:
        return layout_of(product)
    short = not report.chip_id_masked and not any(report.chip_id[_CHIP_ID_TURIN_SIZE:])
    return TcbLayout.FAMILY_1AH if short else TcbLayout.FAMILY_19H


def _is_below(value: int, other: int, layout: TcbLayout) -> bool:
    """Whether the host reports an older TCB than it runs. False where the layout is violated."""
    try:
        return bool(Tcb.decode(value, layout).below(Tcb.decode(other, layout)))
    except ValueError:
        return False


def _tcb_words(value: int, layout: TcbLayout) -> str:
    try:
        return str(Tcb.decode(value, layout))
    except ValueError:
        return "reserved bytes set"
