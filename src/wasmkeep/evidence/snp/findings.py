"""The finding that most rules make."""

from __future__ import annotations

from wasmkeep.evidence.errors import Finding, Kind

__all__ = ["POLICY", "REPORT", "bit_number", "refused"]

REPORT = "AMD 56860, 7.3 ATTESTATION_REPORT"
POLICY = "AMD 56860, 4.3 guest policy"


def refused(
    check: str, message: str, found: str, required: str, section: str, *, meaning: str = "", advice: str = ""
) -> Finding:
    """Genuine, and not what the policy accepts."""
    return Finding(check, Kind.REFUSED, message, found, required, section, meaning, advice)


def bit_number(bit: int) -> int:
    """Which bit a mask of one bit is, from 0."""
    return bit.bit_length() - 1
