"""The platform that a signed report is from, by certificate and report (step 6 of `checks`)."""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.snp.chain import AuthenticKey
from wasmkeep.evidence.snp.endorsement import EndorsedIdentity, read_endorsement
from wasmkeep.evidence.snp.findings import REPORT
from wasmkeep.evidence.snp.products import layout_of, line_of
from wasmkeep.evidence.snp.report import Report
from wasmkeep.evidence.snp.tcb import Tcb, TcbLayout

__all__ = ["Platform", "read_platform"]


@dataclass(frozen=True, slots=True, eq=False)
class Platform:
    """``product`` and ``line`` come from CPUID where the report has it, else from the certificate. Equal to
    nothing but itself."""

    key: AuthenticKey
    identity: EndorsedIdentity
    line: str
    product: str
    reported_tcb: Tcb
    current_tcb: Tcb
    committed_tcb: Tcb
    launch_tcb: Tcb


def read_platform(report: Report, key: AuthenticKey) -> Platform:
    """Of a report that this key signed. Raises `Rejected`: ``snp.endorsement.…`` (see `read_endorsement`),
    ``snp.product`` (a processor this version does not know), ``snp.tcb.reserved``."""
    identity = read_endorsement(key.certificate)
    line, product = _product(report, identity)
    layout = layout_of(product)
    return Platform(
        key,
        identity,
        line,
        product,
        reported_tcb=_tcb(report.reported_tcb, layout),
        current_tcb=_tcb(report.current_tcb, layout),
        committed_tcb=_tcb(report.committed_tcb, layout),
        launch_tcb=_tcb(report.launch_tcb, layout),
    )


def _product(report: Report, identity: EndorsedIdentity) -> tuple[str, str]:
    """Model line and product: CPUID's where the report has it (the signature covers it)."""
    if report.cpuid_family is None or report.cpuid_model is None:
        return "", identity.product
    line = line_of(report.cpuid_family, report.cpuid_model)
    if line is None:
        found = f"family {report.cpuid_family:#x}, model {report.cpuid_model:#x}"
        message = "the report is from an unknown processor"
        raise Rejected(Finding("snp.product", Kind.UNSUPPORTED, message, found=found, section=REPORT))
    return line.name, line.product


def _tcb(value: int, layout: TcbLayout) -> Tcb:
    try:
        return Tcb.decode(value, layout)
    except ValueError as error:
        raise Rejected(
            Finding("snp.tcb.reserved", Kind.MALFORMED, str(error), section="AMD 56860, 2.2 TCB_VERSION")
        ) from error
