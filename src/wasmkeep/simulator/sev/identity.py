"""Who a platform is: CEK, OCA, PEK and PDH (SEV API 0.24, 2 and appendix C).

The CEK is fused. OCA, PEK and PDH are made by the firmware, or the OCA's certificate comes from an owner.
Where INIT_EX keeps them outside the chip they are sealed under a key of the chip's: `seal` and `unseal`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev import certificate
from wasmkeep.evidence.sev.certificate import (
    CERTIFICATE_SIZE,
    EMPTY_SLOT,
    Algorithm,
    Certificate,
    Usage,
    ec_key_bytes,
    ecdsa_slot,
)
from wasmkeep.hardware.sev_commands import NV_LENGTH
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.chip import Chip
from wasmkeep.simulator.products import SevVersion
from wasmkeep.simulator.status import Refused, require

CEK_API = (0, 14)  # as in every genuine CEK seen (SEV.md A.5)
_SCALAR = 48  # bytes of a P-384 private key
_NONCE, _TAG = 12, 16
_LABEL = b"wasmkeep simulated SEV persistent state 1\0"
_PLAIN_SIZE = 3 * _SCALAR + 3 * CERTIFICATE_SIZE + 1
_BLANK = b"\xff" * NV_LENGTH  # a file that was never written


def cek_certificate(chip: Chip) -> Certificate:
    """The chip's CEK as it exports it: signed by nobody. AMD publishes the signed one."""
    key = ec_key_bytes(chip.cek().public_key())
    return Certificate(*CEK_API, Usage.CEK, Algorithm.ECDSA_SHA256, key)


def read_certificate(data: bytes, usage: Usage) -> Certificate:
    """A certificate a host hands in. INVALID_CERTIFICATE where it is malformed, or is for another use."""
    try:
        parsed = certificate.parse(data, usage.name)
    except Rejected as error:
        raise Refused(SevStatus.INVALID_CERTIFICATE) from error
    require(parsed.usage is usage, SevStatus.INVALID_CERTIFICATE)
    return parsed


def read_dh_certificate(data: bytes) -> Certificate:
    """The other side's DH key, in a certificate of usage PDH whose signatures nobody checks (SEV.md A.4)."""
    slots = 2 * EMPTY_SLOT.encode()
    return read_certificate(data[: certificate.BODY_SIZE] + slots, Usage.PDH)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@dataclass(frozen=True, slots=True)
class PlatformIdentity:
    """`oca_key` is unused once an external owner's OCA was imported. Keys are never printed."""

    oca: Certificate
    pek: Certificate
    pdh: Certificate
    external: bool
    oca_key: ec.EllipticCurvePrivateKey = field(repr=False)
    pek_key: ec.EllipticCurvePrivateKey = field(repr=False)
    pdh_key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls, chip: Chip, version: SevVersion) -> PlatformIdentity:
        """What PEK_GEN does: a self-signed OCA, a PEK signed by it and the CEK, a PDH signed by the PEK."""
        oca_key, pek_key = _new_key(), _new_key()
        oca = _unsigned(Usage.OCA, oca_key, version)
        oca = replace(oca, slots=(ecdsa_slot(Usage.OCA, oca_key, oca.body), EMPTY_SLOT))
        pek = _unsigned(Usage.PEK, pek_key, version)
        by_owner, by_chip = (
            ecdsa_slot(usage, key, pek.body) for usage, key in ((Usage.OCA, oca_key), (Usage.CEK, chip.cek()))
        )
        pek = replace(pek, slots=(by_owner, by_chip))
        pdh_key, pdh = _new_pdh(pek_key, version)
        return cls(oca, pek, pdh, False, oca_key, pek_key, pdh_key)

    def with_new_pdh(self, version: SevVersion) -> PlatformIdentity:
        """What PDH_GEN does."""
        pdh_key, pdh = _new_pdh(self.pek_key, version)
        return replace(self, pdh=pdh, pdh_key=pdh_key)

    def signing_request(self) -> Certificate:
        """PEK_CSR: the PEK with both slots empty."""
        return replace(self.pek, slots=(EMPTY_SLOT, EMPTY_SLOT))

    def owned_by(
        self, pek: Certificate, oca: Certificate, chip: Chip, version: SevVersion
    ) -> PlatformIdentity:
        """What PEK_CERT_IMPORT does once both are checked: the CEK signs in the PEK's free slot."""
        free = next(index for index, slot in enumerate(pek.slots) if slot.empty)
        by_chip = ecdsa_slot(Usage.CEK, chip.cek(), pek.body)
        slots = (by_chip, pek.slots[1]) if free == 0 else (pek.slots[0], by_chip)
        owned = replace(self, oca=oca, pek=replace(pek, slots=slots), external=True)
        return owned.with_new_pdh(version)

    def seal(self, chip: Chip) -> bytes:
        """The persistent state as INIT_EX stores it outside: `NV_LENGTH` bytes, AES-256-GCM."""
        scalars = (
            key.private_numbers().private_value.to_bytes(_SCALAR)
            for key in (self.oca_key, self.pek_key, self.pdh_key)
        )
        certificates = (one.encode() for one in (self.oca, self.pek, self.pdh))
        plain = b"".join((*scalars, *certificates, bytes((self.external,))))
        nonce = os.urandom(_NONCE)
        return (nonce + AESGCM(chip.storage_key()).encrypt(nonce, plain, _LABEL)).ljust(NV_LENGTH, b"\xff")


def unseal(data: bytes, chip: Chip) -> PlatformIdentity | None:
    """What `seal` made on this chip; None where nothing was written. SECURE_DATA_INVALID for all else."""
    if data == _BLANK:
        return None
    nonce, sealed = data[:_NONCE], data[_NONCE : _NONCE + _PLAIN_SIZE + _TAG]
    try:
        plain = AESGCM(chip.storage_key()).decrypt(nonce, sealed, _LABEL)
    except InvalidTag as error:
        raise Refused(SevStatus.SECURE_DATA_INVALID) from error
    keys = [
        ec.derive_private_key(int.from_bytes(plain[at : at + _SCALAR]), ec.SECP384R1())
        for at in range(0, 3 * _SCALAR, _SCALAR)
    ]
    certificates = [
        certificate.parse(plain[at : at + CERTIFICATE_SIZE], "stored certificate")
        for at in range(3 * _SCALAR, _PLAIN_SIZE - 1, CERTIFICATE_SIZE)
    ]
    oca, pek, pdh = certificates
    return PlatformIdentity(oca, pek, pdh, bool(plain[-1]), *keys)


def _unsigned(usage: Usage, key: ec.EllipticCurvePrivateKey, version: SevVersion) -> Certificate:
    algorithm = Algorithm.ECDH_SHA256 if usage is Usage.PDH else Algorithm.ECDSA_SHA256
    return Certificate(*version.api, usage, algorithm, ec_key_bytes(key.public_key()))


def _new_pdh(
    pek_key: ec.EllipticCurvePrivateKey, version: SevVersion
) -> tuple[ec.EllipticCurvePrivateKey, Certificate]:
    key = _new_key()
    unsigned = _unsigned(Usage.PDH, key, version)
    return key, replace(unsigned, slots=(ecdsa_slot(Usage.PEK, pek_key, unsigned.body), EMPTY_SLOT))
