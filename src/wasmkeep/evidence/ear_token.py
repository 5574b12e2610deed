"""A result as a signed token, and such a token verified again: EAR as JWT or CWT (draft-ietf-rats-ear-04).

The key is the user's (`ear_keys`) and decides the algorithm: a token that names another is refused. ``kid``
is SHA-256 of the public key (SubjectPublicKeyInfo, DER).

=====  ==================================================================================================
form   layout
=====  ==================================================================================================
JWT    compact JWS (RFC 7515), ASCII; header exactly ``alg``, ``kid`` (``sha256:<hex>``), ``typ``
       (``eat+jwt``)
CWT    COSE_Sign1 (RFC 9052) with tag 18, deterministic CBOR; protected header exactly 1 (alg), 4 (kid, 32
       bytes) and 16 (``application/eat+cwt``), unprotected empty, no external data
=====  ==================================================================================================
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

from wasmkeep.evidence import cbor, ear, ear_claims
from wasmkeep.evidence.ear_claims import Claims, malformed
from wasmkeep.evidence.ear_keys import (
    Algorithm,
    SigningKey,
    VerifyingKey,
    algorithm_of,
    key_id,
    sign,
    signed_by,
)
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.roots import format_pin

if TYPE_CHECKING:
    from wasmkeep.evidence.result import AttestationResult

__all__ = ["MAX_TOKEN_SIZE", "TokenForm", "VerifiedEar", "issue", "verify"]

MAX_TOKEN_SIZE = 64 * 1024
"""Bytes; ours have about 3,000."""

_TYPE_JWT, _TYPE_CWT = "eat+jwt", "application/eat+cwt"
_ALG, _KID, _TYP = 1, 4, 16
_TAG = b"\xd2"
_DOTS = 2


class TokenForm(StrEnum):
    """JSON Web Token or CBOR Web Token."""

    JWT = "jwt"
    CWT = "cwt"


@dataclass(frozen=True, slots=True)
class VerifiedEar:
    """A token whose signature is that of the key asked about. ``claims`` are with JSON names in both forms;
    ``status`` is the worst of its appraisals; ``key_id`` the key's pin (``sha256:…``)."""

    form: TokenForm
    claims: Claims
    status: str
    key_id: str
    issued: int
    expires: int | None


@dataclass(frozen=True, slots=True)
class _Token:
    """A token taken apart, nothing verified. ``kid`` is 32 bytes, or what stood there."""

    form: TokenForm
    algorithm: str | int
    kid: bytes
    signed: bytes
    signature: bytes
    payload: bytes


def issue(
    result: AttestationResult,
    key: SigningKey,
    *,
    issued: datetime,
    form: TokenForm = TokenForm.JWT,
    lifetime: timedelta | None = None,
    nonce: bytes | None = None,
) -> bytes:
    """The result's claims, signed. ``lifetime`` sets ``exp``; ``nonce`` (8 to 64 bytes) is what the relying
    party gave, and makes the token an answer to it. Raises `ConfigurationError` ``ear.key`` for a key of
    another kind; ``ValueError`` for a naive time or a nonce of another size."""
    if issued.tzinfo is None:
        raise ValueError("times of tokens are aware datetimes")
    claims = ear.claims(result, issued=issued)
    if lifetime is not None:
        claims["exp"] = int((issued + lifetime).timestamp())
    if nonce is not None:
        claims["eat_nonce"] = ear_claims.nonce_text(nonce)
    algorithm, kid = algorithm_of(key), key_id(key.public_key())
    return _jwt(claims, key, algorithm, kid) if form is TokenForm.JWT else _cwt(claims, key, algorithm, kid)


def verify(
    token: bytes,
    key: VerifyingKey,
    *,
    at: datetime,
    max_age: timedelta | None = None,
    nonce: bytes | None = None,
) -> VerifiedEar:
    """Check a token of either form against one key, at a moment.

    Raises `Rejected`: ``ear.malformed``; ``ear.algorithm`` (not the key's), ``ear.signer`` (it names
    another), ``ear.signature``; ``ear.profile``; ``ear.time`` (from the future, expired, or older than
    ``max_age``); ``ear.nonce`` (not the one asked for). It says nothing about whether the signer is right.
    """
    if at.tzinfo is None:
        raise ValueError("times of tokens are aware datetimes")
    if not 0 < len(token) <= MAX_TOKEN_SIZE:
        raise malformed("a token of a wrong size", f"{len(token)} bytes")
    parsed = _parse_cwt(token) if token.startswith(_TAG) else _parse_jwt(token)
    _require_signed(parsed, key)
    claims = _cbor_claims(parsed.payload) if parsed.form is TokenForm.CWT else _json_claims(parsed.payload)
    ear_claims.check(claims)
    issued, expires = _require_time(claims, at, max_age)
    if nonce is not None and claims.get("eat_nonce") != ear_claims.nonce_text(nonce):
        found = str(claims.get("eat_nonce", "none"))[:90]
        _refuse("ear.nonce", "the token does not answer the nonce", found, ear_claims.nonce_text(nonce))
    return VerifiedEar(
        parsed.form, claims, ear_claims.status(claims), format_pin(parsed.kid), issued, expires
    )


def _jwt(claims: Claims, key: SigningKey, algorithm: Algorithm, kid: bytes) -> bytes:
    header = {"alg": algorithm.jose, "kid": format_pin(kid), "typ": _TYPE_JWT}
    signed = b".".join(_base64url(_json(part)) for part in (header, claims))
    return signed + b"." + _base64url(sign(key, signed))


