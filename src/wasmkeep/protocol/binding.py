"""What everything is bound to: report data, session identifier, session keys, salted digests.

The encodings are docs/protocol.md sections 1, 2 and 4. Lengths are u32 little-endian.
"""

from __future__ import annotations

import copy
import hashlib
import struct
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_SIZE = 32
TENANT_KEY_SIZE = 32
RECEIVING_KEY_SIZE = 1216
RECEIPT_KEY_SIZE = 32
KEEP_SALT_SIZE = 32
SECRET_SIZE = 32
SESSION_ID_SIZE = 32
REPORT_DATA_SIZE = 64
HPKE_MESSAGE_SIZE = 1168
FIELD_SALT_SIZE = 32

_MLKEM_PUBLIC_KEY_SIZE = 1184
_SESSION_INFO = b"wasmkeep-session-v1"
# HPKE, RFC 9180, with KEM 0x647A (X-Wing: ML-KEM-768 and X25519). One suite, no negotiation.
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Field(StrEnum):
    """Tenant data that statements name only by salted digest."""

    CONFIGURATION = "configuration"
    ARGUMENTS = "arguments"
    ENVIRONMENT = "environment"
    FILES = "files"
    STDIN = "stdin"
    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class DirectionKey:
    """Key and initial vector of one direction."""

    key: bytes
    iv: bytes

    def __repr__(self) -> str:
        return "DirectionKey(…)"


def length_prefixed(*items: bytes) -> bytes:
    """Each item as u32 length and bytes."""
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def report_data(
    *, tee: str, nonce: bytes, tenant_key_digest: bytes, receiving_key: bytes, receipt_key: bytes
) -> bytes:
    """The 64 bytes that evidence must carry for this session (docs/protocol.md section 1).

    Raises ValueError where an argument has the wrong size: that is our own misuse.
    """
    for name, value, size in (
        ("nonce", nonce, NONCE_SIZE),
        ("tenant key digest", tenant_key_digest, 32),
        ("receiving key", receiving_key, RECEIVING_KEY_SIZE),
        ("receipt key", receipt_key, RECEIPT_KEY_SIZE),
    ):
        if len(value) != size:
            raise ValueError(f"{name} has {len(value)} bytes, not {size}")
    return hashlib.sha512(
        length_prefixed(
            b"wasmkeep-evidence-v1", tee.encode("ascii"), nonce, tenant_key_digest, receiving_key, receipt_key
        )
    ).digest()


def seal_secret(secret: bytes, receiving_key: bytes, bound: bytes) -> bytes:
    """The HPKE message of 1168 bytes: ``secret`` (32 bytes) sealed to the keep (docs/protocol.md section 2).

    Raises ValueError where the receiving key is not a valid X-Wing public key.
    """
    public = hpke.MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(receiving_key[:_MLKEM_PUBLIC_KEY_SIZE]),
        x25519.X25519PublicKey.from_public_bytes(receiving_key[_MLKEM_PUBLIC_KEY_SIZE:]),
    )
    return _SUITE.encrypt(secret, public, _SESSION_INFO + bound)


def session_id(bound: bytes, hpke_message_digest: bytes) -> bytes:
    """32 bytes that name this session in statements, from SHA-256 of the HPKE message."""
    return hashlib.sha256(length_prefixed(b"wasmkeep-transcript-v1", bound, hpke_message_digest)).digest()


def to_keep_key(secret: bytes, session: bytes) -> DirectionKey:
    """Key of the tenant's records. ``secret`` is the tenant's, then the launch's where there is one."""
    return _direction_key(secret, session, b"wasmkeep to-keep v1")


def to_tenant_key(secret: bytes, session: bytes, keep_salt: bytes) -> DirectionKey:
    """Key of the keep's records; the keep's salt makes it fresh even where a host replays a launch."""
    return _direction_key(secret, session, b"wasmkeep to-tenant v1" + keep_salt)


def _direction_key(secret: bytes, session: bytes, info: bytes) -> DirectionKey:
    block = HKDF(hashes.SHA256(), length=44, salt=session, info=info).derive(secret)
    return DirectionKey(block[:32], block[32:])


def hello_signed_bytes(nonce: bytes, receiving_key: bytes, receipt_key: bytes, hpke_message: bytes) -> bytes:
    """What the tenant's key signs in HELLO (docs/protocol.md section 3)."""
    return length_prefixed(b"wasmkeep-tenant-v1", nonce, receiving_key, receipt_key, hpke_message)


class SaltedDigest:
    """Running digest of one field of tenant data (docs/protocol.md section 4), and its length in bytes."""

    def __init__(self, field: Field, salt: bytes) -> None:
        if len(salt) != FIELD_SALT_SIZE:
            raise ValueError(f"salt has {len(salt)} bytes, not {FIELD_SALT_SIZE}")
        self._hash = hashlib.sha256(length_prefixed(b"wasmkeep-digest-v1", field.value.encode(), salt))
        self.length = 0

    def update(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self.length += len(data)

    def digest(self) -> bytes:
        return self._hash.digest()

    def copy(self) -> SaltedDigest:
        """The same digest, to go on from here apart from this one."""
        other = copy.copy(self)
        other._hash = self._hash.copy()  # noqa: SLF001 - of the same class
        return other


def salted_digest(field: Field, salt: bytes, data: bytes | memoryview) -> bytes:
    """``SaltedDigest`` of data already whole."""
    running = SaltedDigest(field, salt)
    running.update(data)
    return running.digest()
