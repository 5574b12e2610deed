"""SEV's certificates and launches in words: every field with its meaning. Nothing here is a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import rsa

from wasmkeep.evidence.sev.bits import GuestPolicyBit, format_api
from wasmkeep.evidence.sev.ca_certificate import CaCertificate
from wasmkeep.evidence.sev.certificate import Algorithm, Certificate, SignatureSlot, Usage
from wasmkeep.evidence.sev.evidence import SevEvidence
from wasmkeep.evidence.sev.products import PRODUCTS
from wasmkeep.evidence.snp.explain import Line

__all__ = ["explain_certificate", "explain_launch", "title"]

_ROLES = {
    Usage.ARK: "AMD root key: signs itself and the ASK",
    Usage.ASK: "AMD SEV key: signs the keys of chips of its generation",
    Usage.CEK: "chip endorsement key: one chip's own, signed by AMD",
    Usage.OCA: "owner's certificate authority: whose platform this is; signs itself",
    Usage.PEK: "platform endorsement key: signed by owner and chip",
    Usage.PDH: "platform Diffie-Hellman key: what a tenant agrees launch keys with",
}
_BITS = (
    (GuestPolicyBit.NODBG, "debug NOT allowed", "debug allowed"),
    (GuestPolicyBit.NOKS, "key sharing NOT allowed", "key sharing allowed"),
    (GuestPolicyBit.ES, "SEV-ES required", "registers visible"),
    (GuestPolicyBit.NOSEND, "sending NOT allowed", "sending allowed"),
    (GuestPolicyBit.DOMAIN, "only within its owner's domain", ""),
    (GuestPolicyBit.SEV, "only to genuine SEV platforms", ""),
)


def title(one: Certificate | CaCertificate) -> str:
    """A certificate in one line."""
    return f"{one.label}: {_ROLES[one.usage]}"


def explain_certificate(one: Certificate | CaCertificate) -> tuple[Line, ...]:
    """Every field of a certificate."""
    fields = _authority(one) if isinstance(one, CaCertificate) else _certificate(one)
    return tuple(Line(one.label, name, value, meaning) for name, value, meaning in fields)


def explain_launch(evidence: SevEvidence) -> tuple[Line, ...]:
    """What a pre-attested launch claims; only its tenant can check it."""
    version = format_api((evidence.api_major, evidence.api_minor, evidence.build))
    fields = (
        ("firmware", version, "API version and build"),
        ("policy", f"{evidence.policy:#x}", _policy_words(evidence.policy)),
        ("measure", evidence.measurement[:32].hex(), "HMAC under the tenant's TIK; holds the launch digest"),
        ("mnonce", evidence.measurement[32:].hex(), "the firmware's nonce"),
        ("proof", evidence.proof.hex(), "the keep's HMAC under the launch secret; binds the session"),
    )
    return tuple(Line("launch", name, value, meaning) for name, value, meaning in fields)


def _policy_words(policy: int) -> str:
    words = [yes if policy & bit else no for bit, yes, no in _BITS]
    api = format_api((policy >> 16 & 0xFF, policy >> 24 & 0xFF))
    unknown = policy & 0xFFFF & ~sum(int(bit) for bit, _, _ in _BITS)
    return " · ".join(
        [*filter(None, words), f"API ≥ {api}", *([f"unknown bits {unknown:#x}"] if unknown else [])]
    )


def _authority(one: CaCertificate) -> Iterator[tuple[str, str, str]]:
    product = next(
        (entry.name for entry in PRODUCTS if one.key_id in (entry.ark_key_id, entry.ask_key_id)), ""
    )
    yield "key id", one.key_id.hex(), f"the id of {product}'s" if product else "no id of AMD's"
    issuer = "its own" if one.certifying_key_id == one.key_id else ""
    yield "certifying key id", one.certifying_key_id.hex(), issuer
    yield "key", f"RSA-{one.bits}", ""
    yield "key digest", f"sha256:{one.spki_sha256.hex()}", "what a root is pinned by"
    yield "signature", f"{len(one.signature)} bytes", "" if one.signature else "none: the legacy Naples ARK"


def _certificate(one: Certificate) -> Iterator[tuple[str, str, str]]:
    maker = "of the firmware that made it" if one.api_version != (0, 0) else "an owner's tool made it"
    yield "API version", format_api(one.api_version), maker
    key = one.key
    kind = f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else "P-384"
    yield "key", f"{kind}, {_algorithm(one.algorithm)}", ""
    meaning = "policies name an owner by it" if one.usage is Usage.OCA else ""
    yield "key digest", sha256(one.key_bytes).hexdigest(), meaning
    for number, slot in enumerate(one.slots, 1):
        yield f"signature {number}", _signer(slot), ""


def _signer(slot: SignatureSlot) -> str:
    return "empty" if slot.empty else f"by the {slot.usage.name}, {_algorithm(slot.algorithm)}"


def _algorithm(algorithm: Algorithm) -> str:
    family, _, digest = algorithm.name.partition("_")
    return f"{family} with {digest.replace('SHA', 'SHA-')}"
