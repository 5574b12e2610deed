"""The outer shape of answers: an error page is told from a certificate, and nothing may follow."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from tests.endorsements.bodies import (
    ARK,
    ASK,
    CEK_BODY,
    CHAIN_BODY,
    SEV_ARK,
    SEV_ASK,
    SEV_CA_BODY,
    VERSION_1,
    der,
    pem,
)
from wasmkeep.endorsements.bodies import check_der, check_sev_certificate, split_chain, split_sev_ca
from wasmkeep.errors import HostUnreachable

SHARED = Path(__file__).resolve().parents[3] / "shared" / "vectors"
VECTORS, SEV_VECTORS = SHARED / "snp", SHARED / "sev"
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


SMALL = VERSION_1 + bytes(828)


def test_ask_and_ark_in_amds_format_are_told_apart() -> None:
    assert split_sev_ca(SEV_CA_BODY) == (SEV_ASK, SEV_ARK)
    assert split_sev_ca(SMALL * 2) == (SMALL, SMALL)
    assert split_sev_ca(SMALL + SMALL[:576]) == (SMALL, SMALL[:576]), "Naples' ARK without signature"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", SEV_ASK, SEV_CA_BODY[:-1], SEV_CA_BODY + b"\0", SEV_ASK + bytes(1600), SMALL + SEV_ARK],
    ids=["empty", "page", "one", "short", "long", "no version", "two sizes"],
)
def test_another_pair_is_refused(body: bytes) -> None:
    with pytest.raises(HostUnreachable) as refused:
        split_sev_ca(body)
    assert refused.value.check == "endorsements.body"


@pytest.mark.parametrize("body", [b"", b"<html>", CEK_BODY[:-1], CEK_BODY + b"\0", bytes(2084)])
def test_another_sev_certificate_is_refused(body: bytes) -> None:
    check_sev_certificate(CEK_BODY, "a CEK")
    with pytest.raises(HostUnreachable):
        check_sev_certificate(body, "a CEK")


@pytest.mark.skipif(not SEV_VECTORS.is_dir(), reason="no vectors beside the checkout")
@pytest.mark.parametrize("chain", ["naples-chain", "milan-chain"])
def test_genuine_sev_certificates_pass(chain: str) -> None:
    folder = SEV_VECTORS / chain
    check_sev_certificate((folder / "cek.cert").read_bytes(), "a CEK")
    ask, ark = (folder / "ask.cert").read_bytes(), (folder / "ark.cert").read_bytes()
    assert split_sev_ca(ask + ark) == (ask, ark)
