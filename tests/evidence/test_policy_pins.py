"""Policies made from evidence accept it and refuse what differs; what is written reads as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import pytest

from tests.evidence import forge as make
from tests.evidence.forge import AT, Forge
from tests.evidence.test_policy import every_key as every_key
from tests.evidence.test_verification import judge
from tests.evidence.vectors import FOLDER, accepted, needs_vectors, plain, rows
from wasmkeep.evidence import UNBOUND, AttestationResult, Policy, Rejected, verify
from wasmkeep.evidence.dcap.collateral_json import decode
from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence
from wasmkeep.evidence.dcap.policy import TCB_STATUSES
from wasmkeep.evidence.policy_pins import pinned
from wasmkeep.evidence.policy_writing import document, toml
from wasmkeep.evidence.snp.report import Report

QUOTES = {
    # row → a moment at which all of it is in date; the levels of these are Intel's word, not ours to mend
    "tdx/v4-uptodate": datetime(2025, 7, 4, 10, 16, 31, tzinfo=UTC),
    "tdx/v5-uptodate": datetime(2026, 2, 25, 0, 45, 50, tzinfo=UTC),
    "tdx/v5-relaunch-advised": datetime(2026, 3, 31, 22, 20, 7, tzinfo=UTC),
    "tdx/v4-outofdate": datetime(2025, 7, 22, 9, 13, 34, tzinfo=UTC),
    "sgx/v3-config-and-sw-hardening": datetime(2025, 7, 4, 10, 28, 44, tzinfo=UTC),
    "sgx/v3-outofdate-platform-ca": datetime(2025, 8, 30, 5, 9, 6, tzinfo=UTC),
}


def through_a_file(policy: Policy) -> Policy:
    return Policy.from_toml(document(policy, heading=["made", "in a test"]), name=policy.name)


@cache
def quote(row: str) -> TdxEvidence | SgxEvidence:
    folder = FOLDER / row
    collateral = decode((folder / "collateral.json").read_bytes())
    data = (folder / "quote.bin").read_bytes()
    return TdxEvidence(data, collateral) if row.startswith("tdx") else SgxEvidence(data, collateral)


def trusting() -> Policy:
    policy = plain()
    return replace(
        policy,
        tdx=replace(policy.tdx, tcb_statuses=TCB_STATUSES),
        sgx=replace(policy.sgx, tcb_statuses=TCB_STATUSES),
    )


def judge_quote(row: str, policy: Policy) -> AttestationResult:
    return verify(quote(row), policy, at=QUOTES[row], binding=UNBOUND, reference_values={})


def test_a_policy_reads_as_it_was_written(every_key: str) -> None:
    for policy in (Policy.from_toml(every_key, name="p"), Policy(name="p"), replace(plain(), name="p")):
        assert through_a_file(policy) == policy


def test_what_no_key_holds_is_not_written() -> None:
    with pytest.raises(TypeError):
        toml(1.5)


@needs_vectors
@pytest.mark.parametrize("row", sorted(accepted()))
def test_real_reports(row: str) -> None:
    vector = rows()[row]
    result = verify(vector.evidence(), plain(), at=vector.at, binding=UNBOUND, reference_values={})
    policy = through_a_file(pinned([result], name="made"))
    again = verify(vector.evidence(), policy, at=vector.at, binding=UNBOUND, reference_values={})
    assert again.reference is not None
    assert policy.snp.generations == (result.product,)
    others = [other for other in accepted() if rows()[other].evidence().report != vector.evidence().report]
    for other in others:
        evidence = rows()[other].evidence()
        with pytest.raises(Rejected):
            verify(evidence, policy, at=rows()[other].at, binding=UNBOUND, reference_values={})


@needs_vectors
@pytest.mark.parametrize("row", QUOTES)
def test_real_quotes(row: str) -> None:
    policy = through_a_file(pinned([judge_quote(row, trusting())], name="made"))
    assert judge_quote(row, policy).reference is not None
    part = policy.tdx if row.startswith("tdx") else policy.sgx
    assert len(part.fmspcs) == 1
    for other in QUOTES:
        if quote(other).quote != quote(row).quote:
            with pytest.raises(Rejected):
                judge_quote(other, policy)


@needs_vectors
def test_several_pieces_of_evidence_make_one_policy() -> None:
    """Platforms of both vendors, each with its own statuses and machines."""
    results = [judge_quote(row, trusting()) for row in QUOTES]
    vectors = [rows()[row] for row in accepted()]
    results += [
        verify(one.evidence(), plain(), at=one.at, binding=UNBOUND, reference_values={}) for one in vectors
    ]
    policy = through_a_file(pinned(results, name="made"))
    assert set(policy.platforms) == {"tdx", "sgx", "snp"}
    assert all(judge_quote(row, policy).reference for row in QUOTES)
    for one in vectors:
        assert verify(one.evidence(), policy, at=one.at, binding=UNBOUND, reference_values={}).reference


WORSE: dict[str, tuple[Report, str]] = {
    # what a report that was not pinned would show, and the check that says so
    "older firmware": (make.report(committed_minor=54, current_minor=54), "snp.abi"),
    "older launch": (
        make.report(launch_tcb=replace(make.GENOA_TCB, microcode=83).encode()),
        "snp.tcb.launch",
    ),
    "another stepping": (make.report(cpuid_stepping=2), "snp.stepping"),
    "another image": (make.report(measurement=bytes(48)), "snp.measurement"),
    "another guest policy": (make.report(policy=0x230000), "snp.policy.cxl"),
    "less of the platform": (make.report(platform_info=0x21), "snp.platform.required"),
    "an ID key": (make.report(id_key_digest=b"\1" * 48), ""),
    "a lower level": (make.report(vmpl=1), "snp.vmpl"),
}


@pytest.mark.parametrize("what", WORSE)
def test_a_pinned_report_refuses_what_is_worse(forge: Forge, what: str) -> None:
    policy = through_a_file(pinned([judge(forge.evidence(), forge.policy())], name="made"))
    assert judge(forge.evidence(), policy).bound
    unsigned, check = WORSE[what]
    if not check:
        assert judge(forge.evidence(unsigned), policy).bound, "nothing was there to pin"
        return
    with pytest.raises(Rejected) as caught:
        judge(forge.evidence(unsigned), policy)
    assert check in caught.value.checks


def test_what_evidence_shows_is_pinned(forge: Forge) -> None:
    """The rest of what a report can show: mitigations, identities, bits that protect, what it gives up."""
    unsigned = make.report(
        version=5,
        launch_mit_vector=7,
        current_mit_vector=3,
        policy=0x330130,
        id_key_digest=b"\1" * 48,
        author_key_digest=b"\2" * 48,
        family_id=b"\3" * 16,
        image_id=b"\4" * 16,
        key_info=1,
        guest_svn=9,
        vmpl=2,
        committed_build=24,
        platform_info=0x125,
    )
    policy = replace(plain(), simulated=forge.pin)
    evidence = replace(forge.evidence(unsigned), crl=None)
    snp = pinned([judge(evidence, policy)], name="made")
    assert not snp.revocation.required
    made = snp.snp
    assert (dict(made.launch_mitigations), dict(made.current_mitigations)) == ({"Genoa": 7}, {"Genoa": 3})
    assert (made.minimum_guest_svn, made.maximum_vmpl, made.guest_minimum_abi) == (9, 2, (1, 0x30))
    assert (set(made.id_key_digests), set(made.author_key_digests)) == ({b"\1" * 48}, {b"\2" * 48})
    assert (set(made.family_ids), set(made.image_ids)) == ({b"\3" * 16}, {b"\4" * 16})
    assert made.provisional_firmware
    assert made.unknown_platform_bits
    assert dict(made.minimum_report_version) == {"Genoa": 5}
    assert judge(evidence, through_a_file(snp)).bound


def test_a_masked_chip_is_pinned_as_masked(forge: Forge) -> None:
    evidence = forge.evidence(make.report(chip_id=bytes(64)))
    made = pinned([judge(evidence, replace(plain(), simulated=forge.pin))], name="made")
    assert (made.snp.masked_chip_id, made.snp.chips_allow) == (True, frozenset())
    assert judge(evidence, through_a_file(made)).bound


def test_two_machines_are_both_accepted(forge: Forge) -> None:
    one, other = forge.evidence(), forge.evidence(make.report(policy=0x20000, cpuid_stepping=2))
    results = [judge(evidence, forge.policy()) for evidence in (one, other)]
    made = through_a_file(pinned(results, name="made"))
    assert made.snp.steppings == {"Genoa": frozenset({1, 2})}
    assert all(judge(evidence, made).bound for evidence in (one, other))


def test_nothing_is_made_from_nothing(forge: Forge, other: Forge) -> None:
    with pytest.raises(ValueError, match="SEV-SNP"):
        pinned([], name="made")
    two = [judge(one.evidence(), one.policy()) for one in (forge, other)]
    with pytest.raises(ValueError, match="one simulator"):
        pinned(two, name="made")
    assert two[0].at == AT
