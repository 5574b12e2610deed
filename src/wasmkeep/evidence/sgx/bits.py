"""Attributes of an enclave (Intel SDM 3D, 35.7.1)."""

from __future__ import annotations

from enum import IntFlag

__all__ = ["Attribute", "unknown_attributes"]


class Attribute(IntFlag):
    """ATTRIBUTES, first u64."""

    INIT = 1 << 0
    DEBUG = 1 << 1
    MODE64BIT = 1 << 2
    PROVISION_KEY = 1 << 4
    EINITTOKEN_KEY = 1 << 5
    CET = 1 << 6
    KSS = 1 << 7
    AEX_NOTIFY = 1 << 10


def unknown_attributes(value: int) -> int:
    """Bits that this verifier does not know."""
    return value & ~int(Attribute(sum(Attribute)))
