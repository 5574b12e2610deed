"""The claims of an attestation result in their two spellings, names in JSON and integers in CBOR, and what
must hold of them (draft-ietf-rats-ear-04, CDDL; AR4SI).

Claims that the draft gives no integer (``ear_attester_claims``, ``ear_verifier_claims``, ours below them)
keep their names in CBOR. The four tiers are names in JSON and numbers in CBOR; a nonce is base64url or bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TypeAlias

from wasmkeep.evidence.cbor import Item
from wasmkeep.evidence.ear import EAR_PROFILE, TIERS, VECTOR
from wasmkeep.evidence.errors import Finding, Kind, Rejected

__all__ = ["Claims", "check", "from_cbor", "malformed", "nonce_text", "status", "to_cbor"]

Claims: TypeAlias = dict[str, object]

_TOP = {
    "eat_profile": 265,
    "iat": 6,
    "exp": 4,
    "eat_nonce": 10,
    "ear_verifier_id": 1004,
    "submods": 266,
}
_APPRAISAL = {
    "eat_profile": 265,
    "ear_status": 1000,
    "ear_trustworthiness_vector": 1001,
    "ear_appraisal_policy_ids": 1003,
}
_VERIFIER = {"developer": 0, "build": 1}
_VECTOR = {name: number for number, name in enumerate(VECTOR)}
_TIER_NAMES = {value: name for name, value in TIERS.items()}
_LABELS_MAX, _NONCE_SIZES = 16, range(8, 65)


def to_cbor(claims: Mapping[str, object]) -> dict[Item, Item]:
    """Claims with JSON names, as the map that `cbor.encode` takes."""
    top = _renamed(claims, _TOP)
    if "eat_nonce" in claims:
        top[_TOP["eat_nonce"]] = _nonce_bytes(claims["eat_nonce"])
    top[_TOP["ear_verifier_id"]] = _renamed(_map(claims, "ear_verifier_id"), _VERIFIER)
    submods: dict[Item, Item] = {}
    for label, appraisal in _map(claims, "submods").items():
        if not isinstance(appraisal, dict):
            raise malformed(f"the appraisal {label!r} is no map", type(appraisal).__name__)
        one = _renamed(appraisal, _APPRAISAL)
        one[_APPRAISAL["ear_status"]] = TIERS.get(str(appraisal.get("ear_status")))
        vector = _renamed(_map(appraisal, "ear_trustworthiness_vector"), _VECTOR)
        one[_APPRAISAL["ear_trustworthiness_vector"]] = vector
        submods[label] = one
    top[_TOP["submods"]] = submods
    return top


def from_cbor(item: Item) -> Claims:
    """Claims with JSON names. Raises `Rejected` ``ear.malformed`` where the shape is another. Integers that
    have no name here are left out, as a reader must ignore claims that it does not know."""
    claims = _named(item, _TOP)
    if "eat_nonce" in claims:
        nonce = claims["eat_nonce"]
        claims["eat_nonce"] = nonce_text(nonce) if isinstance(nonce, bytes) else nonce
    claims["ear_verifier_id"] = _named(claims.get("ear_verifier_id"), _VERIFIER)
    submods: Claims = {}
    for label, appraisal in _named(claims.get("submods"), {}).items():
        one = _named(appraisal, _APPRAISAL)
        tier = one.get("ear_status")
        one["ear_status"] = _TIER_NAMES.get(tier, tier) if isinstance(tier, int) else tier
        one["ear_trustworthiness_vector"] = _named(one.get("ear_trustworthiness_vector"), _VECTOR)
        submods[label] = one
    claims["submods"] = submods
    return claims


def check(claims: Claims) -> None:
    """That these are an attestation result's, of this profile. Raises `Rejected` ``ear.profile`` or
    ``ear.malformed``."""
    profile = claims.get("eat_profile")
    if profile != EAR_PROFILE:
        raise Rejected(
            Finding(
                "ear.profile",
                Kind.UNSUPPORTED,
                "the token is of another profile",
                str(profile)[:80],
                EAR_PROFILE,
                _SECTION,
                advice="ask the verifier for a result of this profile",
            )
        )
    for name in ("iat", "exp"):
        value = claims.get(name)
        if not _is_integer(value) and (name == "iat" or value is not None):
            raise malformed(f"{name} is no integer", type(value).__name__)
    verifier = _map(claims, "ear_verifier_id")
    if set(verifier) != set(_VERIFIER) or not all(isinstance(value, str) for value in verifier.values()):
        raise malformed("the verifier is not identified", ", ".join(sorted(map(str, verifier)))[:80])
    submods = _map(claims, "submods")
    if not 1 <= len(submods) <= _LABELS_MAX:
        raise malformed("a wrong number of appraisals", str(len(submods)))
    for label, appraisal in submods.items():
        if not isinstance(appraisal, dict):
            raise malformed(f"the appraisal {str(label)[:40]!r} is no map", type(appraisal).__name__)
        _check_appraisal(appraisal)


def status(claims: Mapping[str, object]) -> str:
    """The worst status of the appraisals, of claims that `check` accepted."""
    found = [str(one["ear_status"]) for one in _map(claims, "submods").values() if isinstance(one, dict)]
    return max(found, key=lambda name: TIERS[name] or TIERS["warning"])


def nonce_text(nonce: bytes) -> str:
    """A nonce of 8 to 64 bytes in base64url without padding; ``ValueError`` for another size."""
    if len(nonce) not in _NONCE_SIZES:
        raise ValueError("a nonce has 8 to 64 bytes")
    return base64.urlsafe_b64encode(nonce).rstrip(b"=").decode("ascii")


def malformed(message: str, found: str) -> Rejected:
    """The refusal ``ear.malformed``."""
    required, advice = "an attestation result (EAR)", "get the token again from who issued it"
    return Rejected(
        Finding("ear.malformed", Kind.MALFORMED, message, found, required, _SECTION, advice=advice)
    )


_SECTION = "draft-ietf-rats-ear-04, 3"


def _check_appraisal(appraisal: Claims) -> None:
    tier = appraisal.get("ear_status")
    vector = _map(appraisal, "ear_trustworthiness_vector")
    if not isinstance(tier, str) or tier not in TIERS:
        raise malformed("an unknown status", str(tier)[:40])
    worst = 0
    for name, value in vector.items():
        if name not in _VECTOR or not isinstance(value, int) or isinstance(value, bool):
            raise malformed("an unknown trustworthiness claim", f"{name}: {value}"[:80])
        if not -128 <= value <= 127:
            raise malformed("a trustworthiness claim out of range", f"{name}: {value}"[:80])
        worst = max(worst, _tier(value))
    if TIERS[tier] < worst and tier != "none":
        raise malformed("the status is better than its worst claim", f"{tier}, worst claim {worst}")


def _tier(value: int) -> int:
    """The tier of a claim; negative values are a verifier's own, mirrored (AR4SI, 2.3.2)."""
    return max(least for least in TIERS.values() if (value if value >= 0 else ~value) >= least)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _map(claims: Mapping[str, object], name: str) -> Claims:
    value = claims.get(name)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise malformed(f"{name} is no map", type(value).__name__)
    return value


def _renamed(claims: Mapping[str, object], numbers: Mapping[str, int]) -> dict[Item, Item]:
    return {numbers.get(name, name): _item(value) for name, value in claims.items()}


def _named(item: object, numbers: Mapping[str, int]) -> Claims:
    if not isinstance(item, dict):
        raise malformed("not a map", type(item).__name__)
    names = {number: name for name, number in numbers.items()}
    claims: Claims = {}
    for key, value in item.items():
        name = key if isinstance(key, str) else names.get(key)
        if name is not None:
            if name in claims:
                raise malformed("a claim twice", name[:80])
            claims[name] = value
    return claims


def _item(value: object) -> Item:
    """A JSON value as one of CBOR's; ``TypeError`` for what has no place in a token."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return [_item(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _item(one) for key, one in value.items()}
    raise TypeError(f"{type(value).__name__} has no place in a claim")


def _nonce_bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise malformed("the nonce is no text", type(text).__name__)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
