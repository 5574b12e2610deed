"""Makes valid SEV evidence under a root of the tests' own, spoils one thing, and signs it again."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.evidence.forge import REPORT_DATA, Forge
from wasmkeep.evidence import Policy, SevEvidence, SevKeys
from wasmkeep.evidence.sev import ca_certificate, rsa_keys
from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit
from wasmkeep.evidence.sev.certificate import (
    EMPTY_SLOT,
    Algorithm,
    Certificate,
    SignatureSlot,
    Usage,
    ec_key_bytes,
    ecdsa_slot,
    rsa_slot,
)
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.evidence.sev.evidence import SevKind
from wasmkeep.evidence.sev.measurement import measure
from wasmkeep.evidence.sev.products import PRODUCTS
from wasmkeep.evidence.sev.session import LaunchKeys

NAME = "wasmkeep 0.1.0"
DIGEST = bytes(range(32))
REFERENCES = {DIGEST: NAME}
KEYS = LaunchKeys(sha256(b"TEK").digest()[:16], sha256(b"TIK").digest()[:16])
PROOF_KEY = sha256(b"proof key").digest()
SEV_KEYS = SevKeys(KEYS.tik, PROOF_KEY)
MNONCE = bytes(range(200, 216))
STRICT = GuestPolicyBit.NODBG | GuestPolicyBit.NOKS | GuestPolicyBit.NOSEND
API = (1, 55)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass
class SevForge:
    """Keys of both chains of a platform. The RSA keys are those of the X.509 forge, and so is the pin."""

    ark: rsa.RSAPrivateKey
    ask: rsa.RSAPrivateKey
    cek: ec.EllipticCurvePrivateKey
    oca: ec.EllipticCurvePrivateKey
    pek: ec.EllipticCurvePrivateKey
    pdh: ec.EllipticCurvePrivateKey

    @classmethod
    def of(cls, forge: Forge) -> SevForge:
        return cls(forge.ark_key, forge.ask_key, *(ec.generate_private_key(ec.SECP384R1()) for _ in range(4)))

    @property
    def pin(self) -> str:
        return "sha256:" + rsa_keys.spki_sha256(self.ark.public_key()).hex()

    def policy(self, *platforms: str, **changes: object) -> Policy:
        """The default policy with this root pinned and SEV named."""
        default = Policy.default(simulated=self.pin, platforms=platforms or ("snp", "sev-es", "sev"))
        return replace(default, **changes)  # type: ignore[arg-type]  # named fields

    def authorities(self, product: str = "Genoa") -> tuple[bytes, bytes]:
        """(ARK, ASK)."""
        entry = next(entry for entry in PRODUCTS if entry.name == product)
        ark_id, ask_id = entry.ark_key_id, entry.ask_key_id
        ark = ca_certificate.issue(Usage.ARK, self.ark.public_key(), ark_id, ark_id, self.ark)
        ask = ca_certificate.issue(Usage.ASK, self.ask.public_key(), ask_id, ark_id, self.ark)
        return ark.encode(), ask.encode()

    @cached_property
    def certificates(self) -> PlatformCertificates:
        """A simulated Genoa's."""
        ark, ask = self.authorities()
        return PlatformCertificates(
            ark=ark,
            ask=ask,
            cek=signed(Usage.CEK, self.cek, {Usage.ASK: self.ask}),
            pek=signed(Usage.PEK, self.pek, {Usage.OCA: self.oca, Usage.CEK: self.cek}),
            oca=signed(Usage.OCA, self.oca, {Usage.OCA: self.oca}),
            pdh=signed(Usage.PDH, self.pdh, {Usage.PEK: self.pek}),
        )

    @property
    def oca_digest(self) -> bytes:
        return sha256(ec_key_bytes(self.oca.public_key())).digest()

    def evidence(
        self,
        kind: SevKind = "sev-es",
        *,
        bits: GuestPolicyBit = STRICT,
        digest: bytes = DIGEST,
        tik: bytes = KEYS.tik,
        version: tuple[int, int, int] = (*API, 40),
        **parts: object,
    ) -> SevEvidence:
        """Evidence that `policy` accepts; ``parts`` replaces whole fields, and nothing is made to fit
        them."""
        es = GuestPolicyBit.ES if kind == "sev-es" else GuestPolicyBit(0)
        policy = GuestPolicy(bits | es, (0, 24)).encode()
        measured = measure(tik, *version, policy, digest, MNONCE) + MNONCE
        proof = hmac.digest(PROOF_KEY, REPORT_DATA, "sha256")
        whole = SevEvidence(kind, self.certificates, *version, policy, measured, proof)
        return replace(whole, **parts)  # type: ignore[arg-type]  # named fields


def signed(
    usage: Usage, key: ec.EllipticCurvePrivateKey, signers: dict[Usage, Key], *, swap: bool = False
) -> bytes:
    """A certificate with these signatures, in the order given unless ``swap``."""
    algorithm = Algorithm.ECDH_SHA256 if usage is Usage.PDH else Algorithm.ECDSA_SHA256
    return sign(
        Certificate(*API, usage, algorithm, ec_key_bytes(key.public_key())), signers, swap=swap
    ).encode()


def sign(one: Certificate, signers: dict[Usage, Key], *, swap: bool = False) -> Certificate:
    """The certificate with these signatures and no others."""
    slots = [slot_of(usage, signer, one.body) for usage, signer in signers.items()]
    first, second, *_ = (*slots, EMPTY_SLOT, EMPTY_SLOT)
    return replace(one, slots=(second, first) if swap else (first, second))


def slot_of(usage: Usage, signer: Key, body: bytes) -> SignatureSlot:
    if isinstance(signer, rsa.RSAPrivateKey):
        return rsa_slot(usage, signer, body)
    return ecdsa_slot(usage, signer, body)
