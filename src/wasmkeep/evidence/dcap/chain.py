"""Whose certificates these are: names, the pinned root, dates, and revocation by issuer and serial number.

Signatures below the root are checked by `wasmkeep.evidence.dcap.qvl`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from wasmkeep.evidence.dcap.certificates import Certificate, is_issued_by, load_chain
from wasmkeep.evidence.dcap.collateral import ParsedCollateral
from wasmkeep.evidence.dcap.findings import malformed, untrusted
from wasmkeep.evidence.errors import Finding
from wasmkeep.evidence.roots import Root, format_pin

__all__ = [
    "dates",
    "lists_issued",
    "load_pck_chain",
    "names",
    "revocation",
    "rollback",
    "root_of",
    "roots",
]

_PROFILE = "Intel SGX PCK certificate and CRL profile"
_CRL = "RFC 5280, 5 and 6.3"
_DATES = "RFC 5280, 4.1.2.5 and 5.1.2; Intel PCS API v4, issueDate and nextUpdate"
_PCK, _TCB, _ROOT = "Intel SGX PCK Certificate", "Intel SGX TCB Signing", "Intel SGX Root CA"
_AUTHORITIES = ("Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA")
_FETCH = "fetch the collateral again from Intel's certification service"


def load_pck_chain(pem: bytes) -> tuple[Certificate, Certificate, Certificate]:
    """PCK certificate, its authority and the root, out of a quote. One NUL may end the text. Raises
    `Rejected`: ``dcap.certificates.malformed``, ``dcap.certificates.count``."""
    try:
        text = pem.removesuffix(b"\0").decode("ascii")
    except UnicodeDecodeError as error:
        message = "the PCK's certificate cannot be read"
        raise malformed("dcap.certificates.malformed", message, "not ASCII", "PEM", _PROFILE) from error
    pck, authority, root = load_chain(text, "PCK", "PCK authority", "Intel root")
    return pck, authority, root


def root_of(root: Certificate, accepted: Mapping[bytes, Root]) -> Root | None:
    """The pinned root that a certificate is of: the key's digest counts, and its own signature."""
    pinned = accepted.get(root.spki_sha256)
    return pinned if pinned is not None and is_issued_by(root, root) else None


def roots(
    chain: tuple[Certificate, ...],
    collateral: ParsedCollateral | None,
    accepted: Mapping[bytes, Root],
    pinned: Root | None,
) -> Iterator[Finding]:
    """``pinned`` is the PCK chain's root, by `root_of`. Finding ``dcap.root`` where a chain ends at another
    key, and ``dcap.chain`` where the authority beside the list of revoked PCK certificates is not the one of
    the PCK certificate."""
    root = chain[-1]
    others = (collateral.tcb_chain, collateral.qe_chain, collateral.list_chain) if collateral else ()
    strange = [
        other[-1] for other in others if other[-1].der != root.der and root_of(other[-1], accepted) is None
    ]
    if pinned is None:
        strange.insert(0, root)
    if strange:
        simulated = any(entry.simulated for entry in accepted.values())
        yield untrusted(
            "dcap.root",
            "the certificate chain ends at a root that you do not accept",
            format_pin(strange[0].spki_sha256),
            " or ".join(f"{entry.name} {entry.pin}" for entry in accepted.values()),
            "wasmkeep policy: roots",
            meaning="the evidence is from another machine than the simulator that the policy pins"
            if simulated
            else "no processor of Intel's stands behind this evidence; a simulator or a forger made it",
        )
    if collateral is None:
        return
    authority, beside = chain[1], collateral.list_chain[0]
    if beside.der != authority.der and not (
        beside.spki_sha256 == authority.spki_sha256 and is_issued_by(beside, root)
    ):
        yield untrusted(
            "dcap.chain",
            "the list of revoked PCK certificates comes with another authority's certificate",
            beside.common_name or "no name",
            authority.common_name or "no name",
            _PROFILE,
            advice=_FETCH,
        )


def names(chain: tuple[Certificate, ...], collateral: ParsedCollateral | None) -> Iterator[Finding]:
    """Finding ``dcap.chain.profile``: each certificate is of the kind that its place asks for. A key that
    signs platforms' certificates must not sign TCB infos, nor the other way round."""
    expected = [(chain[0], (_PCK,)), (chain[1], _AUTHORITIES), (chain[2], (_ROOT,))]
    if collateral is not None:
        for signer, root in (collateral.tcb_chain, collateral.qe_chain):
            expected += [(signer, (_TCB,)), (root, (_ROOT,))]
        authority, root = collateral.list_chain
        expected += [(authority, _AUTHORITIES), (root, (_ROOT,))]
    for certificate, required in dict(expected).items():
        name = certificate.common_name
        is_authority = required not in ((_PCK,), (_TCB,))
        by_root = required == (_PCK,) or certificate.issuer == chain[2].subject
        if name not in required or certificate.is_authority is not is_authority or not by_root:
            message = f"the {certificate.label}'s certificate is of another kind"
            found = f"{name or 'no name'}, of {certificate.issuer.rfc4514_string()[:80]}"
            yield untrusted("dcap.chain.profile", message, found, " or ".join(required), _PROFILE)


