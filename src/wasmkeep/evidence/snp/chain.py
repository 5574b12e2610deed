"""From an endorsement key to a pinned root: who vouches for a platform's signing key, at a given moment.

Each step returns a frozen value that only it makes, and the next step asks for it by type:

1. `authenticate_authority`: the ARK's key is a pinned root (by SPKI digest, whatever its names say) and
   signed itself; the ARK signed the ASK (or ASVK), and names chain. → `AuthenticAuthority`
2. `authenticate_key`: that ASK signed the VCEK (an ASVK the VLEK), and names chain. → `AuthenticKey`
3. `dates`: all three certificates are valid at the moment asked about.
4. `revocation`: the list is the ARK's, signed by it, in date, not too old and not older than the newest one
   seen; it does not name a certificate that the ARK issued (issuer and serial). → `Revocation`

Steps 1 and 2 raise: without them nothing else can be said. Steps 3 and 4 return findings, to be reported
together with others. The chain is checked by hand: VCEKs lack what general path validators require.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.roots import Root, format_pin
from wasmkeep.evidence.snp.certificates import (
    PSS_SALT_SIZE,
    Authority,
    Endorsement,
    RevocationList,
    Signed,
    load_crl,
)
from wasmkeep.evidence.snp.revocation import Revocation, RevocationStatus

if TYPE_CHECKING:
    from wasmkeep.evidence.policy import RevocationPolicy

__all__ = [
    "AuthenticAuthority",
    "AuthenticKey",
    "authentic_list",
    "authenticate_authority",
    "authenticate_key",
    "dates",
    "revocation",
]

_SECTION = "AMD 57230, certificate chain"
_CRL_SECTION = "RFC 5280, 5; AMD 57230, CRL"
_VLEK_AUTHORITY = "SEV-VLEK-"
_FETCH = "`wasmkeep endorsements fetch` gets a current one"


@dataclass(frozen=True, slots=True)
class AuthenticAuthority:
    """An ASK (or ASVK) whose chain ends at an accepted root. Made by `authenticate_authority` only."""

    root: Root
    ark: Authority
    ask: Authority

    @property
    def issues_vleks(self) -> bool:
        """The intermediate is an ASVK: it vouches for a cloud's loaded keys, not for chips."""
        return self.ask.common_name.startswith(_VLEK_AUTHORITY)


@dataclass(frozen=True, eq=False)
class AuthenticKey:
    """An endorsement key with its chain. Made by `authenticate_key` only; equal to nothing but itself."""

    authority: AuthenticAuthority
    certificate: Endorsement

    @cached_property
    def valid(self) -> tuple[datetime, datetime]:
        """From when until when all three certificates are."""
        whole = (self.certificate, self.authority.ask, self.authority.ark)
        return max(one.not_before for one in whole), min(one.not_after for one in whole)


def authenticate_authority(
    ark: Authority, ask: Authority, accepted: Mapping[bytes, Root]
) -> AuthenticAuthority:
    """Step 1. ``accepted`` maps SPKI digests to roots. Raises `Rejected`: ``snp.root``, ``snp.chain.ark``,
    ``snp.chain.ask``."""
    root = accepted.get(ark.spki_sha256)
    if root is None:
        raise Rejected(_wrong_root(ark, accepted))
    _require_issued(ark, ark, "ark")
    _require_issued(ask, ark, "ask")
    return AuthenticAuthority(root, ark, ask)


def authenticate_key(certificate: Endorsement, authority: AuthenticAuthority) -> AuthenticKey:
    """Step 2. Raises `Rejected` ``snp.chain.key``."""
    _require_issued(certificate, authority.ask, "key")
    return AuthenticKey(authority, certificate)


def dates(certificates: tuple[Signed, ...], at: datetime) -> tuple[Finding, ...]:
    """Step 3. Findings ``snp.chain.expired`` and ``snp.chain.not-yet-valid``."""
    findings: list[Finding] = []
    for certificate in certificates:
        if not certificate.not_before <= at <= certificate.not_after:
            late = at > certificate.not_after
            findings.append(
                Finding(
                    "snp.chain.expired" if late else "snp.chain.not-yet-valid",
                    Kind.UNTRUSTED,
                    f"the {certificate.label}'s certificate is not valid at that time",
                    found=f"{certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}",
                    required=f"{at:%Y-%m-%d %H:%M:%S} UTC in between",
                    section="RFC 5280, 4.1.2.5",
                    advice="check the clock; fetch the certificates again",
                )
            )
    return tuple(findings)


def authentic_list(crl: bytes, authority: AuthenticAuthority) -> RevocationList:
    """Step 4, first half: the list, which the root signed. Raises `Rejected`: ``snp.crl.malformed``,
    ``algorithm``, ``issuer``, ``signature``."""
    parsed = load_crl(crl)
    _require_authentic(parsed, authority)
    return parsed


