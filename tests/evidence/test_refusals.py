"""Each rule broken alone, and everything signed again with the right key: the test's name is the rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.evidence import forge as make
from tests.evidence.forge import AT, CHIP_ID, Forge
from tests.evidence.test_verification import judge
from wasmkeep.evidence import Kind, Rejected, SnpEvidence
from wasmkeep.evidence.policy import SnpPolicy
from wasmkeep.evidence.snp.bits import GuestPolicyBit
from wasmkeep.evidence.snp.report import Report
from wasmkeep.evidence.snp.signatures import ORDER
from wasmkeep.evidence.snp.tcb import Tcb

_OLD = Tcb(bootloader=9, tee=0, snp=22, microcode=84)


def refuse(evidence: SnpEvidence, forge: Forge, **changes: object) -> Rejected:
    """The rejection by the default policy with this root pinned, or with some fields changed."""
    arguments = {key: changes.pop(key) for key in tuple(changes) if key == "crl_not_older_than"}
    with pytest.raises(Rejected) as caught:
        judge(evidence, forge.policy(**changes), **arguments)
    return caught.value


def _tcb_everywhere(tcb: Tcb) -> dict[str, int]:
    value = tcb.encode()
    return {"reported_tcb": value, "current_tcb": value, "committed_tcb": value, "launch_tcb": value}


REPORTS: dict[str, tuple[Report, tuple[str, ...]]] = {
    "debug": (make.report(policy=0xB0000), ("snp.policy.debug",)),
    "migration agent": (make.report(policy=0x70000), ("snp.policy.migration-agent",)),
    "CXL": (make.report(policy=0x230000), ("snp.policy.cxl",)),
    "policy bit 17 clear": (make.report(policy=0x10000), ("snp.policy.reserved",)),
    "policy bit 26 set": (make.report(policy=0x30000 | 1 << 26), ("snp.policy.unknown",)),
    "policy bit 63 set": (make.report(policy=0x30000 | 1 << 63), ("snp.policy.unknown",)),
    "old ABI, current": (make.report(current_minor=50, committed_minor=50), ("snp.abi",)),
    "old ABI, committed": (make.report(committed_minor=50), ("snp.abi", "snp.tcb.provisional")),
    "VMPL 1": (make.report(vmpl=1), ("snp.vmpl",)),
    "VMPL 3": (make.report(vmpl=3), ("snp.vmpl",)),
    "requested by the host": (make.report(vmpl=0xFFFFFFFF), ("snp.vmpl",)),
    "another session": (make.report(report_data=bytes(64)), ("snp.report-data",)),
    "another tenant": (make.report(host_data=bytes(32)), ("snp.host-data",)),
    "another image": (make.report(measurement=bytes(48)), ("snp.measurement",)),
    "older version": (make.version_2(), ("snp.report.floor",)),
    "masked chip": (make.report(chip_id=bytes(64)), ("snp.chip.masked",)),
    "another chip": (make.report(chip_id=bytes(63) + b"\x01"), ("snp.chip.certificate",)),
    "TCB of no certificate": (
        make.report(reported_tcb=replace(make.GENOA_TCB, microcode=83).encode()),
        ("snp.tcb.certificate",),
    ),
    "provisional SVN": (
        make.report(committed_tcb=replace(make.GENOA_TCB, snp=22).encode()),
        ("snp.tcb.provisional",),
    ),
    "provisional build": (make.report(current_build=26), ("snp.tcb.provisional",)),
    "reserved TCB byte": (make.report(launch_tcb=make.GENOA_TCB.encode() | 1 << 16), ("snp.tcb.reserved",)),
    "no alias check": (make.report(platform_info=0x05), ("snp.platform.alias-check",)),
    "unknown platform bit": (make.report(platform_info=0x125), ("snp.platform.unknown",)),
    "unknown processor": (make.report(cpuid_family=0x1B), ("snp.product",)),
    "another product": (make.report(cpuid_model=0x01), ("snp.product", "snp.generation")),
    "another algorithm": (make.report(signature_algo=2), ("snp.signature.algorithm",)),
    "unsigned": (make.report(key_info=7 << 2), ("snp.signature.unsigned",)),
    "unknown signer": (make.report(key_info=3 << 2), ("snp.signer",)),
    "VLEK by word only": (make.report(key_info=1 << 2), ("snp.signer.certificate",)),
}


@pytest.mark.parametrize("rule", REPORTS)
def test_report(forge: Forge, rule: str) -> None:
    unsigned, checks = REPORTS[rule]
    assert refuse(forge.evidence(unsigned), forge).checks[: len(checks)] == checks


def test_table_breaks_single_rules(forge: Forge) -> None:
    """But for the rows that say more, one finding each: the table does not pass by accident."""
    for unsigned, checks in REPORTS.values():
        found = refuse(forge.evidence(unsigned), forge).checks
        assert len(found) == len(checks) or checks[0] == "snp.product", (found, checks)


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (ORDER, 1), (1, ORDER), ((1 << 576) - 1, 1)])
def test_signature_components_out_of_range(forge: Forge, r: int, s: int) -> None:
    data = replace(make.report(), signature_r=r, signature_s=s).encode()
    assert refuse(forge.evidence(report=data), forge).checks == ("snp.signature.range",)


def test_minimum_tcb_by_component(forge: Forge) -> None:
    for component, value in (("bootloader", 8), ("snp", 22), ("microcode", 71)):
        tcb = replace(make.GENOA_TCB, **{component: value})
        evidence = forge.evidence(
            make.report(**_tcb_everywhere(tcb)), vcek=forge.vcek(extensions=make.extensions(tcb))
        )
        rejected = refuse(evidence, forge)
        assert rejected.checks == ("snp.tcb.minimum",)
        assert component in rejected.found


def test_minimum_tcb_looks_at_the_reported_one(forge: Forge) -> None:
    """New firmware runs, but the host reports an older TCB, whose key it may have extracted."""
    unsigned = make.report(reported_tcb=_OLD.encode())
    evidence = forge.evidence(unsigned, vcek=forge.vcek(extensions=make.extensions(_OLD)))
    assert refuse(evidence, forge).checks == ("snp.tcb.minimum",)


ALLOW_LIST = frozenset({bytes(63) + b"\x09"})
CHIP_RULES: dict[str, tuple[SnpPolicy, Report, tuple[str, ...]]] = {
    "not on the allow-list": (SnpPolicy(chips_allow=ALLOW_LIST), make.report(), ("snp.chip.allow",)),
    "on the deny-list": (SnpPolicy(chips_deny=frozenset({CHIP_ID})), make.report(), ("snp.chip.deny",)),
    "masked, allow-list": (
        SnpPolicy(chips_allow=frozenset({CHIP_ID}), masked_chip_id=True),
        make.report(chip_id=bytes(64)),
        ("snp.chip.allow",),
    ),
    "masked, deny-list": (
        SnpPolicy(chips_deny=ALLOW_LIST, masked_chip_id=True),
        make.report(chip_id=bytes(64)),
        ("snp.chip.deny",),
    ),
    "denied and allowed": (
        SnpPolicy(chips_allow=frozenset({CHIP_ID}), chips_deny=frozenset({CHIP_ID})),
        make.report(),
        ("snp.chip.deny",),
    ),
}


@pytest.mark.parametrize("rule", CHIP_RULES)
def test_chip_lists(forge: Forge, rule: str) -> None:
    policy, unsigned, checks = CHIP_RULES[rule]
    assert refuse(forge.evidence(unsigned), forge, snp=policy).checks == checks


def test_a_chip_on_the_allow_list_is_accepted(forge: Forge) -> None:
    policy = forge.policy(snp=SnpPolicy(chips_allow=frozenset({CHIP_ID})))
    assert judge(forge.evidence(), policy).chip == "a chip that the policy lists"


def test_masked_chip_id_needs_the_policys_word(forge: Forge) -> None:
    evidence = forge.evidence(make.report(chip_id=bytes(64)))
    result = judge(evidence, forge.policy(snp=SnpPolicy(masked_chip_id=True)))
    assert result.snp.chip_id is None
    assert "masked-chip-id" in [entry.what for entry in result.lost_protections]


IDENTITY: dict[str, tuple[SnpPolicy, str]] = {
    "ID key": (SnpPolicy(id_key_digests=frozenset({b"\1" * 48})), "snp.id-key"),
    "author key": (SnpPolicy(author_key_digests=frozenset({b"\1" * 48})), "snp.author-key"),
    "family id": (SnpPolicy(family_ids=frozenset({b"\1" * 16})), "snp.family-id"),
    "image id": (SnpPolicy(image_ids=frozenset({b"\1" * 16})), "snp.image-id"),
    "guest SVN": (SnpPolicy(minimum_guest_svn=1), "snp.guest-svn"),
    "required bit": (SnpPolicy(guest_require=GuestPolicyBit.SINGLE_SOCKET), "snp.policy.required"),
    "SMT": (SnpPolicy(guest_allow=GuestPolicyBit(0)), "snp.policy.smt"),
    "generation": (SnpPolicy(generations=("Turin",)), "snp.generation"),
    "version floor": (SnpPolicy(minimum_report_version=5), "snp.report.floor"),
    "signer": (SnpPolicy(signers=("vlek",)), "snp.signer"),
}


@pytest.mark.parametrize("rule", IDENTITY)
def test_policy_requirements(forge: Forge, rule: str) -> None:
    policy, check = IDENTITY[rule]
    assert refuse(forge.evidence(), forge, snp=policy).checks == (check,)


def _vlek(forge: Forge, **changes: object) -> SnpEvidence:
    identity = make.extensions(hw_id=None, csp_id="CN=cloud.example")
    fields: dict[str, object] = {"subject": "SEV-VLEK", "issuer": "SEV-VLEK-Genoa", "extensions": identity}
    return forge.evidence(
        make.report(key_info=1 << 2),
        vcek=forge.vcek(**(fields | changes)),
        chain=(forge.ask(subject="SEV-VLEK-Genoa"), forge.ark()),
    )


def test_a_vlek_is_refused_unless_the_policy_allows_it(forge: Forge) -> None:
    assert refuse(_vlek(forge), forge).checks == ("snp.signer",)
    result = judge(_vlek(forge), forge.policy(snp=SnpPolicy(signers=("vcek", "vlek"))))
    assert (result.chain, result.snp.csp_id) == (("VLEK", "ASVK", "ARK"), "CN=cloud.example")
    assert "vlek" in [entry.what for entry in result.lost_protections]


def test_a_vlek_with_a_vceks_extensions(forge: Forge) -> None:
    both = SnpPolicy(signers=("vcek", "vlek"))
    evidence = _vlek(forge, extensions=make.extensions())
    assert refuse(evidence, forge, snp=both).checks == ("snp.endorsement.kind",)
    evidence = forge.evidence(vcek=forge.vcek(extensions=make.extensions(hw_id=None, csp_id="CN=c")))
    assert refuse(evidence, forge, snp=both).checks == ("snp.chip.certificate", "snp.endorsement.kind")


def test_a_vlek_given_as_vcek(forge: Forge) -> None:
    evidence = forge.evidence(vcek=forge.vcek(subject="SEV-VLEK"))
    assert refuse(evidence, forge).checks == ("snp.signer.certificate",)
    asvk = forge.ask(subject="SEV-VLEK-Genoa")
    evidence = forge.evidence(vcek=forge.vcek(issuer="SEV-VLEK-Genoa"), chain=(asvk, forge.ark()))
    assert refuse(evidence, forge).checks == ("snp.signer.certificate",)


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
    "hardware id with a tag": (_extension("hwID", b"\x04\x40" + CHIP_ID), "snp.chip.certificate"),
    "hardware id too short": (_extension("hwID", CHIP_ID[:8]), "snp.chip.certificate"),
    "another chip": (_extension("hwID", bytes(64)), "snp.chip.certificate"),
    "another TCB": (make.extensions(_OLD), "snp.tcb.certificate"),
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


def test_kinds_tell_faults_apart(forge: Forge) -> None:
    assert refuse(forge.evidence(report=b""), forge).kind is Kind.MALFORMED
    assert refuse(forge.evidence(make.report(vmpl=1)), forge).kind is Kind.REFUSED
    assert refuse(forge.evidence(crl=None), forge).kind is Kind.UNTRUSTED
    assert refuse(forge.evidence(make.report(platform_info=0x125)), forge).kind is Kind.UNSUPPORTED


def test_a_report_that_another_chip_signed(forge: Forge, other: Forge) -> None:
    assert refuse(forge.evidence(report=other.sign(make.report())), forge).checks == ("snp.signature",)


def test_a_certificate_without_serial_zero_is_accepted(forge: Forge) -> None:
    assert judge(forge.evidence(vcek=forge.vcek(serial_zero=False)), forge.policy()).bound


def test_platforms_that_the_policy_does_not_name(forge: Forge) -> None:
    """Only through a changed object: today's policies can name SEV-SNP only."""
    policy = forge.policy()
    object.__setattr__(policy, "platforms", ("tdx",))
    with pytest.raises(Rejected) as caught:
        judge(forge.evidence(), policy)
    assert caught.value.checks == ("platform.denied",)
