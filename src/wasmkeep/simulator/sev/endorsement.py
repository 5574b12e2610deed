"""What AMD publishes of a chip under SEV: ARK and ASK in its own format, and the CEK that the ASK signed.

The keys are those of the machine's X.509 certificates, as AMD's are, so that one pin covers both. Key ids
are those of AMD's certificates of the generation: they name it, and prove nothing.
"""

from __future__ import annotations

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import rsa

from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev import ca_certificate, certificate
from wasmkeep.evidence.sev.ca_certificate import issue
from wasmkeep.evidence.sev.certificate import EMPTY_SLOT, Usage, rsa_slot
from wasmkeep.evidence.sev.products import PRODUCTS
from wasmkeep.simulator.chip import Chip
from wasmkeep.simulator.products import Product
from wasmkeep.simulator.sev.identity import cek_certificate


def issue_authorities(product: Product, ark: rsa.RSAPrivateKey, ask: rsa.RSAPrivateKey) -> bytes:
    """ASK, then ARK: 1664 or 3200 bytes."""
    named = next(one for one in PRODUCTS if one.name == product.kds)
    ask_certificate = issue(Usage.ASK, ask.public_key(), named.ask_key_id, named.ark_key_id, ark)
    ark_certificate = issue(Usage.ARK, ark.public_key(), named.ark_key_id, named.ark_key_id, ark)
    return ask_certificate.encode() + ark_certificate.encode()


def are_authorities(data: bytes, ark: rsa.RSAPublicKey, ask: rsa.RSAPublicKey) -> bool:
    """Whether `data` is what `issue_authorities` made with these keys."""
    try:
        first, second = ca_certificate.parse_pair(data)
    except Rejected:
        return False
    own = first.key == ask and second.key == ark
    return own and first.signed_by(second) and second.signed_by(second)


def issue_cek(chip: Chip, ask: rsa.RSAPrivateKey) -> bytes:
    """The chip's CEK as its ASK signed it, 2084 bytes."""
    unsigned = cek_certificate(chip)
    return replace(unsigned, slots=(rsa_slot(Usage.ASK, ask, unsigned.body), EMPTY_SLOT)).encode()


def is_cek(data: bytes, chip: Chip, ask: rsa.RSAPublicKey) -> bool:
    """Whether `data` is what `issue_cek` made for this chip."""
    try:
        parsed = certificate.parse(data, "CEK")
    except Rejected:
        return False
    return parsed.body == cek_certificate(chip).body and parsed.signed_by(Usage.ASK, ask)
