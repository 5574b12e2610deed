"""Certificates and revocation lists: each rule broken alone, signed again with the right key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.evidence import forge as make
from tests.evidence.forge import AT, CHIP_ID, Forge
from tests.evidence.test_refusals import OLD_TCB, refuse
from tests.evidence.test_verification import judge


def _extension(name: str, value: bytes | None) -> dict[str, bytes]:
    values = make.extensions()
    if value is None:
        del values[name]
    else:
        values[name] = value
    return values


EXTENSIONS: dict[str, tuple[dict[str, bytes], str]] = {
    "no SNP level": (_extension("snpSPL", None), "snp.endorsement.extension"),
    "no product": (_extension("productName", None), "snp.endorsement.extension"),
    "FMC on Genoa": (_extension("fmcSPL", make.integer(1)), "snp.endorsement.extension"),
    "reserved level set": (_extension("spl5", make.integer(1)), "snp.endorsement.extension"),
    "an unknown component": (
        _extension("1.3.6.1.4.1.3704.1.3.10", make.integer(0)),
        "snp.endorsement.extension",
    ),
    "integer not minimal": (_extension("blSPL", b"\x02\x02\x00\x0a"), "snp.endorsement.extension"),
    "integer negative": (_extension("blSPL", b"\x02\x01\x8a"), "snp.endorsement.extension"),
    "integer too large": (_extension("blSPL", b"\x02\x02\x01\x00"), "snp.endorsement.extension"),
    "integer with trailing bytes": (_extension("blSPL", b"\x02\x01\x0a\x00"), "snp.endorsement.extension"),
    "integer empty": (_extension("blSPL", b"\x02\x00"), "snp.endorsement.extension"),
    "text not printable": (_extension("productName", b"\x16\x05Gen\x07a"), "snp.endorsement.extension"),
    "text of another tag": (_extension("productName", b"\x0c\x05Genoa"), "snp.endorsement.extension"),
    "unknown product": (_extension("productName", make.text("Venice")), "snp.endorsement.product"),
    "another product": (_extension("productName", make.text("Milan-B0")), "snp.product"),
    "hardware id with another tag": (
        _extension("hwID", b"\x03\x40" + CHIP_ID),
        "snp.endorsement.extension",
    ),
    "hardware id cut": (_extension("hwID", b"\x04\x40" + CHIP_ID[1:]), "snp.endorsement.extension"),
    "hardware id of another length": (_extension("hwID", b"\x04\x06" + CHIP_ID[:6]), "snp.chip.certificate"),
    "hardware id too short": (_extension("hwID", CHIP_ID[:8]), "snp.chip.certificate"),
    "another chip": (_extension("hwID", bytes(64)), "snp.chip.certificate"),
    "another TCB": (make.extensions(OLD_TCB), "snp.tcb.certificate"),
}


@pytest.mark.parametrize("rule", EXTENSIONS)
def test_endorsement_extensions(forge: Forge, rule: str) -> None:
    values, check = EXTENSIONS[rule]
    assert refuse(forge.evidence(vcek=forge.vcek(extensions=values)), forge).check == check


def test_a_short_hardware_id_does_not_match_its_padding(forge: Forge) -> None:
    """On Genoa an 8-byte id would equal a padded chip id; the size is the product's."""
    unsigned = make.report(chip_id=make.TURIN_CHIP_ID)
    vcek = forge.vcek(extensions=make.extensions(hw_id=make.TURIN_CHIP_ID[:8]))
    assert refuse(forge.evidence(unsigned, vcek=vcek), forge).checks == ("snp.chip.size",)


_POISON = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

