"""The report of ATTESTATION: 208 = D0h bytes (S-6.8), in which the platform's PEK signs a launch digest.

00 MNONCE[16], the caller's · 10 launch digest[32] · 30 policy u32 · 34 usage u32 = 1002h (PEK) ·
38 algorithm u32 = 2 · 3C reserved u32 · 40 r[72] ‖ s[72]. ECDSA P-384 with SHA-256 over bytes 00h to 33h. It
binds nothing but the nonce: no key of the guest's, and no moment later than the launch.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev.certificate import Algorithm, Usage
from wasmkeep.evidence.sev.findings import malformed, untrusted
from wasmkeep.evidence.snp import signatures

__all__ = ["REPORT_SIZE", "SIGNED_SIZE", "Report", "create", "parse"]

REPORT_SIZE = 0xD0
SIGNED_SIZE = 0x34
_LAYOUT = struct.Struct("<16s 32s I I I I 72s 72s")
_SECTION = "AMD 55766, 6.8 ATTESTATION"


@dataclass(frozen=True, slots=True)
class Report:
    """``mnonce`` is 16 bytes, ``digest`` 32; ``policy`` the u32; r and s are the signature's numbers."""

    mnonce: bytes
    digest: bytes
    policy: int
    signature_r: int
    signature_s: int

    def encode(self) -> bytes:
        """The 208 bytes."""
        r, s = (number.to_bytes(72, "little") for number in (self.signature_r, self.signature_s))
        return _LAYOUT.pack(self.mnonce, self.digest, self.policy, Usage.PEK, Algorithm.ECDSA_SHA256, 0, r, s)

    def verify(self, pek: ec.EllipticCurvePublicKey, mnonce: bytes) -> None:
        """That this PEK signed it for this nonce. Raises `Rejected`: ``sev.report.signature``,
        ``sev.report.nonce``. Whether the PEK is a platform's is for `chain` to say."""
        signed = self.encode()[:SIGNED_SIZE]
        try:
            signatures.verify(pek, self.signature_r, self.signature_s, signed, hashes.SHA256())
        except (ValueError, InvalidSignature) as error:
            message, found = "the PEK did not sign the report", "a signature that does not verify"
            raise Rejected(untrusted("report.signature", message, found, "the PEK's", _SECTION)) from error
        if not hmac.compare_digest(self.mnonce, mnonce):
            message = "the report was made for another nonce"
            raise Rejected(untrusted("report.nonce", message, self.mnonce.hex(), mnonce.hex(), _SECTION))


def parse(data: bytes) -> Report:
    """Read 208 bytes. Raises `Rejected`: ``sev.report.size``, ``.signer``, ``.reserved``."""
    if len(data) != REPORT_SIZE:
        found, required = f"{len(data)} bytes", f"{REPORT_SIZE} bytes"
        raise malformed("report.size", "the report has a wrong size", found, required, _SECTION)
    mnonce, digest, policy, usage, algorithm, reserved, r, s = _LAYOUT.unpack(data)
    if (usage, algorithm) != (Usage.PEK, Algorithm.ECDSA_SHA256):
        found = f"usage {usage:#x}, algorithm {algorithm:#x}"
        required = "a PEK's ECDSA with SHA-256"
        raise malformed("report.signer", "the report names another signer", found, required, _SECTION)
    if reserved:
        message = "a reserved field of the report is not zero"
        raise malformed("report.reserved", message, f"{reserved:#x} at 3Ch", "zero", _SECTION)
    return Report(mnonce, digest, policy, int.from_bytes(r, "little"), int.from_bytes(s, "little"))


def create(pek: ec.EllipticCurvePrivateKey, *, mnonce: bytes, digest: bytes, policy: int) -> Report:
    """The firmware's side: a report signed by the PEK."""
    unsigned = Report(mnonce, digest, policy, 0, 0)
    der = pek.sign(unsigned.encode()[:SIGNED_SIZE], ec.ECDSA(hashes.SHA256()))
    r, s = signatures.decode_signature(signatures.encode_signature(der))
    return Report(mnonce, digest, policy, r, s)