def dates(
    chain: tuple[Certificate, ...], collateral: ParsedCollateral | None, at: datetime
) -> tuple[list[Finding], datetime | None]:
    """Findings ``dcap.chain.expired``, ``dcap.chain.not-yet-valid``, ``dcap.collateral.expired`` and
    ``dcap.collateral.not-yet-valid``; and a moment at which everything is in date: ``at`` if it is one, None
    if there is none. At that moment signatures can be checked even where ``at`` is too late."""
    certificates = {certificate.der: certificate for certificate in chain}
    material: tuple[tuple[str, datetime, datetime], ...] = ()
    if collateral is not None:
        for several in (collateral.tcb_chain, collateral.qe_chain, collateral.list_chain):
            certificates.update((certificate.der, certificate) for certificate in several)
        material = collateral.dated
    dated = {
        (f"{entry.label}'s certificate", entry.not_before, entry.not_after) for entry in certificates.values()
    }
    findings = [
        *_out_of_date(sorted(dated), at, "dcap.chain.expired", "dcap.chain.not-yet-valid"),
        *_out_of_date(material, at, "dcap.collateral.expired", "dcap.collateral.not-yet-valid"),
    ]
    first = max(entry[1] for entry in (*dated, *material))
    last = min(entry[2] for entry in (*dated, *material))
    moment = at if first <= at <= last else first if first <= last else None
    return findings, moment


def _out_of_date(
    dated: Iterable[tuple[str, datetime, datetime]], at: datetime, expired: str, early: str
) -> Iterator[Finding]:
    for name, first, last in dated:
        if not first <= at <= last:
            yield untrusted(
                expired if at > last else early,
                f"the {name} is {'out of date' if at > last else 'not valid yet'} at that time",
                f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S}",
                f"{at:%Y-%m-%d %H:%M:%S} UTC in between",
                _DATES,
                advice=f"check the clock; {_FETCH}",
            )


def lists_issued(
    chain: tuple[Certificate, ...], collateral: ParsedCollateral
) -> tuple[tuple[str, datetime], ...]:
    """When the two lists were issued, by the pin of the key that signs each."""
    lists = ((chain[1], collateral.pck_list), (chain[2], collateral.root_list))
    return tuple((format_pin(issuer.spki_sha256), crl.issued) for issuer, crl in lists)


def rollback(
    chain: tuple[Certificate, ...], collateral: ParsedCollateral, not_older_than: Mapping[str, datetime]
) -> Iterator[Finding]:
    """Finding ``dcap.crl.rollback``: a list is older than the newest that this tenant has seen."""
    for pin, issued in lists_issued(chain, collateral):
        newest = not_older_than.get(pin)
        if newest is not None and issued < newest:
            yield untrusted(
                "dcap.crl.rollback",
                "a revocation list is older than one already seen",
                f"issued {issued:%Y-%m-%d %H:%M:%S}",
                f"≥ {newest:%Y-%m-%d %H:%M:%S}",
                _CRL,
                meaning="an older list hides what was revoked since",
                advice=_FETCH,
            )


def revocation(chain: tuple[Certificate, ...], collateral: ParsedCollateral) -> Iterator[Finding]:
    """Findings ``dcap.crl.issuer`` and ``dcap.revoked``; a list speaks only for what its issuer issued."""
    lists = ((collateral.pck_list, chain[0].issuer), (collateral.root_list, chain[2].subject))
    for crl, issuer in lists:
        if crl.issuer != issuer:
            yield untrusted(
                "dcap.crl.issuer",
                f"the {crl.label} is another issuer's",
                crl.issuer.rfc4514_string()[:80],
                issuer.rfc4514_string()[:80],
                _CRL,
            )
    certificates = {
        (certificate.issuer, certificate.serial): certificate
        for several in (chain, collateral.tcb_chain, collateral.qe_chain, collateral.list_chain)
        for certificate in several
    }
    for certificate in certificates.values():
        for crl, _ in lists:
            if certificate.issuer == crl.issuer and certificate.serial in crl.serials:
                yield untrusted(
                    "dcap.revoked",
                    f"the {certificate.label}'s certificate was revoked",
                    f"serial {certificate.serial:x} on the {crl.label} of {crl.issued:%Y-%m-%d}",
                    "not on the list",
                    _CRL,
                    meaning="Intel no longer vouches for this platform's key",
                )