def revocation(
    authority: AuthenticAuthority,
    crl: Callable[[], RevocationList] | None,
    rules: RevocationPolicy,
    at: datetime,
    *,
    not_older_than: Mapping[str, datetime],
    retrieved: datetime | None = None,
) -> tuple[Revocation, tuple[Finding, ...]]:
    """Step 4. ``crl`` gives the authentic list, None where none came; the policy's maximum age counts from
    when it was ``retrieved``, or from its issue where that is None. ``not_older_than``: the newest issue date
    this tenant has seen, by root pin (``sha256:…``); a root it lacks has none seen.

    Findings ``snp.crl.…``: ``missing``, those of `authentic_list`, ``not-yet-valid``, ``expired``,
    ``too-old``, ``rollback``, ``revoked``."""
    if crl is None:
        return Revocation(RevocationStatus.ABSENT), (_missing(authority.root),) if rules.required else ()
    try:
        parsed = crl()
    except Rejected as rejected:
        return Revocation(RevocationStatus.ABSENT), rejected.findings
    findings = _revoked(parsed, authority)
    rollback = _rollback(parsed, authority.root, not_older_than) if not_older_than else None
    if rollback is not None:
        findings.append(rollback)
    stale = _stale(parsed, rules.max_age, retrieved, at)
    if stale is not None and (rules.required or rules.in_date):
        findings.append(stale)
    return parsed.fresh if stale is None else parsed.stale, tuple(findings)


def _missing(root: Root) -> Finding:
    message = f"no revocation list for {root.name}"
    return _crl("missing", message, "none", "a list in date", advice=_FETCH)


def _require_authentic(crl: RevocationList, authority: AuthenticAuthority) -> None:
    if crl.issuer != authority.ark.subject:
        raise Rejected(
            _crl("issuer", "the revocation list is another issuer's", "another name", authority.root.name)
        )
    if not _signed_by(authority.ark.key, crl.signature, crl.signed_part):
        raise Rejected(
            _crl("signature", "the root did not sign the revocation list", "", authority.root.name)
        )


def _revoked(crl: RevocationList, authority: AuthenticAuthority) -> list[Finding]:
    """Only what the list's issuer issued: every VCEK has serial 0, and the ASK issued those."""
    return [
        _crl(
            "revoked",
            f"the {certificate.label} was revoked",
            f"serial {certificate.serial:#x} on the list of {crl.issued:%Y-%m-%d}",
            "not on the list",
            advice="the host serves an old chain: fetch it again from AMD's key distribution service",
        )
        for certificate in (authority.ask, authority.ark)
        if certificate.serial in crl.serials and certificate.issuer == crl.issuer
    ]


def _rollback(crl: RevocationList, root: Root, not_older_than: Mapping[str, datetime]) -> Finding | None:
    newest = not_older_than.get(root.pin)
    if newest is None or crl.issued >= newest:
        return None
    message = "the revocation list is older than one already seen"
    return _crl("rollback", message, f"issued {crl.issued:%Y-%m-%d}", f"≥ {newest:%Y-%m-%d}", advice=_FETCH)


def _stale(
    crl: RevocationList, max_age: timedelta, retrieved: datetime | None, at: datetime
) -> Finding | None:
    if at < crl.issued:
        message = "the revocation list is from the future"
        return _crl("not-yet-valid", message, f"issued {crl.issued}", f"≤ {at}", advice="check the clock")
    if at > crl.next_update:
        message = "the revocation list is out of date, so nobody knows what was revoked since"
        return _crl("expired", message, f"until {crl.next_update}", f"≥ {at}", advice=_FETCH)
    age = at - (retrieved or crl.issued)
    if age > max_age:
        since = "issued" if retrieved is None else "retrieved"
        message = "the revocation list is older than the policy allows"
        found = f"{since} {age.days} days before"
        return _crl("too-old", message, found, f"≤ {max_age.days} days", advice=_FETCH)
    return None


def _require_issued(certificate: Signed, issuer: Authority, check: str) -> None:
    """The issuer's name and signature. Names alone prove nothing, but a wrong one is never right."""
    named = certificate.issuer == issuer.subject
    if not named or not _signed_by(issuer.key, certificate.signature, certificate.signed_part):
        raise Rejected(
            Finding(
                f"snp.chain.{check}",
                Kind.UNTRUSTED,
                f"the {certificate.label} was not issued by the {issuer.label} beside it",
                found="a signature that does not verify" if named else "another issuer's name",
                required=f"signed by the {issuer.label}",
                section=_SECTION,
                meaning="the certificates do not belong together, or one was forged",
            )
        )


def _signed_by(key: rsa.RSAPublicKey, signature: bytes, signed: bytes) -> bool:
    scheme = padding.PSS(padding.MGF1(hashes.SHA384()), PSS_SALT_SIZE)
    try:
        key.verify(signature, signed, scheme, hashes.SHA384())
    except InvalidSignature:
        return False
    return True


def _wrong_root(ark: Authority, accepted: Mapping[bytes, Root]) -> Finding:
    simulated = any(root.simulated for root in accepted.values())
    return Finding(
        "snp.root",
        Kind.UNTRUSTED,
        "the certificate chain ends at a root that you do not accept",
        found=format_pin(ark.spki_sha256),
        required=" or ".join(f"{root.name} {root.pin}" for root in accepted.values()),
        section="wasmkeep policy: roots",
        meaning="the evidence is from another machine than the simulator that the policy pins"
        if simulated
        else "no processor of AMD's stands behind this evidence; a simulator or a forger made it",
        advice="compare the pin that `wasmkeep host serve --simulated` prints" if simulated else "",
    )


def _crl(check: str, message: str, found: str, required: str, *, advice: str = "") -> Finding:
    return Finding(f"snp.crl.{check}", Kind.UNTRUSTED, message, found, required, _CRL_SECTION, advice=advice)
