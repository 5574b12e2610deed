"""Certificates and revocation list have AMD's profile: compared with genuine ones, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from asn1crypto import core  # type: ignore[import-untyped]  # it has no type information
from asn1crypto import crl as asn1_crl
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from wasmkeep.simulator import der
from wasmkeep.simulator.certificates import (
    SALT_SIZE,
    Validity,
    issue_ark,
    issue_ask,
    issue_asvk,
    issue_crl,
    issue_vcek,
    issue_vlek,
    spki,
)
from wasmkeep.simulator.chip import Chip
from wasmkeep.simulator.products import PRODUCTS, Product

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "snp"
NOW = datetime(2026, 5, 1, 12, 30, 15, tzinfo=UTC)
CSP_ID = "CN=cc.cloud.example"
VALIDITY = Validity(NOW, NOW + timedelta(days=365 * 25))

needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason="the shared evidence vectors are not here")


@cache
def key(number: int) -> rsa.RSAPrivateKey:
    """Small, for speed: the profile does not depend on the size, which `roots` fixes."""
    return rsa.generate_private_key(65537, 2048 + 8 * number)


@dataclass(frozen=True)
class Issued:
    product: Product
    chip: Chip
    ark: bytes
    ask: bytes
    asvk: bytes
    vcek: bytes
    vlek: bytes
    crl: bytes


@cache
def issued(name: str) -> Issued:
    product = PRODUCTS[name]
    chip = Chip(product, bytes(range(32)))
    public = chip.vcek(product.tcb).public_key()
    return Issued(
        product,
        chip,
        issue_ark(product, key(0), VALIDITY),
        issue_ask(product, key(1).public_key(), key(0), VALIDITY, product.ask_serial),
        issue_asvk(product, key(2).public_key(), key(0), VALIDITY),
        issue_vcek(product, public, key(1), VALIDITY, tcb=product.tcb, chip_id=chip.chip_id),
        issue_vlek(product, public, key(2), VALIDITY, tcb=product.tcb, csp_id=CSP_ID),
        issue_crl(
            product,
            key(0),
            number=3,
            this_update=NOW,
            next_update=NOW + timedelta(days=365),
            revoked=product.revoked,
        ),
    )


def genuine_pem(path: str, index: int) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_pem_x509_certificates((VECTORS / path).read_bytes())[index].public_bytes(Encoding.DER)


def shape(certificate: bytes) -> dict[str, object]:
    """Everything of a certificate but names of the product, keys, times and values of extensions."""
    body = asn1.Certificate.load(certificate, strict=True)["tbs_certificate"]
    extensions = [
        (each["extn_id"].dotted, each["critical"].native, each["critical"].contents is not None)
        for each in body["extensions"]
    ]
    return {
        "version": body["version"].native,
        "algorithm": body["signature"].dump(),
        "outer algorithm": asn1.Certificate.load(certificate)["signature_algorithm"].dump(),
        "key": body["subject_public_key_info"]["algorithm"].dump(),
        "issuer": [(e[0]["type"].dotted, e[0]["value"].chosen.tag) for e in body["issuer"].chosen],
        "subject": body["subject"].dump()[:-9].replace(b"ARK", b"").replace(b"SEV", b""),
        "extensions": extensions,
    }


GENUINE = {
    ("genoa", "ark"): ("ca-roots/genoa-ask-ark-asvk.pem", 1),
    ("genoa", "ask"): ("ca-roots/genoa-ask-ark-asvk.pem", 0),
    ("genoa", "asvk"): ("ca-roots/genoa-ask-ark-asvk.pem", 2),
    ("turin", "ark"): ("ca-roots/turin-ask-ark-asvk.pem", 1),
    ("turin", "ask"): ("ca-roots/turin-ask-ark-asvk.pem", 0),
    ("turin", "asvk"): ("ca-roots/turin-ask-ark-asvk.pem", 2),
    ("milan", "ark"): ("ca-roots/milan-ask-ark-asvk.pem", 1),
    ("milan", "ask"): ("ca-roots/milan-ask-ark-asvk.pem", 0),
    ("milan", "asvk"): ("ca-roots/milan-ask-ark-asvk.pem", 2),
}


@needs_vectors
@pytest.mark.parametrize(("product", "role"), GENUINE)
def test_root_and_intermediate_look_like_the_genuine_ones(product: str, role: str) -> None:
    genuine = genuine_pem(*GENUINE[product, role])
    ours = getattr(issued(product), role)
    assert shape(ours) == shape(genuine)
    read, real = x509.load_der_x509_certificate(ours), x509.load_der_x509_certificate(genuine)
    assert (read.subject, read.issuer, read.serial_number) == (real.subject, real.issuer, real.serial_number)
    for extension in (x509.KeyUsage, x509.BasicConstraints, x509.CRLDistributionPoints):
        mine = read.extensions.get_extension_for_class(extension)
        assert mine == real.extensions.get_extension_for_class(extension)


@needs_vectors
@pytest.mark.parametrize(
    ("product", "path"), [("genoa", "genoa-v5-model-a0/vcek.der"), ("turin", "turin-vcek-chain/vcek.der")]
)
def test_a_vcek_looks_like_the_genuine_one(product: str, path: str) -> None:
    assert shape(issued(product).vcek) == shape((VECTORS / path).read_bytes())


@needs_vectors
def test_the_revocation_list_looks_like_the_genuine_one() -> None:
    def lists(data: bytes) -> dict[str, object]:
        body = asn1_crl.CertificateList.load(data, strict=True)["tbs_cert_list"]
        return {
            "version": body["version"].native,
            "algorithm": body["signature"].dump(),
            "issuer": body["issuer"].dump(),
            "revoked": [each["user_certificate"].native for each in body["revoked_certificates"]],
            "extensions": [each["extn_id"].dotted for each in body["crl_extensions"]],
        }

    genuine = (VECTORS / "genoa-revoked-ask/ark-genoa.crl.der").read_bytes()
    assert lists(issued("genoa").crl) == lists(genuine)


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_chain_verifies_with_the_salt_amd_uses_and_no_other(product: str) -> None:
    chain = issued(product)
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), SALT_SIZE)
    signed_by = ((chain.ark, 0), (chain.ask, 0), (chain.asvk, 0), (chain.vcek, 1), (chain.vlek, 2))
    for certificate, signer in signed_by:
        body = asn1.Certificate.load(certificate)
        signed, signature = body["tbs_certificate"].dump(), body["signature_value"].native
        key(signer).public_key().verify(signature, signed, pss, hashes.SHA384())
    crl = asn1_crl.CertificateList.load(chain.crl)
    signed, signature = crl["tbs_cert_list"].dump(), crl["signature"].native
    key(0).public_key().verify(signature, signed, pss, hashes.SHA384())


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_vcek_names_its_tcb_and_its_chip(product: str) -> None:
    chain = issued(product)
    body = asn1.Certificate.load(chain.vcek)["tbs_certificate"]
    assert body["serial_number"].native == 0
    values = {each["extn_id"].dotted: each["extn_value"].contents for each in body["extensions"]}
    prefix = "1.3.6.1.4.1.3704.1"
    raw = chain.product.tcb.to_bytes(8, "little")
    for number, index in chain.product.spl_extensions:
        assert core.Integer.load(values[f"{prefix}.3.{number}"], strict=True).native == raw[index]
    assert values[f"{prefix}.4"] == chain.chip.chip_id[: chain.product.chip_id_size]
    assert core.IA5String.load(values[f"{prefix}.2"], strict=True).native == chain.product.extension
    public = chain.chip.vcek(chain.product.tcb).public_key()
    assert body["subject_public_key_info"].dump() == spki(public)


@pytest.mark.parametrize("product", ["milan", "genoa", "turin"])
def test_a_vlek_differs_from_a_vcek_in_names_and_in_whom_it_speaks_for(product: str) -> None:
    chain = issued(product)
    prefix = "1.3.6.1.4.1.3704.1"
    body, other = (asn1.Certificate.load(der)["tbs_certificate"] for der in (chain.vlek, chain.vcek))
    assert body["serial_number"].native == 0
    assert body["subject"].native["common_name"] == "SEV-VLEK"
    assert body["issuer"].native["common_name"] == f"SEV-VLEK-{chain.product.kds}"
    values, of_vcek = (
        {each["extn_id"].dotted: each["extn_value"].contents for each in tbs["extensions"]}
        for tbs in (body, other)
    )
    assert list(values)[:-1] == list(of_vcek)[:-1]
    assert core.IA5String.load(values[f"{prefix}.2"], strict=True).native == chain.product.kds
    assert core.IA5String.load(values[f"{prefix}.5"], strict=True).native == CSP_ID
    levels = [oid for oid in values if oid.startswith(f"{prefix}.3.")]
    assert [values[oid] for oid in levels] == [of_vcek[oid] for oid in levels]


def test_each_tcb_and_each_chip_has_its_own_key() -> None:
    product = PRODUCTS["genoa"]
    chips = [Chip(product, bytes([number]) * 32) for number in range(2)]
    keys = {spki(chip.vcek(tcb).public_key()) for chip in chips for tcb in (product.tcb, product.tcb - 1)}
    assert len(keys) == 4
    assert len({chip.chip_id for chip in chips}) == 2
    again = Chip(product, bytes(32))
    assert spki(again.vcek(5).public_key()) == spki(chips[0].vcek(5).public_key())
    assert isinstance(again.vcek(5).curve, ec.SECP384R1)


def test_a_chip_secret_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Chip(PRODUCTS["genoa"], bytes(31))


def test_times_switch_to_four_digit_years_in_2050() -> None:
    assert der.time(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)) == b"\x17\x0d491231235959Z"
    assert der.time(datetime(2050, 1, 1, tzinfo=UTC)) == b"\x18\x0f20500101000000Z"


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255, 256, 0x7FFF, 0x8000, 1 << 4095])
def test_integers_are_canonical(value: int) -> None:
    assert der.integer(value) == core.Integer(value).dump()


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 70000])
def test_lengths_are_canonical(size: int) -> None:
    assert der.octet_string(bytes(size)) == core.OctetString(bytes(size)).dump()


@pytest.mark.parametrize("dotted", ["1.2.840.113549.1.1.10", "2.5.4.3", "1.3.6.1.4.1.3704.1.3.9", "2.999.1"])
def test_identifiers_are_canonical(dotted: str) -> None:
    assert der.object_identifier(dotted) == core.ObjectIdentifier(dotted).dump()


def test_negative_integers_are_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        der.integer(-1)
