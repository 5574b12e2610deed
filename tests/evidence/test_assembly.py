"""Evidence put together from bytes: what belongs to it is found, and nothing but `Rejected` is raised."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evidence import dcap_forge, dcap_rows
from tests.evidence import forge as make
from tests.evidence.forge import Forge
from tests.evidence.sev_forge import SevForge
from tests.evidence.soak import SETTINGS
from tests.evidence.test_kinds import NOT_JUDGED
from tests.evidence.test_refusals import vlek
from tests.evidence.vectors import FOLDER, needs_vectors
from wasmkeep.evidence import Material, Rejected, SnpEvidence, assemble, cmw
from wasmkeep.evidence.assembly import assemble_sev
from wasmkeep.evidence.dcap import collateral_json, quote
from wasmkeep.evidence.dcap.explain import explain, explain_collateral
from wasmkeep.evidence.pem import encode_certificate
from wasmkeep.evidence.snp import explain as snp_explain
from wasmkeep.evidence.snp.report import parse
from wasmkeep.evidence.snp.table import CertificateTable, encode


def material_of(evidence: SnpEvidence, *, pem: bool = False) -> Material:
    material = Material()
    for der in (evidence.vcek, *evidence.chain):
        assert material.add(encode_certificate(der).encode() if pem else der)
    if evidence.crl is not None:
        assert material.add(evidence.crl)
    return material


@pytest.mark.parametrize("pem", [False, True])
def test_a_report_with_its_certificates(forge: Forge, pem: bool) -> None:
    for evidence in (forge.evidence(), forge.evidence(crl=None), vlek(forge)):
        assert assemble(evidence.report, material_of(evidence, pem=pem)) == evidence


def test_an_extended_report_carries_its_own(forge: Forge, other: Forge) -> None:
    """What stands beside the report comes first; of several keys, the one that signed."""
    evidence = forge.evidence(crl=None)
    ask, ark = evidence.chain
    table = encode(CertificateTable(vcek=evidence.vcek, ask=ask, ark=ark))
    assert assemble(evidence.report + table) == evidence
    assert assemble(evidence.report + table, material_of(other.evidence(crl=None))) == evidence
    with pytest.raises(Rejected) as caught:
        assemble(evidence.report + encode(CertificateTable(vcek=b"no certificate")))
    assert caught.value.check == "snp.certificates.table"


def test_of_several_keys_and_authorities_those_that_signed(forge: Forge, other: Forge) -> None:
    mine, others = forge.evidence(crl=None), other.evidence(crl=None)
    for first, second in ((mine, others), (others, mine)):
        material = Material()
        for evidence in (first, second):
            for der in (evidence.vcek, *evidence.chain):
                material.add(der)
        assert assemble(mine.report, material) == mine


def test_the_newest_list_counts_whoever_carried_it(forge: Forge) -> None:
    evidence = forge.evidence()
    newer = forge.crl(issued=make.AT)
    collection = cmw.encode(cmw.EvidenceCollection(evidence))
    material = Material()
    assert material.add(newer)
    found = assemble(collection, material)
    assert isinstance(found, SnpEvidence)
    assert found.crl == newer
    assert assemble(collection) == evidence
    assert assemble(cmw.encode(cmw.EvidenceCollection(found)), material_of(evidence)) == found


def test_what_is_missing_is_named(forge: Forge) -> None:
    evidence = forge.evidence()
    for left_out, word in enumerate(("VCEK", "ASK", "ARK")):
        material = Material()
        for number, der in enumerate((evidence.vcek, *evidence.chain)):
            if number != left_out:
                material.add(der)
        with pytest.raises(Rejected) as caught:
            assemble(evidence.report, material)
        assert caught.value.check == "snp.chain.missing"
        assert word in caught.value.message


@pytest.mark.parametrize("name", NOT_JUDGED)
def test_what_is_not_judged(name: str) -> None:
    data, _, check, _ = NOT_JUDGED[name]
    with pytest.raises(Rejected) as caught:
        assemble(data)
    assert caught.value.check == check


@pytest.mark.parametrize("data", [b"", b"hello", b"{}", b"0\x82\1\0" + bytes(256)])
def test_what_is_no_evidence(data: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        assemble(data)
    assert caught.value.check == "evidence.unknown"
    assert not Material().add(data)


def test_a_platforms_certificates(sev_forge: SevForge) -> None:
    certificates = sev_forge.evidence().certificates
    material = Material()
    assert assemble_sev(material) is None
    for name in ("ark", "ask", "cek", "pek", "oca"):
        assert material.add(getattr(certificates, name))
    with pytest.raises(Rejected) as caught:
        assemble_sev(material)
    assert caught.value.check == "sev.chain.missing"
    assert material.add(certificates.pdh)
    assert assemble_sev(material) == certificates


def test_quotes_and_the_collateral_of_their_platform() -> None:
    tdx, sgx = dcap_forge.tdx().evidence(), dcap_forge.sgx().evidence()
    for evidence, decoy in ((tdx, sgx), (sgx, tdx)):
        assert decoy.collateral is not None
        assert evidence.collateral is not None
        for order in ((decoy, evidence), (evidence, decoy)):
            material = Material()
            for one in order:
                assert one.collateral is not None
                assert material.add(collateral_json.encode(one.collateral))
            assert assemble(evidence.quote, material) == evidence
        assert assemble(evidence.quote) == type(evidence)(evidence.quote)
        bare = cmw.encode(cmw.EvidenceCollection(type(evidence)(evidence.quote)))
        material = Material()
        material.add(collateral_json.encode(evidence.collateral))
        assert assemble(bare, material) == evidence


@needs_vectors
def test_every_real_quote_goes_with_its_collateral_among_all() -> None:
    """Rows share families of platforms: then any collateral of the family and kind will do."""
    material = Material()
    for path in sorted(FOLDER.glob("*/*/collateral.json")):
        material.add(path.read_bytes())
    for row in dcap_rows.rows().values():
        found = assemble(row.read("quote.bin"), material)
        own = dcap_rows.evidence_of(row)
        assert type(found) is type(own)
        collateral = getattr(found, "collateral", None)
        assert collateral is not None
        assert own.collateral is not None
        names = [json.loads(one.tcb_info) for one in (collateral, own.collateral)]
        assert len({(one["id"], one["fmspc"].lower()) for one in names}) == 1


@SETTINGS
@given(st.binary(max_size=1500))
def test_noise_raises_nothing_else(data: bytes) -> None:
    for start in (b"", b"HCLA", b"\2\0\0\0", b"\4\0\2\0\x81\0\0\0", b'{"__cmwc_t":', b"\xa1h__cmwc_t"):
        with suppress(Rejected):
            assemble(start + data)
        with suppress(Rejected):
            Material().add(start + data)


def test_every_field_of_a_report_is_explained(forge: Forge) -> None:
    """Flipping any byte that parses changes what is said."""
    report = forge.evidence().report
    before = snp_explain.explain(parse(report))
    shown = 0
    for at in range(0x2A0):
        changed = bytearray(report)
        changed[at] ^= 1
        with suppress(Rejected):
            assert snp_explain.explain(parse(bytes(changed))) != before, hex(at)
            shown += 1
    assert shown > 450


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_every_field_of_a_quote_is_explained(tee: str) -> None:
    machine = dcap_forge.tdx() if tee == "tdx" else dcap_forge.sgx()
    data = machine.quote()
    before = explain(quote.parse(data))
    size = len(quote.parse(data).signed_part)
    shown = 0
    for at in range(size):
        changed = bytearray(data)
        changed[at] ^= 1
        with suppress(Rejected):
            assert explain(quote.parse(bytes(changed))) != before, hex(at)
            shown += 1
    assert shown > 280
    assert {"RTMR0", "MRTD"} <= {line.name for line in before} or tee == "sgx"
    assert all(line.name and line.value for line in before if line.name != "auth data")


def test_collateral_is_explained() -> None:
    from wasmkeep.evidence.dcap import collateral

    made = dcap_forge.tdx().evidence().collateral
    assert made is not None
    said = {(line.group, line.name) for line in explain_collateral(collateral.parse(made))}
    assert {("TCB info", "level"), ("QE identity", "MRSIGNER"), ("PCK CRL", "revoked")} <= said
