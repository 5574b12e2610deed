"""Guest policy and platform info: what each bit says, with its polarity (N-4.3, N-7.3).

In the guest policy ``DEBUG`` set is unsafe (the reverse of SEV's NODBG), and the ABI's minor number is the
low byte (the reverse of SEV's).
"""

from __future__ import annotations

from enum import IntFlag

__all__ = [
    "GuestPolicyBit",
    "PlatformBit",
    "abi_of",
    "format_abi",
    "unknown_guest_bits",
    "unknown_platform_bits",
]


class GuestPolicyBit(IntFlag):
    """POLICY, bits 16 to 25; bits 26 to 63 are reserved."""

    SMT = 1 << 16
    """SMT may be on."""
    RESERVED_ONE = 1 << 17
    """Must be one."""
    MIGRATE_MA = 1 << 18
    """A migration agent may be associated: it can read the guest's state."""
    DEBUG = 1 << 19
    """The host may read and write guest memory."""
    SINGLE_SOCKET = 1 << 20
    """Only on one socket."""
    CXL_ALLOW = 1 << 21
    """CXL devices or memory may be present."""
    MEM_AES_256_XTS = 1 << 22
    """Memory encryption must be AES-256-XTS."""
    RAPL_DIS = 1 << 23
    """Power measurement must be off."""
    CIPHERTEXT_HIDING_DRAM = 1 << 24
    """The host must not see ciphertext in DRAM."""
    PAGE_SWAP_DISABLE = 1 << 25
    """The host must not move or swap guest pages."""


class PlatformBit(IntFlag):
    """PLATFORM_INFO, bits 0 to 7; the rest is reserved."""

    SMT_EN = 1 << 0
    TSME_EN = 1 << 1
    ECC_EN = 1 << 2
    RAPL_DIS = 1 << 3
    CIPHERTEXT_HIDING_DRAM_EN = 1 << 4
    ALIAS_CHECK_COMPLETE = 1 << 5
    """The platform checked since reset that no two physical addresses name the same memory."""
    IOMMU_WRITE_SAFE = 1 << 6
    """Seen set on genuine Turin; the name comes from one source."""
    TIO_EN = 1 << 7


_ABI_MASK = 0xFFFF
_ALL_GUEST_BITS = int(~GuestPolicyBit(0))
_ALL_PLATFORM_BITS = int(~PlatformBit(0))


def abi_of(policy: int) -> tuple[int, int]:
    """The minimum ABI version in a guest policy, (major, minor)."""
    return policy >> 8 & 0xFF, policy & 0xFF


def format_abi(abi: tuple[int, int]) -> str:
    return f"{abi[0]}.{abi[1]}"


def unknown_guest_bits(policy: int) -> int:
    """The bits of a guest policy that this version does not know."""
    return policy & ~(_ALL_GUEST_BITS | _ABI_MASK)


def unknown_platform_bits(info: int) -> int:
    """The bits of a platform info field that this version does not know."""
    return info & ~_ALL_PLATFORM_BITS
