"""RSA as SEV's certificates have it: little-endian numbers, RSASSA-PSS by a scheme that follows the size.

2048 bits: SHA-256, MGF1-SHA-256, a salt of 32 bytes. 4096 bits: SHA-384, MGF1-SHA-384, a salt of 48 bytes.
The salt's size is required, not detected: a signature with another is not one of AMD's (S-B.1, S-C.3).
"""

from __future__ import annotations

from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["EXPONENT", "SIZES", "decode_key", "sign", "spki_sha256", "verify"]

SIZES = (2048, 4096)
"""Bits of a modulus."""
EXPONENT = 65537

_SCHEMES: dict[int, tuple[hashes.HashAlgorithm, padding.PSS]] = {
    2048: (hashes.SHA256(), padding.PSS(padding.MGF1(hashes.SHA256()), 32)),
    4096: (hashes.SHA384(), padding.PSS(padding.MGF1(hashes.SHA384()), 48)),
}


def decode_key(bits: int, exponent: bytes, modulus: bytes) -> rsa.RSAPublicKey:
    """A key from its little-endian numbers; ``ValueError`` for another size or another exponent."""
    e, n = int.from_bytes(exponent, "little"), int.from_bytes(modulus, "little")
    if bits not in SIZES or n.bit_length() != bits or not n & 1:
        raise ValueError("not an RSA modulus of 2048 or 4096 bits")
    if e != EXPONENT:
        raise ValueError(f"the exponent of an RSA key is not {EXPONENT}")
    return rsa.RSAPublicNumbers(e, n).public_key()


def sign(key: rsa.RSAPrivateKey, message: bytes) -> bytes:
    """A signature, little-endian, as long as the modulus. ``KeyError`` for a key of another size."""
    digest, scheme = _SCHEMES[key.key_size]
    return key.sign(message, scheme, digest)[::-1]


def verify(key: rsa.RSAPublicKey, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (little-endian, exactly as long as the modulus) is this key's."""
    digest, scheme = _SCHEMES[key.key_size]
    if len(signature) * 8 != key.key_size:
        return False
    try:
        key.verify(signature[::-1], message, scheme, digest)
    except InvalidSignature:
        return False
    return True


def spki_sha256(key: rsa.RSAPublicKey) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo, 32 bytes: the same for a key here and in an X.509 certificate."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
