"""Whom a guest may be sent to: what SEND_START asks of the other platform (SEV API 0.24, 3; SEV.md A.4)."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev import ca_certificate
from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit
from wasmkeep.evidence.sev.ca_certificate import CaCertificate
from wasmkeep.evidence.sev.certificate import CERTIFICATE_SIZE, Certificate, PublicKey, Usage
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.sev.identity import read_certificate
from wasmkeep.simulator.status import Refused, require

AMD_CHAIN_SIZES = tuple(2 * size for size in ca_certificate.SIZES)


@dataclass(frozen=True, slots=True)
class Receiver:
    """As the host hands it in: the PDH, PEK ‖ OCA ‖ CEK, ASK ‖ ARK. Each counts as far as a policy asks."""

    pdh: bytes
    platform_chain: bytes
    amd_chain: bytes

    @property
    def pek(self) -> bytes:
        return self.platform_chain[:CERTIFICATE_SIZE]

    @property
    def oca(self) -> bytes:
        return self.platform_chain[CERTIFICATE_SIZE : 2 * CERTIFICATE_SIZE]

    @property
    def cek(self) -> bytes:
        return self.platform_chain[2 * CERTIFICATE_SIZE :]


def require_receiver(
    receiver: Receiver, policy: GuestPolicy, own_oca: Certificate, amd_roots: Set[bytes]
) -> None:
    """With SEV: PDH ← PEK ← CEK ← ASK ← an ARK of `amd_roots`, and an API as new as the policy's minimum.

    With DOMAIN: PDH ← PEK ← OCA, and the OCA's certificate is this platform's, byte for byte. With neither,
    the host may send the guest wherever it likes. INVALID_CERTIFICATE, BAD_SIGNATURE, POLICY_FAILURE.
    """
    asked = policy.bits & (GuestPolicyBit.SEV | GuestPolicyBit.DOMAIN)
    if not asked:
        return
    pdh, pek = read_certificate(receiver.pdh, Usage.PDH), read_certificate(receiver.pek, Usage.PEK)
    if asked & GuestPolicyBit.SEV:
        chip_key = _chip_key(read_certificate(receiver.cek, Usage.CEK), receiver.amd_chain, amd_roots)
        _require_signed(pek, Usage.CEK, chip_key)
    if asked & GuestPolicyBit.DOMAIN:
        require(receiver.oca == own_oca.encode(), SevStatus.POLICY_FAILURE)
        _require_signed(pek, Usage.OCA, own_oca.key)
    _require_signed(pdh, Usage.PEK, pek.public_key)
    if asked & GuestPolicyBit.SEV:
        oldest = min(pdh.api_version, pek.api_version)
        require(oldest >= policy.minimum_api, SevStatus.POLICY_FAILURE)


def _chip_key(cek: Certificate, amd_chain: bytes, amd_roots: Set[bytes]) -> PublicKey:
    """The CEK's key, once an ARK of AMD's vouches for it."""
    ask, ark = _authorities(amd_chain)
    require(ark.spki_sha256 in amd_roots, SevStatus.INVALID_CERTIFICATE)
    require(ark.signed_by(ark) and ask.signed_by(ark), SevStatus.BAD_SIGNATURE)
    _require_signed(cek, Usage.ASK, ask.key)
    return cek.public_key


def _authorities(amd_chain: bytes) -> tuple[CaCertificate, CaCertificate]:
    try:
        ask, ark = ca_certificate.parse_pair(amd_chain)
    except Rejected as error:
        raise Refused(SevStatus.INVALID_CERTIFICATE) from error
    in_order = ask.usage is Usage.ASK and ark.usage is Usage.ARK
    require(in_order, SevStatus.INVALID_CERTIFICATE)
    return ask, ark


def _require_signed(one: Certificate, usage: Usage, key: PublicKey) -> None:
    require(one.signed_by(usage, key), SevStatus.BAD_SIGNATURE)
