"""Attestation results as signed tokens: JWT and CWT, with each kind of key, and all that is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from pycose.keys.ec2 import EC2Key
from pycose.keys.okp import OKPKey
from pycose.messages.sign1message import Sign1Message

from tests.evidence.forge import AT, Forge
from tests.evidence.soak import SETTINGS
from tests.evidence.test_verification import judge
from wasmkeep.errors import ConfigurationError
from wasmkeep.evidence import AttestationResult, Rejected, cbor, ear_claims, ear_keys
from wasmkeep.evidence.ear import TIERS
from wasmkeep.evidence.ear_keys import SigningKey
from wasmkeep.evidence.ear_token import MAX_TOKEN_SIZE, TokenForm, issue, verify

KEYS: dict[str, SigningKey] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
COSE = {"ES256": -7, "ES384": -35, "EdDSA": -8}
KEY = KEYS["ES256"]
LATER = AT + timedelta(minutes=5)
Json = dict[str, Any]  # Any: JSON


@pytest.fixture(scope="module")
def result(forge: Forge) -> AttestationResult:
    return judge(forge.evidence(), forge.policy())


@pytest.mark.parametrize("form", TokenForm)
@pytest.mark.parametrize("name", KEYS)
def test_issued_and_verified_again(result: AttestationResult, name: str, form: TokenForm) -> None:
    key = KEYS[name]
    token = issue(result, key, issued=LATER, form=form)
    found = verify(token, key.public_key(), at=LATER)
    expected = json.loads(json.dumps(result.claims())) | {"iat": int(LATER.timestamp())}
    assert found.claims == expected
    assert (found.form, found.status, found.expires) == (form, "contraindicated", None)
    assert found.issued == int(LATER.timestamp())
    assert found.claims["submods"]["snp"]["ear_verifier_claims"]["wasmkeep_judged_at"] == AT.timestamp()  # type: ignore[index]  # JSON
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert found.key_id == "sha256:" + _sha256(spki)


def _sha256(data: bytes) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize().hex()


@pytest.mark.parametrize("name", KEYS)
def test_another_implementation_verifies_a_cwt(result: AttestationResult, name: str) -> None:
    """pycose knows nothing of ours: header, Sig_structure and signature are COSE's."""
    key = KEYS[name]
    tagged = cbor2.loads(issue(result, key, issued=LATER, form=TokenForm.CWT))
    assert tagged.tag == 18
    protected, unprotected, payload, signature = tagged.value
    message = Sign1Message.from_cose_obj([protected, dict(unprotected), payload, signature], True)
    public = key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        message.key = OKPKey(crv="ED25519", x=public.public_bytes_raw())
    else:
        size, numbers = public.key_size // 8, public.public_numbers()
        message.key = EC2Key(
            crv=f"P_{public.key_size}", x=numbers.x.to_bytes(size, "big"), y=numbers.y.to_bytes(size, "big")
        )
    assert message.verify_signature()
    claims = cbor2.loads(message.payload or b"")
    assert claims[265] == "tag:ietf.org,2026:rats/ear#04"
    assert claims[6] == int(LATER.timestamp())
    assert claims[1004] == {0: "wasmkeep", 1: result.verifier}
    appraisal = claims[266]["snp"]
    assert appraisal[1000] == 96
    assert appraisal[1001][4] == 96, "hardware"
    assert appraisal[1003] == [result.policy_id]
    assert appraisal["ear_verifier_claims"]["wasmkeep_evidence_digest"].startswith("sha256:")


