"""The SEV certificate, version 1: 2084 = 824h bytes (S-C.1 to C.4). CEK, OCA, PEK, PDH, an owner's DH key.

::

    000  version u32 = 1         008  usage u32           010  public key[1028]
    004  API major, minor u8     00C  algorithm u32       414  two slots of 520 bytes: usage u32,
    006  reserved u16                                          algorithm u32, signature[512]

Both slots sign bytes 000h to 413h, the **body**; the slots themselves are signed by nobody. All numbers are
little-endian, padding and reserved bytes zero: what parses re-encodes to the same bytes. Nothing here is
trusted yet; `chain` says who vouches for whom.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from wasmkeep.evidence.sev import rsa_keys
from wasmkeep.evidence.sev.findings import malformed, unsupported
from wasmkeep.evidence.snp import signatures

__all__ = [
    "BODY_SIZE",
    "CERTIFICATE_SIZE",
    "EMPTY_SLOT",
    "KEY_SIZE",
    "Algorithm",
    "Certificate",
    "PublicKey",
    "SignatureSlot",
    "Usage",
    "ec_key_bytes",
    "ecdsa_slot",
    "parse",
    "rsa_key_bytes",
    "rsa_slot",
]

CERTIFICATE_SIZE = 0x824
BODY_SIZE = 0x414
KEY_SIZE = signatures.KEY_SIZE
SIGNATURE_SIZE = signatures.SIGNATURE_SIZE
_VERSION = 1
_HEAD = struct.Struct("<I B B H I I")
_SLOT = struct.Struct("<I I 512s")
_RSA_NUMBER = 512
_SECTION = "AMD 55766, C.1 SEV certificate"

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Usage(IntEnum):
    """What a key is for; in a slot, whose key signed (S-C.2)."""

    ARK = 0
    ASK = 0x13
    INVALID = 0x1000
    """An empty slot."""
    OCA = 0x1001
    PEK = 0x1002
    PDH = 0x1003
    CEK = 0x1004


class Algorithm(IntEnum):
    """What a key, or the key that signed, does (S-C.2)."""

    NONE = 0
    RSA_SHA256 = 1
    ECDSA_SHA256 = 2
    ECDH_SHA256 = 3
    RSA_SHA384 = 0x101
    ECDSA_SHA384 = 0x102
    ECDH_SHA384 = 0x103


_RSA_ALGORITHMS = {2048: Algorithm.RSA_SHA256, 4096: Algorithm.RSA_SHA384}
_KEYS = {
    # Every real certificate has a P-384 key with SHA-256; only an owner may bring an RSA key.
    Usage.CEK: {Algorithm.ECDSA_SHA256},
    Usage.PEK: {Algorithm.ECDSA_SHA256},
    Usage.PDH: {Algorithm.ECDH_SHA256},
    Usage.OCA: {Algorithm.ECDSA_SHA256, Algorithm.RSA_SHA256, Algorithm.RSA_SHA384},
}
_SIGNERS = {
    Usage.ASK: {Algorithm.RSA_SHA256, Algorithm.RSA_SHA384},
    Usage.OCA: _KEYS[Usage.OCA],
    Usage.PEK: {Algorithm.ECDSA_SHA256},
    Usage.CEK: {Algorithm.ECDSA_SHA256},
}


@dataclass(frozen=True, slots=True)
class SignatureSlot:
    """One of the two. ``signature`` is 512 bytes: r[72] ‖ s[72] or an RSA number, then zeros."""

    usage: Usage
    algorithm: Algorithm
    signature: bytes

    @property
    def empty(self) -> bool:
        return self.usage is Usage.INVALID

    def encode(self) -> bytes:
        """520 bytes."""
        return _SLOT.pack(self.usage, self.algorithm, self.signature)


EMPTY_SLOT = SignatureSlot(Usage.INVALID, Algorithm.NONE, bytes(SIGNATURE_SIZE))


@dataclass(frozen=True, slots=True)
class Certificate:
    """``key_bytes`` is the public key's field, 1028 bytes. The API version is that of the firmware that made
    the certificate (an owner's tool may write 0.0)."""

    api_major: int
    api_minor: int
    usage: Usage
    algorithm: Algorithm
    key_bytes: bytes
    slots: tuple[SignatureSlot, SignatureSlot] = (EMPTY_SLOT, EMPTY_SLOT)

    @property
    def label(self) -> str:
        return self.usage.name

    @property
    def api_version(self) -> tuple[int, int]:
        return self.api_major, self.api_minor

    @property
    def body(self) -> bytes:
        """The 1044 bytes that signatures cover."""
        head = _HEAD.pack(_VERSION, self.api_major, self.api_minor, 0, self.usage, self.algorithm)
        return head + self.key_bytes

    def encode(self) -> bytes:
        """The 2084 bytes."""
        return self.body + self.slots[0].encode() + self.slots[1].encode()

    @property
    def key(self) -> PublicKey:
        """The key, P-384 or an owner's RSA."""
        return _decode_key(self.algorithm, self.key_bytes)

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The P-384 key. Raises `Rejected` ``sev.certificate.algorithm`` for an owner's RSA key."""
        key = self.key
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise unsupported(
                "certificate.algorithm", f"the {self.label}'s key is not P-384", "RSA", "P-384", _SECTION
            )
        return key

    @property
    def signers(self) -> tuple[Usage, ...]:
        """Whose signatures it says it has, in order of the slots."""
        return tuple(slot.usage for slot in self.slots if not slot.empty)

    def signed_by(self, usage: Usage, key: PublicKey) -> bool:
        """Whether exactly one slot names a signer of that usage, with the algorithm that fits its key, and
        the signature is the key's."""
        slots = [slot for slot in self.slots if slot.usage is usage]
        return len(slots) == 1 and _is_signature(slots[0], key, self.body)


def parse(data: bytes, label: str) -> Certificate:
    """Read 2084 bytes; ``label`` names them in findings.

    Raises `Rejected`: ``sev.certificate.size``, ``.version``, ``.reserved``, ``.usage``, ``.algorithm``,
    ``.key`` (curve, padding, point), ``.slot`` (an unknown signer, or an empty slot that is not empty).
    """
    if len(data) != CERTIFICATE_SIZE:
        found, required = f"{len(data)} bytes", f"{CERTIFICATE_SIZE} bytes"
        raise malformed("certificate.size", f"the {label} has a wrong size", found, required, _SECTION)
    version, api_major, api_minor, reserved, usage, algorithm = _HEAD.unpack_from(data)
    if version != _VERSION:
        message = f"the {label} has a version that this verifier does not know"
        raise unsupported("certificate.version", message, str(version), str(_VERSION), _SECTION)
    if reserved:
        message = f"a reserved field of the {label} is not zero"
        raise malformed("certificate.reserved", message, f"{reserved:#x} at 006h", "zero", _SECTION)
    kind, known = _usage_and_algorithm(usage, algorithm, label)
    key_bytes = data[_HEAD.size : BODY_SIZE]
    try:
        _decode_key(known, key_bytes)
    except ValueError as error:
        raise malformed(
            "certificate.key", f"the {label}'s public key is not one", str(error), "P-384", _SECTION
        ) from error
    first, second = (_slot(data, at, label) for at in (BODY_SIZE, BODY_SIZE + _SLOT.size))
    return Certificate(api_major, api_minor, kind, known, key_bytes, (first, second))


def ec_key_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """The 1028 bytes of a P-384 key: curve u32 = 2 ‖ x[72] ‖ y[72] ‖ zeros."""
    return signatures.encode_key(key)


def rsa_key_bytes(key: rsa.RSAPublicKey) -> bytes:
    """The 1028 bytes of an RSA key: bits u32 ‖ exponent[512] ‖ modulus[512]."""
    numbers = key.public_numbers()
    exponent, modulus = (number.to_bytes(_RSA_NUMBER, "little") for number in (numbers.e, numbers.n))
    return key.key_size.to_bytes(4, "little") + exponent + modulus


def ecdsa_slot(usage: Usage, private_key: ec.EllipticCurvePrivateKey, body: bytes) -> SignatureSlot:
    """A body signed by a P-384 key of that usage: ECDSA with SHA-256."""
    der = private_key.sign(body, ec.ECDSA(hashes.SHA256()))
    return SignatureSlot(usage, Algorithm.ECDSA_SHA256, signatures.encode_signature(der))


def rsa_slot(usage: Usage, private_key: rsa.RSAPrivateKey, body: bytes) -> SignatureSlot:
    """A body signed by an RSA key of that usage (an ASK, or an owner's)."""
    signature = rsa_keys.sign(private_key, body).ljust(SIGNATURE_SIZE, b"\0")
    return SignatureSlot(usage, _RSA_ALGORITHMS[private_key.key_size], signature)


def _usage_and_algorithm(usage: int, algorithm: int, label: str) -> tuple[Usage, Algorithm]:
    for known, algorithms in _KEYS.items():
        if known == usage:
            if algorithm in algorithms:
                return known, Algorithm(algorithm)
            required = " or ".join(one.name for one in sorted(algorithms))
            message = f"the {label}'s key has another algorithm"
            raise unsupported("certificate.algorithm", message, f"{algorithm:#x}", required, _SECTION)
    required = " or ".join(known.name for known in _KEYS)
    raise malformed("certificate.usage", f"the {label} is for another use", f"{usage:#x}", required, _SECTION)


def _decode_key(algorithm: Algorithm, data: bytes) -> PublicKey:
    if algorithm not in _RSA_ALGORITHMS.values():
        return signatures.decode_key(data)
    bits = int.from_bytes(data[:4], "little")
    key = rsa_keys.decode_key(bits, data[4 : 4 + _RSA_NUMBER], data[4 + _RSA_NUMBER :])
    if _RSA_ALGORITHMS[bits] is not algorithm:
        raise ValueError("the hash does not fit the size of the RSA key")
    return key


def _slot(data: bytes, at: int, label: str) -> SignatureSlot:
    usage, algorithm, signature = _SLOT.unpack_from(data, at)
    found = f"usage {usage:#x}, algorithm {algorithm:#x} at {at:03x}h"
    if usage == Usage.INVALID:
        if algorithm or any(signature):
            message = f"an empty signature slot of the {label} is not empty"
            raise malformed("certificate.slot", message, found, "zeros", _SECTION)
        return EMPTY_SLOT
    for known, algorithms in _SIGNERS.items():
        if known == usage and algorithm in algorithms:
            slot = SignatureSlot(known, Algorithm(algorithm), signature)
            if slot.algorithm is Algorithm.ECDSA_SHA256 and any(signature[signatures.COMPONENTS_SIZE :]):
                message = f"the padding of a signature of the {label} is not zero"
                raise malformed("certificate.slot", message, found, "zeros", _SECTION)
            return slot
    required = "ASK, OCA, PEK or CEK with its algorithm, or 1000h"
    message = f"a signature slot of the {label} names no possible signer"
    raise malformed("certificate.slot", message, found, required, _SECTION)


def _is_signature(slot: SignatureSlot, key: PublicKey, body: bytes) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        size = key.key_size // 8
        fits = slot.algorithm is _RSA_ALGORITHMS.get(key.key_size) and not any(slot.signature[size:])
        return fits and rsa_keys.verify(key, slot.signature[:size], body)
    if slot.algorithm is not Algorithm.ECDSA_SHA256:
        return False
    try:
        signatures.verify(key, *signatures.decode_signature(slot.signature), body, hashes.SHA256())
    except (ValueError, InvalidSignature):
        return False
    return True
