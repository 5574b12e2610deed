"""AMD's ECDSA encoding: P-384, every component little-endian in 72 bytes (N-10; S-C.3 for SEV).

A public key is 1028 bytes: curve u32 = 2, qx, qy, zeros. A signature is 512 bytes: r, s, zeros. Padding must
be zero, or one signature would have many encodings.
"""

from __future__ import annotations

import hashlib
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

__all__ = [
    "COMPONENTS_SIZE",
    "KEY_SIZE",
    "ORDER",
    "SIGNATURE_SIZE",
    "decode_key",
    "decode_signature",
    "encode_key",
    "encode_signature",
    "key_digest",
    "verify",
]

KEY_SIZE = 1028
SIGNATURE_SIZE = 512
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
"""The order n of P-384 (FIPS 186-4, D.1.2.4): r and s lie in 1 to n − 1."""

_PRIME = 2**384 - 2**128 - 2**96 + 2**32 - 1
"""The field of P-384: libraries take coordinates above it too, which would be second encodings of a point."""
_COMPONENT = 72
COMPONENTS_SIZE = 2 * _COMPONENT
"""Bytes of r and s; the rest of a signature is padding."""
_CURVE_P384 = 2
_SHA384 = hashes.SHA384()


def encode_key(key: ec.EllipticCurvePublicKey) -> bytes:
    """1028 bytes; ``ValueError`` for another curve."""
    if not isinstance(key.curve, ec.SECP384R1):
        raise ValueError("the secure processor takes P-384 keys only")
    numbers = key.public_numbers()
    head = _CURVE_P384.to_bytes(4, "little")
    point = numbers.x.to_bytes(_COMPONENT, "little") + numbers.y.to_bytes(_COMPONENT, "little")
    return (head + point).ljust(KEY_SIZE, b"\0")


def decode_key(data: bytes) -> ec.EllipticCurvePublicKey:
    """Read 1028 bytes; ``ValueError`` for another curve, padding, or a point that is not on it."""
    if len(data) != KEY_SIZE or int.from_bytes(data[:4], "little") != _CURVE_P384:
        raise ValueError("not a P-384 key of 1028 bytes")
    x, y = (int.from_bytes(data[at : at + _COMPONENT], "little") for at in (4, 4 + _COMPONENT))
    if any(data[4 + 2 * _COMPONENT :]):
        raise ValueError("the padding of a key is not zero")
    if max(x, y) >= _PRIME:
        raise ValueError("a coordinate is not reduced")
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()


def encode_signature(der: bytes) -> bytes:
    """512 bytes from the DER encoding that libraries produce."""
    r, s = utils.decode_dss_signature(der)
    return (r.to_bytes(_COMPONENT, "little") + s.to_bytes(_COMPONENT, "little")).ljust(SIGNATURE_SIZE, b"\0")


def decode_signature(data: bytes) -> tuple[int, int]:
    """(r, s) of 512 bytes; ``ValueError`` for another size or padding."""
    if len(data) != SIGNATURE_SIZE or any(data[2 * _COMPONENT :]):
        raise ValueError("not a signature of 512 bytes with zero padding")
    r, s = (int.from_bytes(data[at : at + _COMPONENT], "little") for at in (0, _COMPONENT))
    return r, s


def verify(
    key: ec.EllipticCurvePublicKey, r: int, s: int, signed: bytes, digest: hashes.HashAlgorithm = _SHA384
) -> None:
    """Check an ECDSA P-384 signature, over SHA-384 (SNP) unless ``digest`` says otherwise (SEV: SHA-256).

    Raises ``ValueError`` when r or s is not in 1 to n − 1, ``InvalidSignature`` when it does not verify.
    """
    if not (0 < r < ORDER and 0 < s < ORDER):
        raise ValueError("r or s is zero or not below the order of the curve")
    scheme = _ecdsa_sha384() if digest is _SHA384 else ec.ECDSA(digest)
    key.verify(utils.encode_dss_signature(r, s), signed, scheme)


@cache
def _ecdsa_sha384() -> ec.ECDSA:
    """Made when first used: making one loads OpenSSL."""
    return ec.ECDSA(_SHA384)


def key_digest(encoded: bytes) -> bytes:
    """ID_KEY_DIGEST or AUTHOR_KEY_DIGEST: SHA-384 of the 1028 bytes."""
    return hashlib.sha384(encoded).digest()
