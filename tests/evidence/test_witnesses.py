"""Other implementations as witnesses, for evidence as it is and damaged: cvm-attest for SEV-SNP reports (its
network replaced by a row's own certificates), dcap-qvl for quotes. That of launch digests is elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import dcap_qvl  # type: ignore[import-untyped]  # its stubs are not marked as such
import pytest
from cvm_attest.models import AttestationEvidence, AttestStatus, TeeType  # type: ignore[import-untyped]
from cvm_attest.snp import verify as witness  # type: ignore[import-untyped]
from cvm_attest.snp.report import parse_snp_report  # type: ignore[import-untyped]

from tests.evidence import dcap_rows, quote_mutations, simulated_rows
from tests.evidence.mutations import flipped, positions
from tests.evidence.vectors import accepted, authorities, needs_vectors, rows, with_reports
from wasmkeep.evidence import UNBOUND, Rejected, SnpEvidence, verify
from wasmkeep.evidence.dcap import collateral_json, quote
from wasmkeep.evidence.pem import encode_certificate
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.snp.bits import GuestPolicyBit
from wasmkeep.evidence.snp.report import SIGNED_SIZE, parse
from wasmkeep.evidence.snp.tcb import Tcb, TcbLayout

# The witness reads certificates with serial number 0 as everybody's does, and does not say that it knows.
pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")

Ask = Callable[[SnpEvidence], Any]  # Any: the witness has no types


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """What the witness says of evidence. It would fetch certificates; it is given the evidence's own."""

    def asked(evidence: SnpEvidence) -> Any:
        chain = "".join(encode_certificate(der) for der in evidence.chain).encode()
        monkeypatch.setattr(witness, "_fetch_vcek_cert", lambda *_, **__: evidence.vcek)
        monkeypatch.setattr(witness, "_fetch_cert_chain", lambda *_, **__: chain)
        return witness.verify_evidence(AttestationEvidence(TeeType.SNP, raw_quote=evidence.report))

    return asked


def is_signed(evidence: SnpEvidence, at: Any) -> bool:
    """Whether we find the report's signature and chain to hold, whatever else we refuse."""
    try:
        verify(evidence, plain(), at=at, binding=UNBOUND, reference_values={})
    except Rejected as rejected:
        wrong = ("snp.signature", "snp.chain", "snp.root", "snp.certificates", "snp.report")
        return not any(check.startswith(wrong) for check in rejected.checks)
    return True


@needs_vectors
@pytest.mark.parametrize("row", with_reports())
def test_cvm_attest_finds_the_same_signatures(row: str, ask: Ask) -> None:
    vector = rows()[row]
    found = ask(vector.evidence())
    assert found.report_signature_valid == vector.expected["report_signature_valid"]
    assert found.cert_chain_valid == vector.expected["chain_valid"]
    assert is_signed(vector.evidence(), vector.at) == (found.status is AttestStatus.PASS)


@needs_vectors
@pytest.mark.parametrize("row", with_reports())
def test_cvm_attest_reads_the_same_report(row: str) -> None:
    data = rows()[row].report
    assert data is not None
    ours, theirs = parse(data), parse_snp_report(data)
    for field in ("version", "guest_svn", "vmpl"):
        assert getattr(ours, field) == theirs[field]
    same = ("family_id", "image_id", "report_data", "measurement", "host_data", "id_key_digest")
    for field in (*same, "author_key_digest", "report_id", "report_id_ma", "chip_id"):
        assert getattr(ours, field).hex() == theirs[field]
    for field in ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"):
        tcb = Tcb.decode(getattr(ours, field), TcbLayout.FAMILY_19H)
        named = {"boot_loader": tcb.bootloader, "tee": tcb.tee, "snp": tcb.snp, "microcode": tcb.microcode}
        assert named == {name: theirs[field][name] for name in named}
    assert int(theirs["policy"]["raw"], 16) == ours.policy
    assert theirs["policy"]["debug_allowed"] == bool(ours.policy & GuestPolicyBit.DEBUG)
    assert int(theirs["platform_info"]["raw"], 16) == ours.platform_info
    assert theirs["author_key_enabled"] == ours.author_key_en
    assert theirs["current_version"] == ".".join(map(str, ours.current_version))
    assert theirs["committed_version"] == ".".join(map(str, ours.committed_version))


@needs_vectors
@pytest.mark.parametrize("row", accepted())
def test_cvm_attest_refuses_damage_too(row: str, ask: Ask) -> None:
    evidence, at = rows()[row].evidence(), rows()[row].at
    for position in positions(SIGNED_SIZE, 12, row):
        spoilt = SnpEvidence(flipped(evidence.report, position), evidence.vcek, evidence.chain, evidence.crl)
        assert not is_signed(spoilt, at)
        assert ask(spoilt).status is not AttestStatus.PASS


@needs_vectors
def test_cvm_attest_and_chains_of_others(ask: Ask) -> None:
    vector = rows()[accepted()[0]]
    evidence = vector.evidence()
    for product in ("Genoa", "Turin"):
        other, root, _ = authorities(product)
        foreign = SnpEvidence(evidence.report, evidence.vcek, (other, root), evidence.crl)
        assert ask(foreign).cert_chain_valid is False
        assert not is_signed(foreign, vector.at)


@pytest.mark.parametrize("name", ["turin-v5-vcek", "turin-v5-vlek", "genoa-v3-vlek-vmpl-1", "milan-v2-vlek"])
def test_cvm_attest_accepts_what_the_simulator_signs(name: str, ask: Ask) -> None:
    """It knows no roots: whether a chain ends at AMD's is ours to say."""
    found = ask(simulated_rows.row(name).evidence())
    assert found.status is AttestStatus.PASS
    assert found.cert_chain_valid is True


def qvl_accepts(data: bytes, material: bytes, seconds: int) -> bool:
    """Whether dcap-qvl alone accepts a quote with collateral at a moment."""
    collateral = dcap_qvl.QuoteCollateralV3.from_json(material.decode("ascii"))
    policy = dcap_qvl.QuotePolicy.claims_only(seconds)
    with contextlib.suppress(ValueError):
        dcap_qvl.QuoteVerifier(None).verify_with_policy(data, collateral, seconds, policy)
        return True
    return False


@needs_vectors
@pytest.mark.parametrize("name", [*quote_mutations.accepted("tdx"), *quote_mutations.accepted("sgx")])
def test_dcap_qvl_refuses_damage_too(name: str) -> None:
    row = dcap_rows.rows()[name]
    evidence, parsed = quote_mutations.own(name)
    assert evidence.collateral is not None
    material = collateral_json.encode(evidence.collateral)
    seconds = int(row.at.timestamp())
    assert qvl_accepts(evidence.quote, material, seconds)
    for position in positions(len(parsed.signed_part), 25, name):
        assert not qvl_accepts(flipped(evidence.quote, position), material, seconds)


@needs_vectors
@pytest.mark.parametrize("name", dcap_rows.rows())
def test_dcap_qvl_reads_the_same_quote(name: str) -> None:
    data = dcap_rows.evidence_of(dcap_rows.rows()[name]).quote
    ours, theirs = quote.parse(data), dcap_qvl.parse_quote(data)
    assert theirs.header.version == ours.header.version
    assert bytes(theirs.report.report_data) == ours.body.report_data
    assert theirs.fmspc().lower() == dcap_rows.rows()[name].expected["fmspc"]
