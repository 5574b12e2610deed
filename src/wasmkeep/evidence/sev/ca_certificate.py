"""AMD's own certificate format, for ARK and ASK (S-B.1).

::

    00  version u32 = 1           24  usage u32: 0 ARK, 13h ASK    40       exponent, little-endian
    04  key id[16]                28  reserved[16]                 then     modulus
    14  certifying key id[16]     38  bits of exponent u32         then     signature
                                  3C  bits of modulus u32

Exponent, modulus and signature have the same size: 832 bytes in all with RSA-2048, 1600 with RSA-4096. The
signature covers everything before it; its scheme follows from the size of the signer's key (`rsa_keys`).
A file of both is ASK, then ARK. The Naples ARK also circulates without its self-signature, in 576 bytes; that
form parses, and counts only where its digest is pinned (`chain`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric import rsa

from wasmkeep.evidence.sev import rsa_keys
from wasmkeep.evidence.sev.certificate import Usage
from wasmkeep.evidence.sev.findings import malformed, unsupported

__all__ = ["LEGACY_SIZE", "MAX_CA_SIZE", "SIZES", "CaCertificate", "issue", "parse", "parse_pair"]

_HEAD = struct.Struct("<I 16s 16s I 16s I I")
_VERSION = 1
LEGACY_SIZE = _HEAD.size + 2 * 2048 // 8
"""576 bytes, without a signature."""
SIZES = tuple(_HEAD.size + 3 * bits // 8 for bits in rsa_keys.SIZES)
"""832 and 1600 bytes."""
MAX_CA_SIZE = max(SIZES)
_SECTION = "AMD 55766, B.1 AMD certificate"


@dataclass(frozen=True, slots=True)
class CaCertificate:
    """``key_id`` and ``certifying_key_id`` are 16 bytes; ``bits`` is 2048 or 4096, ``modulus`` the number;
    ``signature`` is little-endian and as long as the modulus, or empty (the legacy Naples ARK)."""

    usage: Usage
    key_id: bytes
    certifying_key_id: bytes
    bits: int
    modulus: int
    signature: bytes

    @property
    def label(self) -> str:
        return self.usage.name

    @property
    def key(self) -> rsa.RSAPublicKey:
        return rsa.RSAPublicNumbers(rsa_keys.EXPONENT, self.modulus).public_key()

    @property
    def spki_sha256(self) -> bytes:
        """Of the key as X.509 writes it, 32 bytes: what roots are pinned by."""
        return rsa_keys.spki_sha256(self.key)

    @property
    def body(self) -> bytes:
        """What the signature covers."""
        ids = self.key_id, self.certifying_key_id
        head = _HEAD.pack(_VERSION, *ids, self.usage, bytes(16), self.bits, self.bits)
        size = self.bits // 8
        return head + rsa_keys.EXPONENT.to_bytes(size, "little") + self.modulus.to_bytes(size, "little")

    def encode(self) -> bytes:
        """The 832 or 1600 bytes; 576 without a signature."""
        return self.body + self.signature

    def signed_by(self, issuer: CaCertificate) -> bool:
        """Whether the issuer's key signed this, and this names that key."""
        named = self.certifying_key_id == issuer.key_id
        return named and rsa_keys.verify(issuer.key, self.signature, self.body)


def parse(data: bytes, label: str) -> CaCertificate:
    """Read one certificate; ``label`` names it in findings.

    Raises `Rejected`: ``sev.ca-certificate.size``, ``.version``, ``.reserved``, ``.usage``, ``.key``.
    """
    if len(data) not in (*SIZES, LEGACY_SIZE):
        required = " or ".join(map(str, SIZES)) + " bytes"
        raise malformed(
            "ca-certificate.size", f"the {label} has a wrong size", f"{len(data)} bytes", required, _SECTION
        )
    version, key_id, certifying, usage, reserved, exponent_bits, bits = _HEAD.unpack_from(data)
    if version != _VERSION:
        message = f"the {label} has a version that this verifier does not know"
        raise unsupported("ca-certificate.version", message, str(version), str(_VERSION), _SECTION)
    if any(reserved):
        message = f"a reserved field of the {label} is not zero"
        raise malformed("ca-certificate.reserved", message, "set bits at 028h", "zero", _SECTION)
    if usage not in (Usage.ARK, Usage.ASK):
        message = f"the {label} is for another use"
        raise malformed("ca-certificate.usage", message, f"{usage:#x}", "ARK or ASK", _SECTION)
    size = bits // 8
    unsigned = len(data) == LEGACY_SIZE
    at = _HEAD.size + size
    try:
        if exponent_bits != bits or len(data) != _HEAD.size + (2 if unsigned else 3) * size:
            raise ValueError("the sizes of key and certificate disagree")
        key = rsa_keys.decode_key(bits, data[_HEAD.size : at], data[at : at + size])
    except ValueError as error:
        message = f"the {label}'s public key is not one"
        required = "RSA-2048 or RSA-4096"
        raise malformed("ca-certificate.key", message, str(error), required, _SECTION) from error
    modulus = key.public_numbers().n
    return CaCertificate(Usage(usage), key_id, certifying, bits, modulus, data[at + size :])


def parse_pair(data: bytes) -> tuple[CaCertificate, CaCertificate]:
    """The ASK and the ARK of a file that holds both, in this order. Raises `Rejected` as `parse` does."""
    half = len(data) // 2
    if len(data) % 2 or half not in SIZES:
        required = " or ".join(str(2 * size) for size in SIZES) + " bytes"
        message = "a file of ASK and ARK has a wrong size"
        raise malformed("ca-certificate.size", message, f"{len(data)} bytes", required, _SECTION)
    return parse(data[:half], "ASK"), parse(data[half:], "ARK")


def issue(
    usage: Usage, key: rsa.RSAPublicKey, key_id: bytes, issuer_id: bytes, issuer_key: rsa.RSAPrivateKey
) -> CaCertificate:
    """A certificate for ``key``, signed by the issuer's key (an ARK: its own)."""
    unsigned = CaCertificate(usage, key_id, issuer_id, key.key_size, key.public_numbers().n, b"")
    return replace(unsigned, signature=rsa_keys.sign(issuer_key, unsigned.body))
