"""SEV's key derivation: NIST SP 800-108 in counter mode with HMAC-SHA-256 (S-2.2.2)."""

from __future__ import annotations

import hmac

__all__ = ["derive"]


def derive(key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """``size`` bytes of T1 ‖ T2 …, where Ti = HMAC(key, i ‖ label ‖ 00h ‖ context ‖ 8 · size), with i from 1;
    counter and bit length are little-endian u32. ``label`` comes without a NUL."""
    fixed = label + b"\0" + context + (8 * size).to_bytes(4, "little")
    blocks = (
        hmac.digest(key, counter.to_bytes(4, "little") + fixed, "sha256")
        for counter in range(1, (size + 31) // 32 + 1)
    )
    return b"".join(blocks)[:size]
