"""The launch slot: what a tenant's packet says, and what follows from it (docs/protocol.md section 6).

The secure processor decrypts the packet into guest memory; its MAC does not cover the address at which the
host has that done (SEV API 0.24, AMD 55766, 6.6). So all of its bytes are opcodes that 64-bit mode does not
have, and even: over code it traps wherever it is entered, over a page table it maps nothing.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wasmkeep.errors import SessionError

__all__ = [
    "ALPHABET",
    "GUID",
    "LAUNCH_SECRET_SIZE",
    "PROOF_SIZE",
    "RANDOM_SIZE",
    "SLOT_GPA",
    "SLOT_PACKET_SIZE",
    "launch_secret",
    "proof",
    "proof_key",
    "require_proof",
    "slot_packet",
]

SLOT_GPA = 0x1_3000
"""Guest-physical address of the slot, one page."""
SLOT_PACKET_SIZE = 128
RANDOM_SIZE = 41
"""Random bytes for one packet: 108 symbols of three bits, and four bits that are not used."""
LAUNCH_SECRET_SIZE = PROOF_SIZE = 32

ALPHABET = bytes.fromhex("060e161e609aceea")
"""PUSH of ES, CS, SS and DS, PUSHA, far CALL, INTO, far JMP: #UD in 64-bit mode."""
GUID = bytes.fromhex("1e160e06609aceea9a60eace061e160e")
_SYMBOLS = 108
_BITS = 3
_LENGTH_DIGITS = 4


def slot_packet(random: bytes) -> bytes:
    """The packet, 128 bytes: GUID ‖ length ‖ 108 symbols. ``random`` is 41 fresh random bytes."""
    if len(random) != RANDOM_SIZE:
        raise ValueError(f"a packet takes {RANDOM_SIZE} random bytes")
    return _HEAD + _symbols(int.from_bytes(random, "little"), _SYMBOLS)


def launch_secret(packet: bytes, tee: str) -> bytes:
    """What tenant and keep share, 32 bytes. ValueError for anything but a packet."""
    symbols = packet[len(_HEAD) :]
    if len(packet) != SLOT_PACKET_SIZE or not packet.startswith(_HEAD) or symbols.strip(ALPHABET):
        raise ValueError("not a packet for the slot")
    return _derive(symbols, salt=b"wasmkeep-launch-secret-v1", info=tee.encode("ascii"))


def proof_key(secret: bytes) -> bytes:
    """The key of the keep's proof, 32 bytes, from the launch secret."""
    return _derive(secret, salt=None, info=b"wasmkeep proof v1")


def proof(key: bytes, report_data: bytes) -> bytes:
    """What a keep offers as its evidence, 32 bytes."""
    return hmac.digest(key, report_data, "sha256")


def require_proof(found: bytes, secret: bytes, report_data: bytes) -> None:
    """That a keep's evidence is its proof of the launch secret, over this session's report data. Raises
    SessionError ``session.proof``."""
    if not hmac.compare_digest(proof(proof_key(secret), report_data), found):
        raise SessionError(
            "session.proof",
            "the keep did not prove that it holds this launch's secret for this session",
            found=f"{len(found)} other bytes",
            required="an HMAC of this session's report data",
            meaning="no keep was given the secret, or one speaks for another key or nonce; nothing was sent",
        )


def _symbols(number: int, count: int) -> bytes:
    """``count`` octal digits, the lowest first, each as its symbol."""
    return bytes(ALPHABET[number >> _BITS * index & 7] for index in range(count))


_HEAD = GUID + _symbols(SLOT_PACKET_SIZE, _LENGTH_DIGITS)


def _derive(secret: bytes, *, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), length=32, salt=salt, info=info).derive(secret)
