"""What a verified quote says of its platform, typed for screens and receipts. Every value passed a check."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from wasmkeep.evidence.dcap.pck import PckIdentity
from wasmkeep.evidence.dcap.quote import Quote
from wasmkeep.evidence.dcap.tcb import TcbVerdict

__all__ = ["DcapFacts"]


@dataclass(frozen=True, slots=True)
class DcapFacts:
    """``pck_authority`` names who issued the platform's certificate. Collateral: the oldest issue date among
    TCB info, QE identity and PCK revocation list, the soonest end of anything in it, and
    ``tcb_evaluation``, the lower tcbEvaluationDataNumber. ``lists_issued``: when each revocation list was, by
    the pin of the key that signed it."""

    quote: Quote
    pck: PckIdentity
    pck_authority: str
    tcb: TcbVerdict
    collateral_issued: datetime
    collateral_until: datetime
    tcb_evaluation: int
    lists_issued: tuple[tuple[str, datetime], ...]
