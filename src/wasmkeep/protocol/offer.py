"""The keep's first message: its keys, its salt and its evidence (docs/protocol.md section 1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wasmkeep.errors import SessionError
from wasmkeep.protocol.binding import KEEP_SALT_SIZE, RECEIPT_KEY_SIZE, RECEIVING_KEY_SIZE

VERSION = 1
MAX_EVIDENCE_SIZE = 4096
_HEADER = struct.Struct(f"<I{RECEIVING_KEY_SIZE}s{RECEIPT_KEY_SIZE}s{KEEP_SALT_SIZE}sI")


@dataclass(frozen=True, slots=True)
class Offer:
    """Keys of the keep (1216 and 32 bytes), its salt (32) and its evidence. Nothing in it is verified yet."""

    receiving_key: bytes
    receipt_key: bytes
    keep_salt: bytes
    evidence: bytes

    def encode(self) -> bytes:
        return (
            _HEADER.pack(VERSION, self.receiving_key, self.receipt_key, self.keep_salt, len(self.evidence))
            + self.evidence
        )


def parse(message: bytes) -> Offer:
    """Raises SessionError unless ``message`` is exactly one offer."""
    if len(message) < _HEADER.size:
        raise _malformed(f"{len(message)} bytes", f"at least {_HEADER.size}")
    version, receiving_key, receipt_key, keep_salt, size = _HEADER.unpack_from(message)
    if version != VERSION:
        raise _malformed(f"version {version}", f"version {VERSION}")
    if not 0 < size <= MAX_EVIDENCE_SIZE:
        raise _malformed(f"evidence of {size} bytes", f"1 to {MAX_EVIDENCE_SIZE}")
    if len(message) != _HEADER.size + size:
        raise _malformed(f"{len(message)} bytes", f"exactly {_HEADER.size + size}")
    return Offer(receiving_key, receipt_key, keep_salt, message[_HEADER.size :])


def _malformed(found: str, required: str) -> SessionError:
    return SessionError(
        "session.offer",
        "the keep's first message is malformed",
        found=found,
        required=required,
        meaning="the host altered it, or serves a keep of another version; nothing was sent to it",
    )
