"""What a verified TDX quote says, typed for screens and receipts."""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.evidence.dcap.facts import DcapFacts
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["TdxFacts"]


@dataclass(frozen=True, slots=True)
class TdxFacts(DcapFacts):
    """``report`` is the trust domain's."""

    report: TdReport
