"""From a platform's PDH to a pinned root: both chains, and who owns the platform (S-B, S-C).

::

    ARK → ASK → CEK ─┐
                     PEK → PDH
         OCA → OCA ──┘

The chain says: this PDH belongs to a genuine secure processor (CEK) in the domain of this owner (OCA). SEV's
certificates have neither dates nor a revocation list. `authenticate` does all of it, in this order:

1. Each certificate parses, and is for the use that its place says.
2. The ARK's key is a pinned root, and signed the ARK. The legacy Naples ARK has no signature, and counts only
   when its bytes are the pinned ones.
3. The ARK signed the ASK and is named by it.
4. The ASK signed the CEK.
5. The OCA signed itself.
6. OCA and CEK both signed the PEK, in either order of its slots.
7. The PEK signed the PDH.
8. The generation follows: a vendor's root speaks for one. A simulator's root speaks for none; there the key
   ids that its ARK and ASK carry, under the pinned key's signature, must be those of AMD's for one product,
   with its RSA size. That is the simulator's own word, as an SNP machine's VCEK is.
9. The owner CA is one of those asked for.

Every certificate has exactly the signatures named here; no slot may hold another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from wasmkeep.evidence.errors import Finding, Rejected
from wasmkeep.evidence.roots import Root, format_pin
from wasmkeep.evidence.sev import ca_certificate, certificate
from wasmkeep.evidence.sev.ca_certificate import CaCertificate
from wasmkeep.evidence.sev.certificate import Certificate, PublicKey, Usage
from wasmkeep.evidence.sev.findings import malformed, refused, unsupported, untrusted
from wasmkeep.evidence.sev.products import PRODUCTS

__all__ = ["AuthenticPlatform", "Check", "PlatformCertificates", "authenticate", "key_digest", "one_by_one"]

Check: TypeAlias = Callable[[], None]
"""Raises `Rejected`, or everything is right."""

_SECTION = "AMD 55766, B and C certificates"
_LEGACY_ARKS = frozenset({bytes.fromhex("8efddcaaf84990cf6354d93637be270220cf15797332b3d918c3b8cc77349f31")})
"""SHA-256 of the one ARK file without a signature that is known, Naples': 576 bytes."""


@dataclass(frozen=True, slots=True)
class PlatformCertificates:
    """The six certificates as they came, nothing believed: ARK and ASK in AMD's format (832 or 1600 bytes),
    the others of 2084 bytes. The CEK is the one that AMD signed; a platform exports it without that."""

    ark: bytes
    ask: bytes
    cek: bytes
    pek: bytes
    oca: bytes
    pdh: bytes


@dataclass(frozen=True, slots=True)
class AuthenticPlatform:
    """A platform that a pinned root vouches for. Made by `authenticate` only.

    ``api_version`` is in the PDH's certificate: that of the firmware which made it. ``oca_digest`` names the
    owner and ``cek_digest`` the chip: SHA-256 of the key's field, 32 bytes (`key_digest`).
    """

    root: Root
    generation: str
    api_version: tuple[int, int]
    pdh: Certificate
    pek: Certificate
    oca_digest: bytes
    cek_digest: bytes


def key_digest(one: Certificate) -> bytes:
    """SHA-256 of the 1028 bytes of a certificate's public key: how policies name an owner's CA."""
    return sha256(one.key_bytes).digest()


def one_by_one(checks: Sequence[Check]) -> None:
    """Perform checks in order, up to the first that refuses."""
    for check in checks:
        check()


def authenticate(
    certificates: PlatformCertificates,
    roots: Mapping[bytes, Root],
    owners: Set[bytes] | None = None,
    *,
    perform: Callable[[Sequence[Check]], None] = one_by_one,
) -> AuthenticPlatform:
    """``roots`` maps SPKI digests to roots, ``owners`` holds the accepted owners' key digests (None or empty:
    any owner, also a platform that owns itself). ``perform`` does the checks of signatures, all of them or
    up to a refusal, and raises the refusal that comes first in their order: a caller with threads may do
    several at once.

    Raises `Rejected`: those of `certificate.parse` and `ca_certificate.parse`, ``sev.chain.order``,
    ``sev.root``, ``sev.chain.ark`` to ``sev.chain.pdh``, ``sev.product``, ``sev.owner``.
    """
    # 1
    ark, ask = _authority(certificates.ark, Usage.ARK), _authority(certificates.ask, Usage.ASK)
    cek, pek = _certificate(certificates.cek, Usage.CEK), _certificate(certificates.pek, Usage.PEK)
    oca, pdh = _certificate(certificates.oca, Usage.OCA), _certificate(certificates.pdh, Usage.PDH)
    # 2
    root = _accepted_root(ark, roots)
    ask_key, oca_key, cek_key, pek_key = ask.key, oca.key, cek.public_key, pek.public_key
    # 2 to 7
    _perform_all(
        perform,
        lambda: _require_root(ark, certificates.ark),
        lambda: _require_ask(ask, ark),
        lambda: _require_signatures(cek, {Usage.ASK: ask_key}, advice=_UNSIGNED_CEK),
        lambda: _require_signatures(oca, {Usage.OCA: oca_key}),
        lambda: _require_signers(pek, (Usage.OCA, Usage.CEK)),
        lambda: _require_signature(pek, Usage.OCA, oca_key),
        lambda: _require_signature(pek, Usage.CEK, cek_key),
        lambda: _require_signatures(pdh, {Usage.PEK: pek_key}),
    )
    # 8
    generation = root.product or _simulated_product(ark, ask)
    # 9
    owner = key_digest(oca)
    if owners and owner not in owners:
        raise Rejected(_wrong_owner(owner, owners))
    return AuthenticPlatform(root, generation, pdh.api_version, pdh, pek, owner, key_digest(cek))


