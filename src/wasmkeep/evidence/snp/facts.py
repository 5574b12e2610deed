"""What a verified SNP report says, typed for screens and receipts. Every value passed a check."""

from __future__ import annotations

from typing import NamedTuple

from wasmkeep.evidence.snp.report import Report
from wasmkeep.evidence.snp.revocation import Revocation
from wasmkeep.evidence.snp.tcb import Tcb

__all__ = ["SnpFacts"]


class SnpFacts(NamedTuple):
    """``product`` is the generation (``Genoa``), ``model_line`` finer (``Bergamo``; empty where a version 2
    report does not say). ``chip_id`` is 64 bytes, None when masked; ``chip_rule`` says what was required.
    ``minimum_tcb`` is what ``reported_tcb`` had to reach. ``provisional`` means that firmware runs which can
    still be rolled back. ``signer`` is ``VCEK`` or ``VLEK``; ``csp_id`` names a VLEK's cloud."""

    report: Report
    product: str
    product_name: str
    model_line: str
    signer: str
    csp_id: str | None
    chip_id: bytes | None
    chip_rule: str
    reported_tcb: Tcb
    current_tcb: Tcb
    committed_tcb: Tcb
    launch_tcb: Tcb
    minimum_tcb: Tcb
    provisional: bool
    revocation: Revocation

    @property
    def reported_below_current(self) -> bool:
        """The host reports an older TCB than it runs; the minimum was applied to the reported one."""
        return bool(self.reported_tcb.below(self.current_tcb))
