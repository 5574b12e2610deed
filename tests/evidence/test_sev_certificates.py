"""SEV's certificate formats: one encoding each, and nothing else parses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.evidence.sev_forge import SevForge
from tests.evidence.soak import SETTINGS
from wasmkeep.evidence import Rejected
from wasmkeep.evidence.sev import ca_certificate, certificate, chain, rsa_keys
from wasmkeep.evidence.sev.ca_certificate import CaCertificate
from wasmkeep.evidence.sev.certificate import (
    EMPTY_SLOT,
    Algorithm,
    Certificate,
    SignatureSlot,
    Usage,
    ec_key_bytes,
    ecdsa_slot,
)


def test_keys_of_other_sizes_and_exponents() -> None:
    for bits, exponent, modulus in (
        (3072, 65537, 1 << 3071 | 1),
        (2048, 65537, 1 << 2047),
        (2048, 65537, 1 << 2046 | 1),
        (2048, 3, 1 << 2047 | 1),
        (4096, 65537, 1 << 2047 | 1),
    ):
        with pytest.raises(ValueError, match="RSA"):
            rsa_keys.decode_key(bits, exponent.to_bytes(512, "little"), modulus.to_bytes(512, "little"))


SLOTS = st.one_of(
    st.just(EMPTY_SLOT),
    st.builds(
        lambda usage, numbers: SignatureSlot(usage, Algorithm.ECDSA_SHA256, numbers.ljust(512, b"\0")),
        st.sampled_from([Usage.OCA, Usage.PEK, Usage.CEK]),
        st.binary(min_size=144, max_size=144),
    ),
    st.builds(
        lambda algorithm, signature: SignatureSlot(Usage.ASK, algorithm, signature),
        st.sampled_from([Algorithm.RSA_SHA256, Algorithm.RSA_SHA384]),
        st.binary(min_size=512, max_size=512),
    ),
)
KINDS = st.sampled_from(
    [
        (Usage.CEK, Algorithm.ECDSA_SHA256),
        (Usage.PEK, Algorithm.ECDSA_SHA256),
        (Usage.OCA, Algorithm.ECDSA_SHA256),
        (Usage.PDH, Algorithm.ECDH_SHA256),
    ]
)


@SETTINGS
@given(st.integers(0, 255), st.integers(0, 255), KINDS, SLOTS, SLOTS, st.integers(1, 2**64))
def test_certificates_round_trip(
    major: int,
    minor: int,
    kind: tuple[Usage, Algorithm],
    first: SignatureSlot,
    second: SignatureSlot,
    secret: int,
) -> None:
    key = ec_key_bytes(ec.derive_private_key(secret, ec.SECP384R1()).public_key())
    one = Certificate(major, minor, *kind, key, (first, second))
    data = one.encode()
    assert len(data) == certificate.CERTIFICATE_SIZE
    assert one.body == data[: certificate.BODY_SIZE]
    assert certificate.parse(data, "certificate") == one
    assert certificate.parse(data, "certificate").encode() == data


@SETTINGS
@given(
    st.sampled_from([Usage.ARK, Usage.ASK]),
    st.sampled_from([2048, 4096]),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.data(),
)
def test_authorities_round_trip(
    usage: Usage, bits: int, key: bytes, issuer: bytes, data: st.DataObject
) -> None:
    modulus = data.draw(st.integers(0, 2 ** (bits - 2) - 1)) * 2 + 1 | 1 << bits - 1
    signature = data.draw(st.binary(min_size=bits // 8, max_size=bits // 8))
    one = CaCertificate(usage, key, issuer, bits, modulus, signature)
    encoded = one.encode()
    assert len(encoded) in ca_certificate.SIZES
    assert encoded == one.body + signature
    assert ca_certificate.parse(encoded, "CA") == one


@SETTINGS
@given(st.binary(max_size=2100))
def test_noise_is_no_certificate(data: bytes) -> None:
    for parse in (certificate.parse, ca_certificate.parse):
        with pytest.raises(Rejected):
            parse(data, "noise")


@SETTINGS
@given(st.binary(min_size=certificate.CERTIFICATE_SIZE, max_size=certificate.CERTIFICATE_SIZE))
def test_what_parses_is_the_same_again(data: bytes) -> None:
    """From noise behind a plausible beginning: one encoding, or none."""
    begun = b"\1\0\0\0" + data[4:6] + b"\0\0\2\x10\0\0\2\0\0\0" + data[16:]
    try:
        parsed = certificate.parse(begun, "noise")
    except Rejected:
        return
    assert parsed.encode() == begun


def test_a_pair_of_authorities(sev_forge: SevForge) -> None:
    ark, ask = sev_forge.authorities()
    assert [one.usage for one in ca_certificate.parse_pair(ask + ark)] == [Usage.ASK, Usage.ARK]
    for wrong in (ask, ask + ark[:-1], ask + ark + b"\0", b""):
        with pytest.raises(Rejected) as caught:
            ca_certificate.parse_pair(wrong)
        assert caught.value.check == "sev.ca-certificate.size"


def test_an_ecdsa_slot_is_ours_alone(sev_forge: SevForge, other_sev: SevForge) -> None:
    one = certificate.parse(sev_forge.certificates.pdh, "PDH")
    slot = ecdsa_slot(Usage.PEK, sev_forge.pek, one.body)
    assert replace(one, slots=(slot, EMPTY_SLOT)).signed_by(Usage.PEK, sev_forge.pek.public_key())
    assert not one.signed_by(Usage.PEK, other_sev.pek.public_key())
    assert not one.signed_by(Usage.CEK, sev_forge.pek.public_key())
    assert not one.signed_by(Usage.PEK, sev_forge.ask.public_key())
    assert chain.key_digest(one) != chain.key_digest(certificate.parse(sev_forge.certificates.pek, "PEK"))
