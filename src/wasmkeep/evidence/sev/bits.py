"""SEV's guest policy, u32 (S-3): bits 0 to 5, minimum API version in the two high bytes; the rest is zero.

``NODBG`` set is the safe value (the reverse of SNP's DEBUG), and the major number comes in the lower byte
(the reverse of SNP's ABI field).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from wasmkeep.evidence.sev.findings import malformed

__all__ = ["GuestPolicy", "GuestPolicyBit", "format_api"]

_SECTION = "AMD 55766, 3 guest policy"
_LIMIT = 1 << 32


class GuestPolicyBit(IntFlag):
    NODBG = 1 << 0
    """The host must not use DBG_DECRYPT and DBG_ENCRYPT."""
    NOKS = 1 << 1
    """No other guest may share the memory key."""
    ES = 1 << 2
    """SEV-ES is required: registers are encrypted at every exit."""
    NOSEND = 1 << 3
    """The guest must not be sent to another platform."""
    DOMAIN = 1 << 4
    """It may be sent within its owner's domain only (the same OCA)."""
    SEV = 1 << 5
    """It may be sent to a genuine SEV platform only."""


_ALL = int(~GuestPolicyBit(0))


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """``bits``, and the lowest API version (major, minor) of a firmware that may run the guest."""

    bits: GuestPolicyBit
    minimum_api: tuple[int, int] = (0, 0)

    def encode(self) -> int:
        """The u32."""
        major, minor = self.minimum_api
        return int(self.bits) | major << 16 | minor << 24

    @classmethod
    def decode(cls, value: int) -> GuestPolicy:
        """Read the u32. Raises `Rejected` ``sev.policy.reserved``."""
        reserved = value & 0xFFFF & ~_ALL
        if reserved or not 0 <= value < _LIMIT:
            message = "reserved bits of the guest policy are set"
            raise malformed("policy.reserved", message, f"{value:#x}", "bits 6 to 15 clear", _SECTION)
        return cls(GuestPolicyBit(value & _ALL), (value >> 16 & 0xFF, value >> 24 & 0xFF))


def format_api(version: tuple[int, ...]) -> str:
    """``1.55``, or ``1.55.40`` with a build number."""
    return ".".join(map(str, version))