CERTIFICATES: dict[str, tuple[Callable[[Forge], dict[str, object]], str]] = {
    "VCEK of another ASK": (lambda f: {"vcek": f.vcek(issuer="SEV-Turin")}, "snp.chain.key"),
    "VCEK with a critical extension": (
        lambda f: {"vcek": f.vcek(extra=((_POISON, True),))},
        "snp.certificates.profile",
    ),
    "VCEK that is an authority": (
        lambda f: {"vcek": f.vcek(extra=((x509.BasicConstraints(ca=True, path_length=None), False),))},
        "snp.certificates.profile",
    ),
    "VCEK not yet valid": (
        lambda f: {"vcek": f.vcek(not_before=AT + timedelta(seconds=1))},
        "snp.chain.not-yet-valid",
    ),
    "VCEK expired": (lambda f: {"vcek": f.vcek(not_after=AT - timedelta(seconds=1))}, "snp.chain.expired"),
    "ASK expired": (
        lambda f: {"chain": (f.ask(not_after=AT - timedelta(days=1)), f.ark())},
        "snp.chain.expired",
    ),
    "ARK expired": (
        lambda f: {"chain": (f.ask(), f.ark(not_after=AT - timedelta(days=1)))},
        "snp.chain.expired",
    ),
    "ASK of another name": (lambda f: {"chain": (f.ask("Milan"), f.ark())}, "snp.chain.ask"),
    "ASK that is no authority": (
        lambda f: {"chain": (f.ask(ca=False), f.ark())},
        "snp.certificates.profile",
    ),
    "ASK without critical constraints": (
        lambda f: {"chain": (f.ask(constraints_critical=False), f.ark())},
        "snp.certificates.profile",
    ),
    "ASK that may not sign": (
        lambda f: {"chain": (f.ask(certificate_signing=False), f.ark())},
        "snp.certificates.profile",
    ),
    "ASK with an unknown critical extension": (
        lambda f: {"chain": (f.ask(extra=((_POISON, True),)), f.ark())},
        "snp.certificates.profile",
    ),
    "ASK signed with another digest": (
        lambda f: {"chain": (f.ask(digest=hashes.SHA256(), scheme=_pss(hashes.SHA256(), 32)), f.ark())},
        "snp.certificates.algorithm",
    ),
    "ASK signed with PKCS #1": (
        lambda f: {"chain": (f.ask(scheme=padding.PKCS1v15()), f.ark())},
        "snp.certificates.algorithm",
    ),
    "ASK signed with another salt": (
        lambda f: {"chain": (f.ask(scheme=_pss(hashes.SHA384(), 32)), f.ark())},
        "snp.certificates.algorithm",
    ),
    "ASK signed with another mask": (
        lambda f: {"chain": (f.ask(scheme=_pss(hashes.SHA256(), 48)), f.ark())},
        "snp.certificates.algorithm",
    ),
    "no ARK": (lambda f: {"chain": (f.ask(),)}, "snp.chain.length"),
    "three certificates": (lambda f: {"chain": (f.ask(), f.ark(), f.ark())}, "snp.chain.length"),
    "swapped chain": (lambda f: {"chain": (f.ark(), f.ask())}, "snp.root"),
    "ASK in place of the VCEK": (lambda f: {"vcek": f.ask()}, "snp.certificates.algorithm"),
    "VCEK in place of the ASK": (
        lambda f: {"chain": (f.vcek(), f.ark())},
        "snp.certificates.algorithm",
    ),
    "trailing bytes": (lambda f: {"vcek": f.vcek() + b"\0"}, "snp.certificates.malformed"),
    "not a certificate": (lambda f: {"vcek": b"\x30\x03\x02\x01\x00"}, "snp.certificates.malformed"),
    "too long": (lambda f: {"vcek": b"\x30" * 9000}, "snp.certificates.malformed"),
}


def _pss(mask: hashes.SHA384 | hashes.SHA256, salt: int) -> padding.PSS:
    return padding.PSS(padding.MGF1(mask), salt)


@pytest.mark.parametrize("rule", CERTIFICATES)
def test_certificates(forge: Forge, rule: str) -> None:
    make_parts, check = CERTIFICATES[rule]
    assert refuse(forge.evidence(None, **make_parts(forge)), forge).checks == (check,)


@pytest.mark.parametrize(
    ("mask", "salt"), [(hashes.SHA384(), 32), (hashes.SHA256(), 48), (hashes.SHA384(), 0)]
)
def test_a_signature_made_otherwise_than_it_says(
    forge: Forge, mask: hashes.SHA384 | hashes.SHA256, salt: int
) -> None:
    """The certificate names AMD's scheme; the signature itself has another salt or mask."""
    der = forge.vcek(serial_zero=False)
    certificate = x509.load_der_x509_certificate(der)
    signature = forge.ask_key.sign(certificate.tbs_certificate_bytes, _pss(mask, salt), hashes.SHA384())
    evidence = forge.evidence(vcek=der.replace(certificate.signature, signature))
    assert refuse(evidence, forge).checks == ("snp.chain.key",)


def test_a_self_made_root_with_the_right_names(forge: Forge, other: Forge) -> None:
    assert refuse(other.evidence(), forge).checks == ("snp.root",)


