"""Refusals that stand in no other test's table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.evidence.forge import AT, Forge, name
from tests.evidence.sev_forge import SevForge
from tests.evidence.test_verification import judge
from wasmkeep.evidence import Kind, Rejected
from wasmkeep.evidence.assembly import assemble
from wasmkeep.evidence.sev import certificate, chain
from wasmkeep.evidence.snp.certificates import load_crl

_SIGNATURE_END = 20


@pytest.mark.parametrize("size", [0, 1, 2083, 2085, 1 << 16])
def test_a_sev_certificate_has_one_size(size: int) -> None:
    with pytest.raises(Rejected) as caught:
        certificate.parse(bytes(size), "PEK")
    assert caught.value.checks == ("sev.certificate.size",)


def test_an_owner_signs_its_own_certificate(sev_forge: SevForge) -> None:
    certificates = sev_forge.certificates
    oca = bytearray(certificates.oca)
    oca[0x41C] ^= 1
    with pytest.raises(Rejected) as caught:
        chain.authenticate(replace(certificates, oca=bytes(oca)), sev_forge.policy("sev").roots)
    assert caught.value.checks == ("sev.chain.oca",)


def test_a_root_signs_its_own_certificate(forge: Forge) -> None:
    """The pinned key in a certificate that it did not sign."""
    evidence = forge.evidence()
    ask, ark = evidence.chain
    spoilt = bytearray(ark)
    spoilt[-_SIGNATURE_END] ^= 1
    with pytest.raises(Rejected) as caught:
        judge(replace(evidence, chain=(ask, bytes(spoilt))), forge.policy())
    assert caught.value.checks == ("snp.chain.ark",)


def test_a_revocation_list_is_signed_as_amd_does() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    builder = x509.CertificateRevocationListBuilder().issuer_name(name("ARK-Genoa"))
    crl = builder.last_update(AT).next_update(AT).sign(key, hashes.SHA384())
    with pytest.raises(Rejected) as caught:
        load_crl(crl.public_bytes(Encoding.DER))
    assert caught.value.checks == ("snp.crl.algorithm",)


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"hello", b"{}"], ids=["none", "zeros", "text", "json"])
def test_what_is_no_evidence_is_refused_as_that(data: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        assemble(data)
    assert caught.value.checks == ("evidence.unknown",)
    assert caught.value.kind is Kind.UNSUPPORTED