@pytest.mark.parametrize("name", ["ES256", "ES384"])
def test_a_jwt_is_a_jws(result: AttestationResult, name: str) -> None:
    key = KEYS[name]
    token = issue(result, key, issued=LATER)
    header, payload, signature = (_decoded(part) for part in token.split(b"."))
    assert json.loads(header).keys() == {"alg", "kid", "typ"}
    assert (json.loads(header)["alg"], json.loads(header)["typ"]) == (name, "eat+jwt")
    assert json.loads(payload)["eat_profile"] == "tag:ietf.org,2026:rats/ear#04"
    half = len(signature) // 2
    der = utils.encode_dss_signature(
        int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    )
    digest = hashes.SHA256() if name == "ES256" else hashes.SHA384()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    key.public_key().verify(der, token.rpartition(b".")[0], ec.ECDSA(digest))


def _decoded(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _jwt(header: object, claims: object, key: SigningKey = KEY) -> bytes:
    signed = b".".join(
        _encoded(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, claims)
    )
    return signed + b"." + _encoded(ear_keys.sign(key, signed))


def _header(**changes: object) -> Json:
    pin = "sha256:" + ear_keys.key_id(KEY.public_key()).hex()
    return {"alg": "ES256", "kid": pin, "typ": "eat+jwt"} | changes


def refused(token: bytes, **arguments: Any) -> str:  # Any: named arguments
    with pytest.raises(Rejected) as caught:
        verify(token, KEY.public_key(), **({"at": LATER} | arguments))
    assert caught.value.findings[0].section
    return caught.value.check


@pytest.mark.parametrize("form", TokenForm)
def test_times_and_nonces(result: AttestationResult, form: TokenForm) -> None:
    nonce = bytes(range(32))
    token = issue(result, KEY, issued=LATER, form=form, lifetime=timedelta(hours=1), nonce=nonce)
    public = KEY.public_key()
    found = verify(token, public, at=LATER, max_age=timedelta(0), nonce=nonce)
    assert found.expires == int(LATER.timestamp()) + 3600
    assert refused(token, at=LATER - timedelta(seconds=1)) == "ear.time"
    assert refused(token, at=LATER + timedelta(hours=1)) == "ear.time"
    assert refused(token, at=LATER + timedelta(minutes=2), max_age=timedelta(minutes=1)) == "ear.time"
    assert refused(token, nonce=bytes(32)) == "ear.nonce"
    assert refused(issue(result, KEY, issued=LATER, form=form), nonce=nonce) == "ear.nonce"
    for size in (7, 65):
        with pytest.raises(ValueError, match="8 to 64"):
            issue(result, KEY, issued=LATER, form=form, nonce=bytes(size))
    with pytest.raises(ValueError, match="aware"):
        issue(result, KEY, issued=LATER.replace(tzinfo=None))
    with pytest.raises(ValueError, match="aware"):
        verify(token, public, at=LATER.replace(tzinfo=None))


@pytest.mark.parametrize("form", TokenForm)
def test_another_key(result: AttestationResult, form: TokenForm) -> None:
    token = issue(result, KEYS["ES384"], issued=LATER, form=form)
    assert refused(token) == "ear.algorithm"
    token = issue(result, ec.generate_private_key(ec.SECP256R1()), issued=LATER, form=form)
    assert refused(token) == "ear.signer"


def test_algorithms_that_a_token_asks_for(result: AttestationResult) -> None:
    """The key decides. "none", and a public key taken as a secret for HMAC, are the classics."""
    claims = result.claims()
    for algorithm in ("none", "HS256", "ES384", "RS256", "", None, 7):
        assert refused(_jwt(_header(alg=algorithm), claims)) == "ear.algorithm"
    unsigned = _jwt(_header(alg="none"), claims).rpartition(b".")[0] + b"."
    assert refused(unsigned) == "ear.algorithm"


HEADERS: dict[str, object] = {
    "another type": _header(typ="JWT"),
    "no type": {"alg": "ES256", "kid": _header()["kid"]},
    "critical": _header(crit=["exp"]),
    "a key of its own": _header(jwk={"kty": "EC"}),
    "an address": _header(jku="https://example.org/keys"),
    "a list": [],
    "a member twice": b'{"alg":"ES256","alg":"ES256","kid":"x","typ":"eat+jwt"}',
    "not JSON": b"{",
}


@pytest.mark.parametrize("rule", HEADERS)
def test_headers_of_another_form(result: AttestationResult, rule: str) -> None:
    assert refused(_jwt(HEADERS[rule], result.claims())) == "ear.malformed"


CLAIMS: dict[str, tuple[Callable[[Json], object], str]] = {
    "another profile": (lambda c: c.update(eat_profile="tag:x"), "ear.profile"),
    "no profile": (lambda c: c.pop("eat_profile"), "ear.profile"),
    "no time": (lambda c: c.pop("iat"), "ear.malformed"),
    "a time that floats": (lambda c: c.update(iat=1.5), "ear.malformed"),
    "a time that is true": (lambda c: c.update(iat=True), "ear.malformed"),
    "an end of text": (lambda c: c.update(exp="1"), "ear.malformed"),
    "no verifier": (lambda c: c.pop("ear_verifier_id"), "ear.malformed"),
    "half a verifier": (lambda c: c["ear_verifier_id"].pop("build"), "ear.malformed"),
    "no appraisals": (lambda c: c.update(submods={}), "ear.malformed"),
    "appraisals in a list": (lambda c: c.update(submods=[]), "ear.malformed"),
    "an appraisal of text": (lambda c: c["submods"].update(snp="x"), "ear.malformed"),
    "an unknown status": (lambda c: c["submods"]["snp"].update(ear_status="fine"), "ear.malformed"),
    "a status too good": (lambda c: c["submods"]["snp"].update(ear_status="affirming"), "ear.malformed"),
    "no vector": (lambda c: c["submods"]["snp"].pop("ear_trustworthiness_vector"), "ear.malformed"),
    "an unknown claim in it": (
        lambda c: c["submods"]["snp"]["ear_trustworthiness_vector"].update(luck=2),
        "ear.malformed",
    ),
    "a claim out of range": (
        lambda c: c["submods"]["snp"]["ear_trustworthiness_vector"].update(hardware=128),
        "ear.malformed",
    ),
    "a claim of text": (
        lambda c: c["submods"]["snp"]["ear_trustworthiness_vector"].update(hardware="2"),
        "ear.malformed",
    ),
}


@pytest.mark.parametrize("rule", CLAIMS)
def test_claims_that_are_no_results(result: AttestationResult, rule: str) -> None:
    claims = json.loads(json.dumps(result.claims()))
    change, check = CLAIMS[rule]
    change(claims)
    assert refused(_jwt(_header(), claims)) == check
    if rule not in ("a time that floats", "appraisals in a list", "an unknown claim in it"):
        assert refused(_cwt_of(claims)) in (check, "ear.malformed")


def _cwt_of(claims: Json) -> bytes:
    """A CWT of claims that need not be any result's."""
    numbers = {"eat_profile": 265, "iat": 6, "exp": 4, "ear_verifier_id": 1004, "submods": 266}
    item: Any = {numbers.get(name, name): value for name, value in claims.items()}
    for appraisal in item.get(266, {}).values():
        if isinstance(appraisal, dict):
            appraisal[1000] = TIERS.get(appraisal.pop("ear_status"), 7)
            vector = appraisal.pop("ear_trustworthiness_vector", None)
            if vector is not None:
                appraisal[1001] = {ear_claims._VECTOR.get(name, 99): value for name, value in vector.items()}
    return _sign1(cbor.encode(item))


def _sign1(payload: bytes, protected: bytes | None = None, unprotected: Any = None) -> bytes:  # Any: CBOR
    header: dict[cbor.Item, cbor.Item] = {
        1: -7,
        4: ear_keys.key_id(KEY.public_key()),
        16: "application/eat+cwt",
    }
    protected = cbor.encode(header) if protected is None else protected
    signature = ear_keys.sign(KEY, cbor.encode(["Signature1", protected, b"", payload]))
    return b"\xd2" + cbor.encode([protected, {} if unprotected is None else unprotected, payload, signature])


def test_cose_of_another_form(result: AttestationResult) -> None:
    payload = cbor.encode(ear_claims.to_cbor(result.claims()))
    kid = ear_keys.key_id(KEY.public_key())
    good: dict[cbor.Item, cbor.Item] = {1: -7, 4: kid, 16: "application/eat+cwt"}
    assert verify(_sign1(payload), KEY.public_key(), at=LATER).form is TokenForm.CWT
    assert refused(_sign1(payload, cbor.encode(good | {1: -8}))) == "ear.algorithm"
    assert refused(_sign1(payload, cbor.encode(good | {4: bytes(32)}))) == "ear.signer"
    for header in (
        good | {2: [1]},
        {1: -7, 4: kid},
        good | {16: "application/cwt"},
        good | {1: "ES256"},
        [1],
    ):
        assert refused(_sign1(payload, cbor.encode(header))) == "ear.malformed"  # type: ignore[arg-type]  # nested
    assert refused(_sign1(payload, unprotected={4: b"x"})) == "ear.malformed"
    assert refused(_sign1(payload, b"")) == "ear.malformed"
    assert refused(_sign1(payload + b"\0")) == "ear.malformed"
    assert refused(_sign1(cbor.encode([1]))) == "ear.malformed"
    messages: tuple[cbor.Item, ...] = ([], [b"", {}, payload], [b"", {}, payload, "x"], {}, b"")
    for message in messages:
        assert refused(b"\xd2" + cbor.encode(message)) == "ear.malformed"
    untagged = _sign1(payload)[1:]
    assert refused(untagged) == "ear.malformed"


def test_signatures_out_of_range(result: AttestationResult) -> None:
    signed, _, _ = issue(result, KEY, issued=LATER).rpartition(b".")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for r, s in ((0, 1), (1, 0), (order, 1), (1, order), (0, 0)):
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        assert refused(signed + b"." + _encoded(signature)) == "ear.signature"
    for signature in (b"", bytes(63), bytes(65), bytes(70)):
        assert refused(signed + b"." + _encoded(signature)) == "ear.signature"


@pytest.mark.parametrize("form", TokenForm)
def test_no_byte_can_be_changed(result: AttestationResult, form: TokenForm) -> None:
    token = issue(result, KEY, issued=LATER, form=form)
    for at in range(0, len(token), 7):
        for bit in (1, 0x80):
            changed = bytearray(token)
            changed[at] ^= bit
            refused(bytes(changed))
    for size in range(0, len(token), 101):
        refused(token[:size])
    refused(token + b"x")
    refused(token * 40)
    assert refused(bytes(MAX_TOKEN_SIZE + 1)) == "ear.malformed"


@SETTINGS
@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    refused(data)
    refused(b"\xd2" + data)
    refused(_encoded(data) + b"." + _encoded(data) + b"." + _encoded(data))


def test_a_line_end_does_not_matter(result: AttestationResult) -> None:
    assert verify(issue(result, KEY, issued=LATER) + b"\n", KEY.public_key(), at=LATER).form is TokenForm.JWT


def test_keys_in_files() -> None:
    for key in KEYS.values():
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        loaded = ear_keys.load_signing_key(private)
        assert ear_keys.key_id(loaded.public_key()) == ear_keys.key_id(ear_keys.load_verifying_key(public))
        locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
        for wrong in (locked, public, b"", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"):
            with pytest.raises(ConfigurationError) as caught:
                ear_keys.load_signing_key(wrong)
            assert caught.value.check == "ear.key"
        for wrong in (private, b"", b"x"):
            with pytest.raises(ConfigurationError):
                ear_keys.load_verifying_key(wrong)
    others = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP521R1()),
    )
    for other in others:
        private = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(ConfigurationError):
            ear_keys.load_signing_key(private)
        with pytest.raises(ConfigurationError):
            ear_keys.load_verifying_key(public)