def _cwt(claims: Claims, key: SigningKey, algorithm: Algorithm, kid: bytes) -> bytes:
    protected = cbor.encode({_ALG: algorithm.cose, _KID: kid, _TYP: _TYPE_CWT})
    payload = cbor.encode(ear_claims.to_cbor(claims))
    signature = sign(key, _to_be_signed(protected, payload))
    return _TAG + cbor.encode([protected, {}, payload, signature])


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """Sig_structure (RFC 9052, 4.4)."""
    return cbor.encode(["Signature1", protected, b"", payload])


def _parse_jwt(token: bytes) -> _Token:
    token = token.strip()  # the line end of a text file
    if token.count(b".") != _DOTS:
        raise malformed("neither a JWT nor a CWT", f"{len(token)} bytes")
    header, payload, signature = (_from_base64url(part) for part in token.split(b"."))
    fields = _json_claims(header)
    if set(fields) != {"alg", "kid", "typ"} or fields["typ"] != _TYPE_JWT:
        raise malformed("a header of another form", ", ".join(sorted(fields))[:80])
    kid = str(fields["kid"])
    digits = kid.removeprefix("sha256:")
    named = bytes.fromhex(digits) if len(digits) == 64 and set(digits) <= set("0123456789abcdef") else b""
    signed = token.rpartition(b".")[0]
    return _Token(TokenForm.JWT, str(fields["alg"]), named, signed, signature, payload)


def _parse_cwt(token: bytes) -> _Token:
    message = _cbor(token[len(_TAG) :])
    if not isinstance(message, list) or len(message) != 4:
        raise malformed("not a COSE_Sign1", type(message).__name__)
    protected, unprotected, payload, signature = message
    if not isinstance(protected, bytes) or not isinstance(payload, bytes) or not isinstance(signature, bytes):
        raise malformed("a COSE_Sign1 of other types", "")
    header = _cbor(protected)
    if not isinstance(header, dict) or set(header) != {_ALG, _KID, _TYP} or unprotected != {}:
        raise malformed("headers of another form", "")
    algorithm, kid = header[_ALG], header[_KID]
    if not isinstance(algorithm, int) or not isinstance(kid, bytes) or header[_TYP] != _TYPE_CWT:
        raise malformed("headers of other types", "")
    return _Token(TokenForm.CWT, algorithm, kid, _to_be_signed(protected, payload), signature, payload)


def _require_signed(token: _Token, key: VerifyingKey) -> None:
    algorithm = algorithm_of(key)
    required = algorithm.jose if token.form is TokenForm.JWT else algorithm.cose
    if token.algorithm != required or isinstance(token.algorithm, bool):
        found = str(token.algorithm)[:40]
        _refuse("ear.algorithm", "the token names another algorithm than the key's", found, str(required))
    own = key_id(key)
    if token.kid != own:
        found = token.kid.hex()[:64] or "none"
        _refuse("ear.signer", "the token was signed with another key", found, own.hex())
    if not signed_by(key, token.signature, token.signed):
        _refuse("ear.signature", "the signature does not verify", "", f"{algorithm.jose} by that key")


def _require_time(claims: Claims, at: datetime, max_age: timedelta | None) -> tuple[int, int | None]:
    now, issued, expires = int(at.timestamp()), claims["iat"], claims.get("exp")
    if not isinstance(issued, int) or not isinstance(expires, int | None):
        raise malformed("times that are no integers", "")
    if issued > now:
        _refuse("ear.time", "the token is from the future", f"issued at {issued}", f"≤ {now}")
    if expires is not None and now >= expires:
        _refuse("ear.time", "the token has expired", f"until {expires}", f"> {now}")
    if max_age is not None and now - issued > max_age.total_seconds():
        _refuse(
            "ear.time", "the token is too old", f"{now - issued} s", f"≤ {int(max_age.total_seconds())} s"
        )
    return issued, expires


def _cbor(data: bytes) -> cbor.Item:
    try:
        return cbor.decode(data)
    except cbor.NotCbor as error:
        raise malformed("not CBOR in its deterministic encoding", str(error)) from error


def _cbor_claims(payload: bytes) -> Claims:
    return ear_claims.from_cbor(_cbor(payload))


def _json_claims(payload: bytes) -> Claims:
    """A JSON object without floating point numbers and repeated members (RFC 9711, 4.3.1)."""
    try:
        found = json.loads(
            payload, object_pairs_hook=_once, parse_float=_no_number, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        raise malformed("not JSON as tokens have it", str(error)[:80]) from error
    if not isinstance(found, dict):
        raise malformed("not a JSON object", type(found).__name__)
    return found


def _once(pairs: list[tuple[str, object]]) -> Claims:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member twice")
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"the number {text[:20]}")


def _json(claims: object) -> bytes:
    return json.dumps(claims, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _from_base64url(part: bytes) -> bytes:
    try:
        data = base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise malformed("not base64url", "") from error
    if _base64url(data) != part:
        raise malformed("another encoding of base64url", "")
    return data


_OF_THE_KEY = ("ear.algorithm", "ear.signer", "ear.signature")
_ADVICE = {
    "ear.time": "ask for a new result; check the clock",
    "ear.nonce": "ask for a result that answers this nonce",
}


def _refuse(check: str, message: str, found: str, required: str) -> NoReturn:
    of_the_key = check in _OF_THE_KEY
    section = "RFC 8725, 3" if of_the_key else "draft-ietf-rats-ear-04, 3"
    meaning = "nobody vouches for it: it was altered, or another signed it" if of_the_key else ""
    advice = _ADVICE.get(check, "ask the verifier for the result again, and for its public key")
    raise Rejected(Finding(check, Kind.UNTRUSTED, message, found, required, section, meaning, advice))