def test_the_pinned_root_did_not_sign_this_chain(forge: Forge, other: Forge) -> None:
    """The genuine root beside another's certificates, and the genuine chain beside another chip's key."""
    evidence = other.evidence(chain=(other.cached("ask"), forge.cached("ark")))
    assert refuse(evidence, forge).checks == ("snp.chain.ask",)
    assert refuse(forge.evidence(vcek=other.cached("vcek")), forge).checks == ("snp.chain.key",)
    stolen = Forge(forge.ark_key, forge.ask_key, ec.generate_private_key(ec.SECP384R1()))
    assert refuse(forge.evidence(vcek=stolen.vcek()), forge).checks == ("snp.signature",)


def test_key_kinds(forge: Forge) -> None:
    """A weaker RSA key in an authority and another curve in a VCEK are refused before any signature."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    small = Forge(weak, forge.ask_key, forge.vcek_key)
    assert refuse(forge.evidence(chain=(small.ask(), small.ark())), forge).checks == (
        "snp.certificates.algorithm",
    )
    curve = Forge(forge.ark_key, forge.ask_key, ec.generate_private_key(ec.SECP256R1()))
    assert refuse(forge.evidence(vcek=curve.vcek()), forge).checks == ("snp.certificates.algorithm",)


CRLS: dict[str, tuple[Callable[[Forge], bytes | None], str]] = {
    "missing": (lambda f: None, "snp.crl.missing"),
    "not a list": (lambda f: b"\x30\x00", "snp.crl.malformed"),
    "trailing bytes": (lambda f: f.crl() + b"\0", "snp.crl.malformed"),
    "too long": (lambda f: bytes(300_000), "snp.crl.malformed"),
    "of another issuer": (lambda f: f.crl(issuer="ARK-Turin"), "snp.crl.issuer"),
    "expired": (lambda f: f.crl(next_update=AT - timedelta(seconds=1)), "snp.crl.expired"),
    "from the future": (lambda f: f.crl(issued=AT + timedelta(seconds=1)), "snp.crl.not-yet-valid"),
    "too old": (lambda f: f.crl(issued=AT - timedelta(days=367)), "snp.crl.too-old"),
    "names the ASK": (lambda f: f.crl(serials=(1, 0x20002)), "snp.crl.revoked"),
    "names the ARK": (lambda f: f.crl(serials=(0x20000,)), "snp.crl.revoked"),
    "a delta": (
        lambda f: f.crl(extra=((x509.DeltaCRLIndicator(1), True),)),
        "snp.crl.malformed",
    ),
    "of a part": (lambda f: f.crl(extra=((_part(), True),)), "snp.crl.malformed"),
    "an indirect entry": (
        lambda f: f.crl(
            serials=(5,),
            entry_extra=((x509.CertificateIssuer([x509.DirectoryName(make.name("SEV-Genoa"))]), True),),
        ),
        "snp.crl.malformed",
    ),
    "too many entries": (lambda f: f.crl(serials=tuple(range(1, 5000))), "snp.crl.malformed"),
}


def _part() -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=None,
        relative_name=None,
        only_contains_user_certs=True,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )


@pytest.mark.parametrize("rule", CRLS)
def test_revocation_list(forge: Forge, rule: str) -> None:
    make_list, check = CRLS[rule]
    assert refuse(forge.evidence(crl=make_list(forge)), forge).checks == (check,)


def test_a_list_that_another_key_signed(forge: Forge, other: Forge) -> None:
    assert refuse(forge.evidence(crl=other.crl()), forge).checks == ("snp.crl.signature",)


def test_an_older_list_after_a_newer_one(forge: Forge) -> None:
    evidence = forge.evidence(crl=forge.crl(issued=AT - timedelta(days=30)))
    newer = {forge.pin: AT - timedelta(days=29)}
    assert refuse(evidence, forge, crl_not_older_than=newer).checks == ("snp.crl.rollback",)
    same = {forge.pin: AT - timedelta(days=30)}
    assert judge(evidence, forge.policy(), crl_not_older_than=same).bound
    elsewhere = {"sha256:" + "00" * 32: AT}
    assert judge(evidence, forge.policy(), crl_not_older_than=elsewhere).bound


def test_every_vcek_has_serial_zero_so_a_list_cannot_name_one(forge: Forge) -> None:
    """Serial 0 and 1 on the ARK's list are not the ASK's certificates."""
    assert judge(forge.evidence(crl=forge.crl(serials=(1,))), forge.policy()).bound
