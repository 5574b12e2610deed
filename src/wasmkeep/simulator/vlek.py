"""The versioned loaded endorsement key (VLEK): what a cloud's key server wraps for one chip, and what the
firmware makes of it (SNP firmware ABI 8, SNP_VLEK_LOAD; SEV.md C.10).

A hashstick is eight values of 48 bytes, one for each byte of TCB_VERSION, hashed once for every number from
255 down to that byte. Whoever holds it can hash on to any lower TCB and to no higher one, so a key of old
firmware never gives a key of newer. How keys are derived and what the wrapping covers is this machine's own:
both stay between the key server and the chip.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wasmkeep.simulator.chip import private_key

WRAPPED_SIZE = 432
"""Bytes: IV of 12, 4 reserved, 384 wrapped, TCB u64, 8 reserved, tag of 16."""

_STICK_SIZE = 48
_COUNT = 8
_HIGHEST = 0xFF
_WRAPPED = struct.Struct("<12s 4x 384s Q 8x 16s")
_RESERVED = (slice(0x00C, 0x010), slice(0x198, 0x1A0))


@dataclass(frozen=True, slots=True)
class Hashstick:
    """The values at one TCB version (u64 as in a report), 384 bytes."""

    tcb: int
    sticks: bytes

    def lowered(self, tcb: int) -> Hashstick:
        """The hashstick at a TCB that is nowhere above this one's; ValueError for another."""
        raw = []
        for at, (have, want) in enumerate(
            zip(self.tcb.to_bytes(8, "little"), tcb.to_bytes(8, "little"), strict=True)
        ):
            if want > have:
                raise ValueError("a hashstick gives no key of a higher TCB")
            stick = self.sticks[at * _STICK_SIZE : (at + 1) * _STICK_SIZE]
            raw.append(_hashed(stick, have - want))
        return Hashstick(tcb, b"".join(raw))

    def key(self) -> ec.EllipticCurvePrivateKey:
        """The VLEK of this TCB: P-384."""
        return private_key(self._derive("VLEK", 64))

    def root_key(self) -> bytes:
        """The root of derived guest keys (MSG_KEY_REQ with the VLEK as root), 32 bytes."""
        return self._derive("VLEK guest keys", 32)

    def _derive(self, label: str, size: int) -> bytes:
        info = f"wasmkeep simulated {label}\0".encode()
        return HKDF(hashes.SHA384(), size, salt=None, info=info).derive(self.sticks)

    def __repr__(self) -> str:  # keys stay out of logs and tracebacks
        return f"Hashstick(tcb={self.tcb:#018x})"


def hashstick(seed: bytes, tcb: int) -> Hashstick:
    """What the key server gives out at `tcb` for a cloud's seed of 32 bytes."""
    highest = HKDF(hashes.SHA384(), _COUNT * _STICK_SIZE, salt=None, info=b"wasmkeep simulated hashstick\0")
    return Hashstick(int.from_bytes(bytes((_HIGHEST,)) * _COUNT), highest.derive(seed)).lowered(tcb)


def wrap(stick: Hashstick, key: bytes) -> bytes:
    """432 bytes for the chip whose wrapping key (32 bytes) this is."""
    iv = os.urandom(12)
    sealed = AESGCM(key).encrypt(iv, stick.sticks, stick.tcb.to_bytes(8, "little"))
    return _WRAPPED.pack(iv, sealed[:-16], stick.tcb, sealed[-16:])


def unwrap(wrapped: bytes, key: bytes) -> Hashstick | None:
    """The reverse; None where the tag is another chip's, or a bit is another. ValueError for reserved bytes
    that are not zero."""
    if len(wrapped) != WRAPPED_SIZE or any(any(wrapped[part]) for part in _RESERVED):
        raise ValueError("a wrapped hashstick has 432 bytes and zeros where it is reserved")
    iv, body, tcb, tag = _WRAPPED.unpack(wrapped)
    try:
        return Hashstick(tcb, AESGCM(key).decrypt(iv, body + tag, tcb.to_bytes(8, "little")))
    except InvalidTag:
        return None


def _hashed(stick: bytes, times: int) -> bytes:
    for _ in range(times):
        stick = hashlib.sha384(stick).digest()
    return stick
