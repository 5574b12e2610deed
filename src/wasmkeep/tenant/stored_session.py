"""What a tenant keeps of a SEV or SEV-ES launch, to verify its receipt again: JSON, mode 0600.

The launch measurement is an HMAC under a key that the tenant made, and the keep's proof one under a key from
the tenant's secret. So whoever has this file can make such evidence: it convinces the tenant, and must be
shown to nobody. TEK, the launch secret and all record keys are gone with the session.
"""

from __future__ import annotations

import json

from wasmkeep.errors import ReceiptInvalid
from wasmkeep.evidence.sev.evidence import SevKeys

__all__ = ["MAX_SIZE", "decode", "encode"]

MAX_SIZE = 4096
_MEMBERS = {"session", "tik", "proof_key"}


def encode(session_id: bytes, keys: SevKeys) -> bytes:
    """The file of the session with this identifier (32 bytes)."""
    values = {"session": session_id.hex(), "tik": keys.tik.hex(), "proof_key": keys.proof_key.hex()}
    return json.dumps(values, indent=1).encode() + b"\n"


def decode(data: bytes, session_id: bytes) -> SevKeys:
    """The keys in a file of `encode`, for the receipt of this session.

    Raises ReceiptInvalid: ``receipt.session`` for another session's, ``receipt.form`` for what is none.
    """
    try:
        members = json.loads(data) if len(data) <= MAX_SIZE else None
        if not isinstance(members, dict) or set(members) != _MEMBERS:
            raise ValueError("other members")
        session, tik, proof_key = (bytes.fromhex(members[name]) for name in ("session", "tik", "proof_key"))
        keys = SevKeys(tik, proof_key)
    except (ValueError, TypeError, RecursionError):
        raise ReceiptInvalid(
            "receipt.form",
            "this is not a stored session of wasmkeep's",
            found="a file of another form",
            required="the file that was written beside the receipt, unaltered",
        ) from None
    if session != session_id:
        raise ReceiptInvalid(
            "receipt.session",
            "the stored session belongs to another receipt",
            found=f"session {session.hex()[:64]}",
            required=f"session {session_id.hex()}",
        )
    return keys
