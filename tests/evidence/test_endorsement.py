"""VCEK and VLEK certificates as AMD and clouds hand them out, and the tables that carry them: what is genuine
in another form is accepted, what only resembles it is refused by the check that says why.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.evidence import forge as make
from tests.evidence.forge import AT, CHIP_ID, TURIN_CHIP_ID, Forge
from tests.evidence.simulated_rows import row
from tests.evidence.test_refusals import refuse, vlek
from tests.evidence.test_simulated_rows import judge as judge_row
from tests.evidence.test_verification import judge, snp_facts
from wasmkeep.evidence import Policy, Rejected, SnpEvidence
from wasmkeep.evidence.kinds import EvidenceKind, recognise
from wasmkeep.evidence.pem import encode_certificate
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.policy import SnpPolicy
from wasmkeep.evidence.snp import certificates, table
from wasmkeep.evidence.snp.products import product_of_certificate
from wasmkeep.simulator import certificates as issuing
from wasmkeep.simulator.certificates import Validity
from wasmkeep.simulator.products import PRODUCTS, Product

GOOGLES_ENTRY = UUID("9f4116cd-c503-4f8a-8f6f-fb68882f4ce2")


def pinned(forge: Forge) -> Policy:
    return replace(plain(), simulated=forge.pin)


# Hardware id


@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("tagged", [False, True], ids=["raw", "tagged"])
def test_a_hardware_id_reads_the_same_with_and_without_an_inner_tag(
    forge: Forge, size: int, tagged: bool
) -> None:
    on_turin = size == 8
    chip = (TURIN_CHIP_ID if on_turin else CHIP_ID)[:size]
    value = bytes((4, size)) * tagged + chip
    if on_turin:
        identity = make.extensions(make.TURIN_TCB, "Turin", value)
        parts: dict[str, object] = {
            "vcek": forge.vcek(extensions=identity, issuer="SEV-Turin"),
            "chain": (forge.ask("Turin"), forge.ark("Turin")),
            "crl": forge.crl(issuer="ARK-Turin"),
        }
        evidence = forge.evidence(make.turin(), **parts)
    else:
        evidence = forge.evidence(vcek=forge.vcek(extensions=make.extensions(hw_id=value)))
    assert snp_facts(judge(evidence, forge.policy())).report.chip_id[:size] == chip


# Product names


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("Milan-B0", "Milan"),
        ("Milan", "Milan"),
        ("Genoa-B1", "Genoa"),
        ("Genoa", "Genoa"),
        ("Bergamo", "Genoa"),
        ("Bergamo-A2", "Genoa"),
        ("Siena", "Genoa"),
        ("Turin", "Turin"),
        ("Turin-C1", "Turin"),
        ("genoa", None),
        ("Venice", None),
        ("", None),
    ],
)
def test_product_names(name: str, product: str | None) -> None:
    assert product_of_certificate(name) == product


@pytest.mark.parametrize("name", ["Bergamo", "Siena", "Genoa"])
def test_genoas_authorities_vouch_for_its_dense_models(forge: Forge, name: str) -> None:
    evidence = forge.evidence(
        make.report(cpuid_model=0xA0, cpuid_stepping=2),
        vcek=forge.vcek(extensions=make.extensions(product_name=name)),
    )
    result = judge(evidence, forge.policy())
    facts = snp_facts(result)
    assert (result.product, facts.product_name, facts.model_line) == ("Genoa", name, "Bergamo")


@pytest.mark.parametrize(
    ("family", "model"), [(0x19, 0x20), (0x1A, 0x12), (0x17, 0x31), (0x1A, 0x50), (0, 0)]
)
def test_a_report_of_a_processor_that_nobody_knows(forge: Forge, family: int, model: int) -> None:
    evidence = forge.evidence(make.report(cpuid_family=family, cpuid_model=model))
    assert refuse(evidence, forge).checks == ("snp.product",)


def test_a_version_that_amd_has_not_described_is_a_risk_to_be_named(forge: Forge) -> None:
    """Some Milan machines make version 4. By default it is refused, and for nothing else."""
    evidence = forge.evidence(make.report(version=4))
    rejected = refuse(evidence, forge)
    assert rejected.checks == ("snp.report.version",)
    assert "snp.undescribed_version" in rejected.findings[0].advice
    result = judge(evidence, forge.policy(snp=SnpPolicy(undescribed_version=True)))
    assert "undescribed-version" in [entry.what for entry in result.lost_protections]
    assert judge(evidence, pinned(forge)).bound


# Duplicate and unknown extensions, in DER that no builder makes


def issued(forge: Forge, product: Product, **changes: object) -> bytes:
    """A certificate for the forge's key, made by the simulator's own writer."""
    life = Validity(AT.replace(month=1), AT.replace(year=2030))
    return issuing.issue_vcek(
        replace(product, **changes),  # type: ignore[arg-type]  # named fields
        forge.vcek_key.public_key(),
        forge.ask_key,
        life,
        tcb=make.GENOA_TCB.encode(),
        chip_id=CHIP_ID,
    )


def test_what_the_writer_makes_is_accepted_before_it_is_spoilt(forge: Forge) -> None:
    assert judge(forge.evidence(vcek=issued(forge, PRODUCTS["genoa"])), forge.policy()).bound


@pytest.mark.parametrize(
    ("levels", "check"),
    [
        (((3, 6),), "snp.certificates.malformed"),
        (((3, 1),), "snp.certificates.malformed"),
        (((10, 1),), "snp.endorsement.extension"),
    ],
    ids=["the same level twice", "a level twice with another value", "a level that nobody knows"],
)
def test_duplicate_and_unknown_extensions(
    forge: Forge, levels: tuple[tuple[int, int], ...], check: str
) -> None:
    genoa = PRODUCTS["genoa"]
    spoilt = issued(forge, genoa, spl_extensions=(*genoa.spl_extensions, *levels))
    assert refuse(forge.evidence(vcek=spoilt), forge).checks == (check,)


def test_a_foreign_extension_that_is_not_critical_says_nothing(forge: Forge) -> None:
    from cryptography import x509

    own = x509.SubjectKeyIdentifier.from_public_key(forge.vcek_key.public_key())
    other = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    vcek = forge.vcek(extra=((own, False), (other, False)))
    assert judge(forge.evidence(vcek=vcek), forge.policy()).bound


# VLEK


def test_a_vlek_names_its_cloud_and_no_chip(forge: Forge) -> None:
    policy = pinned(forge)
    assert snp_facts(judge(vlek(forge), policy)).csp_id == "CN=cloud.example"
    for identity in (
        make.extensions(hw_id=None),
        make.extensions(hw_id=CHIP_ID),
        make.extensions(hw_id=CHIP_ID, csp_id="CN=cloud.example"),
    ):
        with pytest.raises(Rejected) as refused:
            judge(vlek(forge, extensions=identity), policy)
        assert refused.value.checks == ("snp.endorsement.kind",)
    both = make.extensions(csp_id="CN=cloud.example")
    with pytest.raises(Rejected) as refused:
        judge(forge.evidence(vcek=forge.vcek(extensions=both)), policy)
    assert refused.value.checks == ("snp.endorsement.kind",)


def test_a_vlek_of_another_generation(forge: Forge) -> None:
    identity = make.extensions(product_name="Milan", hw_id=None, csp_id="CN=cloud.example")
    with pytest.raises(Rejected) as refused:
        judge(vlek(forge, extensions=identity), pinned(forge))
    assert refused.value.checks == ("snp.product",)


def test_a_vlek_binds_its_tcb_like_a_vcek(forge: Forge) -> None:
    older = replace(make.GENOA_TCB, microcode=83)
    identity = make.extensions(older, hw_id=None, csp_id="CN=cloud.example")
    with pytest.raises(Rejected) as refused:
        judge(vlek(forge, extensions=identity), pinned(forge))
    assert refused.value.checks == ("snp.tcb.certificate",)


def test_a_vlek_needs_its_own_authority() -> None:
    """The ASK's chain beside a VLEK, the ASVK's beside a VCEK, and each key in the other's place."""
    by_cloud, by_chip = row("genoa-v5-vlek"), row("bergamo-v3-vcek")
    swapped = (
        (by_cloud, replace(by_cloud.evidence(), chain=by_chip.chain)),
        (by_chip, replace(by_chip.evidence(), chain=by_cloud.chain)),
        (by_cloud, replace(by_cloud.evidence(), vcek=by_chip.certificate)),
        (by_chip, replace(by_chip.evidence(), vcek=by_cloud.certificate)),
    )
    for made, evidence in swapped:
        with pytest.raises(Rejected) as refused:
            judge_row(made, evidence)
        assert refused.value.checks == ("snp.chain.key",)
    pairs = ((by_cloud, by_chip), (by_chip, by_cloud))
    for made, other in pairs:
        whole = SnpEvidence(made.report, other.certificate, other.chain, other.crl)
        with pytest.raises(Rejected) as refused:
            judge_row(made, whole)
        assert refused.value.checks == ("snp.signer.certificate",)


