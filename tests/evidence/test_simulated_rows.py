"""Evidence that the shared vectors lack: each row's facts, and its verdict under the plain policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.evidence import simulated_rows
from tests.evidence.simulated_rows import ACCEPTED, AT, CSP_ID, NAMES, SimulatedRow, row
from wasmkeep.evidence import UNBOUND, AttestationResult, Rejected, SnpEvidence, verify
from wasmkeep.evidence.snp import table
from wasmkeep.evidence.snp.report import REPORT_SIZE, parse

REFUSED = tuple(name for name in NAMES if name not in ACCEPTED)


def judge(made: SimulatedRow, evidence: SnpEvidence | None = None, **changes: object) -> AttestationResult:
    policy = replace(made.policy(), **changes)  # type: ignore[arg-type]  # named fields
    return verify(
        evidence or made.evidence(),
        policy,
        at=made.at,
        binding=UNBOUND,
        host_data=UNBOUND,
        reference_values={},
    )


def test_the_rows_cover_what_the_shared_ones_lack() -> None:
    kinds = {(row(name).product, row(name).is_vlek) for name in ACCEPTED}
    assert {("Turin", False), ("Turin", True), ("Genoa", True), ("Milan", True)} <= kinds


@pytest.mark.parametrize("name", ACCEPTED)
def test_genuine_evidence_is_accepted_with_its_facts(name: str) -> None:
    made = row(name)
    result = judge(made)
    facts, expected = result.snp, made.expected
    assert facts is not None
    assert (result.simulated, result.product, facts.signer) == (True, made.product, expected["signed_by"])
    assert result.launch_digest.hex() == expected["measurement"]
    for field in ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"):
        tcb = getattr(facts, field)
        names = {"bootloader": "bl", "microcode": "ucode"}
        parts = ("fmc", "bootloader", "tee", "snp", "microcode")
        found = {names.get(part, part): getattr(tcb, part) for part in parts}
        assert {part: value for part, value in found.items() if value is not None} == expected[field]
    assert facts.csp_id == (CSP_ID if made.is_vlek else None)
    assert facts.product_name == expected["vek_product_name"]


@pytest.mark.parametrize("name", NAMES)
def test_the_report_says_what_the_machine_was_told(name: str) -> None:
    made = row(name)
    report, expected = parse(made.report), made.expected
    assert report.version == expected["report_version"]
    assert hex(report.policy) == expected["policy"]
    assert hex(report.platform_info) == expected["platform_info"]
    assert (report.vmpl, report.mask_chip_key) == (expected["vmpl"], expected["mask_chip_key"])
    assert report.chip_id.hex() == expected["chip_id"]
    assert report.report_data.hex() == expected["report_data"]
    cpuid = (report.cpuid_family, report.cpuid_model, report.cpuid_stepping)
    said = bytes(part for part in cpuid if part is not None).hex()
    assert said == expected.get("cpuid_fam_mod_step", "")
    assert (report.current_mit_vector is not None) is (report.version == 5)
    assert report.encode() == made.report


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_acceptable_is_refused_by_the_right_check(name: str) -> None:
    made = row(name)
    with pytest.raises(Rejected) as refused:
        judge(made)
    assert refused.value.checks == (made.check,)


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_extended_report_carries_the_same_evidence(name: str) -> None:
    made = row(name)
    found = table.decode(made.extended()[REPORT_SIZE:])
    own, other = (found.vlek, found.vcek) if made.is_vlek else (found.vcek, found.vlek)
    assert other is None
    assert own is not None
    assert found.ask is not None
    assert found.ark is not None
    evidence = SnpEvidence(made.report, own, (found.ask, found.ark), found.crl)
    assert evidence == made.evidence()


def test_rows_are_written_in_the_form_of_the_shared_ones(tmp_path: Path) -> None:
    pin = simulated_rows.write(tmp_path, only=("turin-v5-vcek", "genoa-v5-vlek"))
    assert pin == row("turin-v5-vcek").pin
    assert (tmp_path / "snp/genoa-v5-vlek/vlek.der").read_bytes() == row("genoa-v5-vlek").certificate
    assert (tmp_path / "snp/ca-roots/turin-ask-ark-asvk.pem").is_file()
    assert row("turin-v5-vcek").at == AT