_UNSIGNED_CEK = (
    "a platform exports its CEK without AMD's signature; the signed one is at "
    "https://kdsintf.amd.com/cek/id/<id>"
)


def _authority(data: bytes, usage: Usage) -> CaCertificate:
    parsed = ca_certificate.parse(data, usage.name)
    if parsed.usage is not usage:
        raise _order(usage, parsed.usage)
    return parsed


def _certificate(data: bytes, usage: Usage) -> Certificate:
    parsed = certificate.parse(data, usage.name)
    if parsed.usage is not usage:
        raise _order(usage, parsed.usage)
    return parsed


def _order(usage: Usage, found: Usage) -> Rejected:
    message = f"another certificate is where the {usage.name} should be"
    return malformed("chain.order", message, found.name, usage.name, _SECTION)


def _perform_all(perform: Callable[[Sequence[Check]], None], *checks: Check) -> None:
    """A ``perform`` that leaves one out is a bug, and none that goes unnoticed."""
    passed: list[int] = []

    def counted(number: int, check: Check) -> Check:
        def performed() -> None:
            check()
            passed.append(number)

        return performed

    perform([counted(number, check) for number, check in enumerate(checks)])
    if sorted(passed) != list(range(len(checks))):
        raise RuntimeError("checks of signatures were left out")


def _accepted_root(ark: CaCertificate, roots: Mapping[bytes, Root]) -> Root:
    root = roots.get(ark.spki_sha256)
    if root is None:
        raise Rejected(_wrong_root(ark, roots))
    return root


def _require_root(ark: CaCertificate, data: bytes) -> None:
    genuine = ark.signed_by(ark) if ark.signature else sha256(data).digest() in _LEGACY_ARKS
    if not genuine:
        raise Rejected(_not_signed("ark", "ARK", "itself"))


def _require_ask(ask: CaCertificate, ark: CaCertificate) -> None:
    if not ask.signed_by(ark):
        raise Rejected(_not_signed("ask", "ASK", "the ARK"))


def _require_signatures(one: Certificate, signers: Mapping[Usage, PublicKey], *, advice: str = "") -> None:
    """Exactly these signed it, and each signature verifies."""
    _require_signers(one, tuple(signers), advice=advice)
    for usage, key in signers.items():
        _require_signature(one, usage, key, advice=advice, signers=tuple(signers))


def _require_signers(one: Certificate, signers: tuple[Usage, ...], *, advice: str = "") -> None:
    if sorted(one.signers) != sorted(signers):
        found = "signed by " + (" and ".join(usage.name for usage in one.signers) or "nobody")
        raise Rejected(_not_signed(one.label.lower(), one.label, _names(signers), found, advice))


def _require_signature(
    one: Certificate,
    usage: Usage,
    key: PublicKey,
    *,
    signers: tuple[Usage, ...] = (Usage.OCA, Usage.CEK),
    advice: str = "",
) -> None:
    if not one.signed_by(usage, key):
        found = f"a signature of the {usage.name}'s that does not verify"
        raise Rejected(_not_signed(one.label.lower(), one.label, _names(signers), found, advice))


def _names(signers: tuple[Usage, ...]) -> str:
    return " and ".join(f"the {usage.name}" for usage in signers)


def _simulated_product(ark: CaCertificate, ask: CaCertificate) -> str:
    for product in PRODUCTS:
        ids = ark.key_id == product.ark_key_id and ask.key_id == product.ask_key_id
        if ids and ark.bits == ask.bits == product.bits:
            return product.name
    message = "the simulator's certificates name no generation of processors"
    required = "the key ids and sizes of " + ", ".join(product.name for product in PRODUCTS)
    raise unsupported("product", message, f"{ark.key_id.hex()}, {ask.key_id.hex()}", required, _SECTION)


def _not_signed(
    check: str, label: str, signer: str, found: str = "a signature that does not verify", advice: str = ""
) -> Finding:
    return untrusted(
        f"chain.{check}",
        f"the {label} was not signed as it must be",
        found,
        f"signed by {signer}",
        _SECTION,
        meaning="the certificates do not belong together, or one was forged",
        advice=advice,
    )


def _wrong_root(ark: CaCertificate, roots: Mapping[bytes, Root]) -> Finding:
    simulated = any(root.simulated for root in roots.values())
    return untrusted(
        "root",
        "the certificate chain ends at a root that you do not accept",
        format_pin(ark.spki_sha256),
        " or ".join(f"{root.name} {root.pin}" for root in roots.values()),
        "wasmkeep policy: roots",
        meaning="the evidence is from another machine than the simulator that the policy pins"
        if simulated
        else "no processor of AMD's stands behind this evidence; a simulator or a forger made it",
        advice="compare the pin that `wasmkeep host serve --simulated` prints" if simulated else "",
    )


def _wrong_owner(owner: bytes, owners: Set[bytes]) -> Finding:
    return refused(
        "owner",
        "the platform belongs to an owner that you do not accept",
        owner.hex(),
        " or ".join(sorted(digest.hex() for digest in owners)),
        "wasmkeep policy: sev.owners",
        meaning="anyone can sign for an OCA of their own; only its key's digest names an owner",
    )