def test_revocation_names_an_authority_by_issuer_and_serial() -> None:
    """An ASK's serial on the list says nothing of a VLEK's authority, and an ASVK's nothing of a VCEK's."""
    asvk_revoked = row("genoa-v3-revoked-asvk").crl
    chip, cloud = row("bergamo-v3-vcek"), row("genoa-v5-vlek")
    assert judge_row(chip, replace(chip.evidence(), crl=asvk_revoked)).product == "Genoa"
    with pytest.raises(Rejected) as refused:
        judge_row(cloud, replace(cloud.evidence(), crl=asvk_revoked))
    assert refused.value.checks == ("snp.crl.revoked",)
    assert "ASVK" in refused.value.findings[0].message
    others = row("turin-v5-revoked-ask").crl
    with pytest.raises(Rejected) as refused:
        judge_row(chip, replace(chip.evidence(), crl=others))
    assert refused.value.checks == ("snp.crl.issuer",)


def test_the_authorities_that_the_simulator_issues_are_told_apart() -> None:
    made = row("turin-v5-vlek")
    asvk = certificates.load_authority(made.chain[0], "ASVK")
    assert (asvk.common_name, asvk.serial) == ("SEV-VLEK-Turin", 0x30101)
    leaf = certificates.load_endorsement(made.certificate, "VLEK")
    assert (leaf.common_name, leaf.serial) == ("SEV-VLEK", 0)
    assert isinstance(leaf.key.curve, ec.SECP384R1)


