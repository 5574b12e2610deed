"""The outer shape of answers: an error page is told from a certificate, and nothing may follow."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from tests.endorsements.bodies import ARK, ASK, CHAIN_BODY, der, pem
from wasmkeep.endorsements.bodies import check_der, split_chain
from wasmkeep.errors import HostUnreachable

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "snp"
ROOTS = VECTORS / "ca-roots"


def test_a_chain_is_ask_then_ark() -> None:
    assert split_chain(CHAIN_BODY) == (ASK, ARK)
    assert split_chain(CHAIN_BODY.replace(b"\n", b"\r\n")) == (ASK, ARK)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>429 Too Many Requests</html>",
        pem(ASK),
        CHAIN_BODY + pem(ARK),
        CHAIN_BODY + b"trailing",
        b"leading" + CHAIN_BODY,
        CHAIN_BODY.replace(b"CERTIFICATE", b"PRIVATE KEY"),
        CHAIN_BODY[:-5],
        pem(ASK) + pem(ARK[:-1]),
        pem(ASK).replace(b"MII", b"M=I") + pem(ARK),
    ],
    ids=["empty", "page", "one", "three", "trailing", "leading", "key", "cut", "torn inside", "base64"],
)
def test_another_chain_is_refused(body: bytes) -> None:
    with pytest.raises(HostUnreachable) as refused:
        split_chain(body)
    assert refused.value.check == "endorsements.body"
    assert refused.value.remedy


@pytest.mark.parametrize("body", [der(b""), der(b"x" * 127), der(b"x" * 128), der(b"x" * 60_000)])
def test_a_der_sequence_passes(body: bytes) -> None:
    check_der(body, "a certificate")


@given(st.binary(max_size=300))
def test_nothing_follows_or_lacks(content: bytes) -> None:
    body = der(content)
    for wrong in (body + b"\0", body[:-1]):
        with pytest.raises(HostUnreachable):
            check_der(wrong, "a certificate")


@given(st.binary(max_size=64))
def test_any_bytes_pass_or_are_refused_by_name(body: bytes) -> None:
    with contextlib.suppress(HostUnreachable):
        check_der(body, "a certificate")


@pytest.mark.skipif(not VECTORS.is_dir(), reason="no vectors beside the checkout")
def test_genuine_certificates_pass() -> None:
    check_der((VECTORS / "genoa-v5-model-a0" / "vcek.der").read_bytes(), "a VCEK")
    check_der((VECTORS / "genoa-revoked-ask" / "ark-genoa.crl.der").read_bytes(), "a revocation list")
    ask, ark, *_ = x509.load_pem_x509_certificates((ROOTS / "genoa-ask-ark-asvk.pem").read_bytes())
    body = ask.public_bytes(Encoding.PEM) + ark.public_bytes(Encoding.PEM)
    assert split_chain(body) == (ask.public_bytes(Encoding.DER), ark.public_bytes(Encoding.DER))
