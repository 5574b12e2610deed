"""AMD's certificates and revocation lists in words. Nothing here is a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.snp.certificates import Authority, Endorsement, RevocationList, Signed
from wasmkeep.evidence.snp.endorsement import read_endorsement
from wasmkeep.evidence.snp.explain import Line

__all__ = ["explain_authority", "explain_endorsement", "explain_list"]


def explain_endorsement(certificate: Endorsement) -> tuple[Line, ...]:
    """A VCEK or VLEK: names, dates, key, and what AMD's extensions say of the platform."""
    spki = certificate.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    group = certificate.common_name.removeprefix("SEV-") or certificate.label
    return (
        *_common(group, certificate),
        Line(group, "key", f"sha256:{sha256(spki).hexdigest()}", "ECDSA P-384"),
        *_platform(group, certificate),
    )


def explain_authority(certificate: Authority) -> tuple[Line, ...]:
    """An ARK, ASK or ASVK."""
    group = certificate.common_name or certificate.label
    itself = certificate.subject == certificate.issuer
    words = "RSA-4096; a root: policies pin it by this digest" if itself else "RSA-4096"
    return (
        *_common(group, certificate),
        Line(group, "key", f"sha256:{certificate.spki_sha256.hex()}", words),
    )


def explain_list(crl: RevocationList) -> tuple[Line, ...]:
    """A revocation list and the serial numbers on it."""
    group = "CRL"
    return (
        Line(group, "issuer", crl.issuer.rfc4514_string()),
        Line(group, "dates", f"{crl.issued:%Y-%m-%d} to {crl.next_update:%Y-%m-%d}"),
        Line(group, "number", "none" if crl.number is None else str(crl.number)),
        *(Line(group, "revoked", f"{serial:#x}", "serial number") for serial in sorted(crl.serials)),
    )


def _common(group: str, certificate: Signed) -> Iterator[Line]:
    yield Line(group, "subject", certificate.subject.rfc4514_string())
    yield Line(group, "issuer", certificate.issuer.rfc4514_string())
    yield Line(group, "serial", f"{certificate.serial:#x}")
    yield Line(group, "dates", f"{certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}")


def _platform(group: str, certificate: Endorsement) -> Iterator[Line]:
    try:
        identity = read_endorsement(certificate)
    except Rejected as rejected:
        yield Line(group, "platform", "cannot be read", rejected.message)
        return
    yield Line(group, "product", identity.product_name, identity.product)
    yield Line(group, "TCB", str(identity.tcb), "the key was derived for it")
    if identity.hw_id is not None:
        yield Line(group, "hardware id", identity.hw_id.hex(), "the chip")
    if identity.csp_id is not None:
        yield Line(group, "cloud", identity.csp_id, "the key was loaded by it")