# Certificate tables


def laid_out(*parts: tuple[UUID, bytes], order: tuple[int, ...] | None = None, gap: int = 0) -> bytes:
    """A table whose contents stand in another order than its entries, ``gap`` zeros before each."""
    offsets: dict[int, int] = {}
    body, at = b"", 24 * (len(parts) + 1)
    for index in order or tuple(range(len(parts))):
        offsets[index] = at + len(body) + gap
        body += bytes(gap) + parts[index][1]
    head = b"".join(
        guid.bytes + struct.pack("<II", offsets[index], len(data)) for index, (guid, data) in enumerate(parts)
    )
    return head + bytes(24) + body


VCEK, ARK = UUID("63da758d-e664-4564-adc5-f4b93be8accd"), UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
ASK = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")
VLEK = UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")


def test_a_clouds_own_entries_and_another_order_do_not_hide_the_certificates() -> None:
    parts = ((GOOGLES_ENTRY, b"an endorsement of firmware"), (VCEK, b"key"), (ARK, b"root"))
    for order, gap in (((0, 1, 2), 0), ((2, 0, 1), 0), ((1, 2, 0), 40)):
        found = table.decode(laid_out(*parts, order=order, gap=gap))
        assert found == table.CertificateTable(vcek=b"key", ark=b"root")


def test_an_extended_report_is_recognised_whatever_stands_first_in_its_table() -> None:
    made = row("genoa-v5-vlek")
    own = laid_out((GOOGLES_ENTRY, b"an endorsement of firmware"), (VLEK, made.certificate))
    for data in (made.extended(), made.report + own, made.report + own.ljust(0x4000, b"\0")):
        assert recognise(data) is EvidenceKind.SNP_EXTENDED_REPORT
        assert table.decode(data[len(made.report) :]).vlek == made.certificate


def test_certificates_in_pem_are_read_and_nothing_but_one_in_each_entry() -> None:
    made = row("turin-v5-vcek")
    ask, ark = (encode_certificate(der) for der in made.chain)
    data = laid_out(
        (VCEK, encode_certificate(made.certificate).encode()), (ASK, ask.encode()), (ARK, made.chain[1])
    )
    found = table.decode(data)
    assert (found.vcek, (found.ask, found.ark)) == (made.certificate, made.chain)
    for contents, check in (
        (ask + ark, "snp.certificates.table"),
        (ask.replace("END", "ENT"), "pem.malformed"),
        (ask + "more", "pem.malformed"),
        (ask.replace("M", "\xe9", 1), "pem.malformed"),
    ):
        with pytest.raises(Rejected) as refused:
            table.decode(laid_out((ASK, contents.encode())))
        assert refused.value.checks == (check,)


def test_what_is_not_amds_is_bounded_all_the_same() -> None:
    good = laid_out((GOOGLES_ENTRY, b"x" * 9), (VCEK, b"key"))
    spoilt = {
        "past the end": good[:20] + struct.pack("<I", 10_000) + good[24:],
        "overlap": good[:20] + struct.pack("<I", 10) + good[24:],
        "empty": good[:20] + struct.pack("<I", 0) + good[24:],
        "twice": laid_out((GOOGLES_ENTRY, b"x"), (GOOGLES_ENTRY, b"y")),
        "too many": laid_out(*((UUID(int=number), b"x") for number in range(1, 18))),
    }
    for data in spoilt.values():
        with pytest.raises(Rejected) as refused:
            table.decode(data)
        assert refused.value.checks == ("snp.certificates.table",)
