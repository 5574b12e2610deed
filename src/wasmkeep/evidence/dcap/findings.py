"""One line for each kind of refusal of an Intel quote."""

from __future__ import annotations

from wasmkeep.evidence.errors import Finding, Kind, Rejected

__all__ = ["malformed", "refused", "unsupported", "untrusted"]


def malformed(check: str, message: str, found: str = "", required: str = "", section: str = "") -> Rejected:
    """The bytes break their format."""
    return Rejected(Finding(check, Kind.MALFORMED, message, found, required, section))


def unsupported(check: str, message: str, found: str = "", required: str = "", section: str = "") -> Rejected:
    """Something that this version does not judge."""
    return Rejected(Finding(check, Kind.UNSUPPORTED, message, found, required, section))


def untrusted(
    check: str,
    message: str,
    found: str = "",
    required: str = "",
    section: str = "",
    *,
    meaning: str = "",
    advice: str = "",
) -> Finding:
    """Nobody vouches for these bytes now."""
    return Finding(check, Kind.UNTRUSTED, message, found, required, section, meaning, advice)


def refused(
    check: str,
    message: str,
    found: str = "",
    required: str = "",
    section: str = "",
    *,
    meaning: str = "",
    advice: str = "",
) -> Finding:
    """Genuine, and not what the policy accepts."""
    return Finding(check, Kind.REFUSED, message, found, required, section, meaning, advice)
