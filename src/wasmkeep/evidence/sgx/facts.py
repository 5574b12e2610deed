"""What a verified SGX quote says, typed for screens and receipts."""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.evidence.dcap.enclave_report import EnclaveReport
from wasmkeep.evidence.dcap.facts import DcapFacts

__all__ = ["SgxFacts"]


@dataclass(frozen=True, slots=True)
class SgxFacts(DcapFacts):
    """``report`` is the enclave's."""

    report: EnclaveReport
