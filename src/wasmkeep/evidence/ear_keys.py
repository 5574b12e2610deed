"""Keys that sign attestation results, and the three algorithms they may use.

=========  =======  =====  ==============================================  ===========================
key        JOSE     COSE   signature                                       specification
=========  =======  =====  ==============================================  ===========================
P-256      ES256    -7     r ‖ s, 32 bytes each, big-endian, over SHA-256  RFC 7518, 3.4; RFC 9053, 2.1
P-384      ES384    -35    r ‖ s, 48 bytes each, big-endian, over SHA-384  the same
Ed25519    EdDSA    -8     64 bytes                                        RFC 8037; RFC 9053, 2.2
=========  =======  =====  ==============================================  ============================
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from wasmkeep.errors import ConfigurationError

__all__ = [
    "Algorithm",
    "SigningKey",
    "VerifyingKey",
    "algorithm_of",
    "key_id",
    "load_signing_key",
    "load_verifying_key",
    "sign",
    "signed_by",
]

SigningKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
VerifyingKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_KINDS = "P-256, P-384 or Ed25519"


@dataclass(frozen=True, slots=True)
class Algorithm:
    """``jose`` and ``cose`` name it; ``component`` is the size of r and of s, None for Ed25519."""

    jose: str
    cose: int
    component: int | None = None
    digest: hashes.HashAlgorithm | None = None

    @property
    def signature_size(self) -> int:
        return 64 if self.component is None else 2 * self.component


_ED25519 = Algorithm("EdDSA", -8)
_BY_CURVE = {
    "secp256r1": Algorithm("ES256", -7, 32, hashes.SHA256()),
    "secp384r1": Algorithm("ES384", -35, 48, hashes.SHA384()),
}


def algorithm_of(key: SigningKey | VerifyingKey) -> Algorithm:
    """The one algorithm of a key. Raises `ConfigurationError` ``ear.key`` for a key of another kind."""
    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return _ED25519
    found = (
        _BY_CURVE.get(key.curve.name)
        if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey)
        else None
    )
    if found is None:
        raise _wrong_key("the key is of another kind", type(key).__name__)
    return found


def load_signing_key(pem: bytes) -> SigningKey:
    """A private key in PEM (PKCS #8 or SEC 1, not encrypted). Raises `ConfigurationError` ``ear.key``."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's words may quote the file: they stay out of the message.
        raise _wrong_key("not a private key that can be read", type(error).__name__) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise _wrong_key("the key is of another kind", type(key).__name__)
    algorithm_of(key)
    return key


def load_verifying_key(pem: bytes) -> VerifyingKey:
    """A public key in PEM (SubjectPublicKeyInfo). Raises `ConfigurationError` ``ear.key``."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _wrong_key("not a public key that can be read", type(error).__name__) from None
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise _wrong_key("the key is of another kind", type(key).__name__)
    algorithm_of(key)
    return key


def key_id(key: VerifyingKey) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo, 32 bytes."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def sign(key: SigningKey, message: bytes) -> bytes:
    """A signature in the form that JOSE and COSE share."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    algorithm = algorithm_of(key)
    if algorithm.digest is None or algorithm.component is None:
        raise TypeError("an elliptic curve key without its digest")
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(algorithm.digest)))
    return r.to_bytes(algorithm.component, "big") + s.to_bytes(algorithm.component, "big")


def signed_by(key: VerifyingKey, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` is one of ``key`` over ``message``: of the one size, r and s neither 0 nor too
    large (the library refuses those)."""
    algorithm = algorithm_of(key)
    if len(signature) != algorithm.signature_size:
        return False
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif algorithm.digest is not None:
            half = len(signature) // 2
            r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
            key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(algorithm.digest))
    except InvalidSignature:
        return False
    return True


def _wrong_key(message: str, found: str) -> ConfigurationError:
    return ConfigurationError(
        "ear.key",
        message,
        found=found,
        required=f"a key of kind {_KINDS}, in PEM, not encrypted",
        remedy="`openssl genpkey -algorithm ed25519 -out key.pem`, then "
        "`openssl pkey -in key.pem -pubout -out public.pem`",
    )
