"""Verdicts on evidence of the tests' own chain: what is accepted, and what the result then says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from tests.evidence import forge as make
from tests.evidence.forge import AT, HOST_DATA, MEASUREMENT, REFERENCES, REPORT_DATA, Forge
from wasmkeep.evidence import UNBOUND, AttestationResult, Policy, Rejected, SnpEvidence, verify
from wasmkeep.evidence.policy import RevocationPolicy, SnpPolicy
from wasmkeep.evidence.snp.facts import SnpFacts
from wasmkeep.evidence.snp.report import Report


def judge(evidence: SnpEvidence, policy: Policy, **changes: object) -> AttestationResult:
    """Verify with everything that a session would give."""
    arguments: dict[str, object] = {
        "at": AT,
        "binding": REPORT_DATA,
        "reference_values": REFERENCES,
        "host_data": HOST_DATA,
    }
    return verify(evidence, policy, **(arguments | changes))  # type: ignore[arg-type]  # named arguments


def snp_facts(result: AttestationResult) -> SnpFacts:
    """What an SNP report's result always has."""
    assert result.snp is not None
    assert result.sev is None
    return result.snp


def test_a_simulated_genoa_passes_the_default_policy(forge: Forge) -> None:
    result = judge(forge.evidence(), forge.policy())
    assert (result.tee, result.product, result.tcb) == ("snp", "Genoa", "10.0.23.84")
    assert result.simulated
    assert "sha256:" + result.root_spki.hex() == forge.pin == result.root.pin
    assert result.chain == ("VCEK", "ASK", "ARK")
    assert result.reference == "wasmkeep 0.1.0"
    assert result.bound
    assert result.host_data_bound
    assert result.launch_digest == MEASUREMENT
    assert result.chip == "any chip of this generation"
    assert result.revocation.startswith("CRL fresh")
    assert [entry.what for entry in result.lost_protections] == ["simulated"]
    assert result.policy_checks == (
        "no debug",
        "no migration",
        "TCB ≥ 9.0.23.72",
        "VMPL 0",
        "memory alias check",
        "any chip of this generation",
    )


def test_turin_has_its_own_tcb_layout_and_chip_id(forge: Forge) -> None:
    identity = make.extensions(make.TURIN_TCB, "Turin", make.TURIN_CHIP_ID[:8])
    evidence = forge.evidence(
        make.turin(),
        vcek=forge.vcek(issuer="SEV-Turin", extensions=identity),
        chain=(forge.ask("Turin"), forge.ark("Turin")),
        crl=forge.crl(issuer="ARK-Turin"),
    )
    result = judge(evidence, forge.policy())
    assert (result.product, result.tcb) == ("Turin", "1.2.1.4.75")
    assert snp_facts(result).report.current_mit_vector == 0x3F


def test_bergamo_is_genoa_with_microcode_numbers_of_its_own(forge: Forge) -> None:
    tcb = replace(make.GENOA_TCB, microcode=27)
    value = tcb.encode()
    unsigned = make.report(
        cpuid_model=0xA0, reported_tcb=value, current_tcb=value, committed_tcb=value, launch_tcb=value
    )
    evidence = forge.evidence(unsigned, vcek=forge.vcek(extensions=make.extensions(tcb)))
    result = judge(evidence, forge.policy())
    assert (result.product, snp_facts(result).model_line) == ("Genoa", "Bergamo")
    assert snp_facts(result).minimum_tcb.microcode == 25


def test_a_denied_generation_is_accepted_only_by_name_and_says_so(forge: Forge) -> None:
    tcb = replace(make.GENOA_TCB, snp=24, microcode=219)
    value = tcb.encode()
    unsigned = make.report(
        cpuid_model=0x01, reported_tcb=value, current_tcb=value, committed_tcb=value, launch_tcb=value
    )
    evidence = forge.evidence(
        unsigned,
        vcek=forge.vcek(issuer="SEV-Milan", extensions=make.extensions(tcb, "Milan-B0")),
        chain=(forge.ask("Milan"), forge.ark("Milan")),
        crl=forge.crl(issuer="ARK-Milan"),
    )
    with pytest.raises(Rejected) as caught:
        judge(evidence, forge.policy())
    assert caught.value.checks == ("snp.generation",)
    assert "extractable" in caught.value.findings[0].meaning

    result = judge(evidence, forge.policy(snp=SnpPolicy(generations=("Milan",))))
    assert [entry.what for entry in result.lost_protections] == ["simulated", "denied-generation-allowed"]
    assert result.product == "Milan"


def test_the_simulated_flag_comes_from_the_pin_and_from_nothing_else(forge: Forge, other: Forge) -> None:
    """A pin that is another simulator's, or no pin: the same evidence is refused."""
    evidence = forge.evidence()
    for policy in (other.policy(), Policy.default()):
        with pytest.raises(Rejected) as caught:
            judge(evidence, policy)
        assert caught.value.checks == ("snp.root",)


def test_a_pinned_simulator_excludes_vendors(forge: Forge) -> None:
    assert {root.pin for root in forge.policy().roots.values()} == {forge.pin}
    assert not any(root.simulated for root in Policy.default().roots.values())


def test_unbound_evidence_says_so(forge: Forge) -> None:
    result = judge(forge.evidence(), forge.policy(), binding=UNBOUND, host_data=UNBOUND)
    assert not result.bound
    assert not result.host_data_bound


def test_a_launch_digest_may_be_listed_itself(forge: Forge) -> None:
    policy = forge.policy(runtime=(MEASUREMENT.hex(),))
    result = judge(forge.evidence(), policy, reference_values={})
    assert result.reference == "launch digest 00010203…2e2f"


def test_a_reference_value_counts_only_under_a_name_that_the_policy_lists(forge: Forge) -> None:
    policy = forge.policy(runtime=("wasmkeep 0.2.0",))
    with pytest.raises(Rejected) as caught:
        judge(forge.evidence(), policy)
    assert caught.value.checks == ("snp.measurement",)


def test_failures_are_reported_together(forge: Forge) -> None:
    """An old TCB, also at launch, and no revocation list, in one refusal."""
    tcb = replace(make.GENOA_TCB, bootloader=7)
    value = tcb.encode()
    unsigned = make.report(reported_tcb=value, committed_tcb=value, current_tcb=value, launch_tcb=value)
    evidence = forge.evidence(unsigned, vcek=forge.vcek(extensions=make.extensions(tcb)), crl=None)
    with pytest.raises(Rejected) as caught:
        judge(evidence, forge.policy())
    assert set(caught.value.checks) == {"snp.tcb.minimum", "snp.tcb.launch", "snp.crl.missing"}
    assert "3 checks failed" in caught.value.message
    assert caught.value.exit_code == 77


@pytest.mark.parametrize("unsigned", [make.report(), make.version_2(), make.turin()], ids=["3", "2", "5"])
def test_nothing_unsigned_decides(forge: Forge, unsigned: Report) -> None:
    """With a bad signature there is one finding, whatever else is wrong in the report."""
    wrong = forge.evidence(report=unsigned._replace(policy=0xB0000, signature_r=1, signature_s=1).encode())
    with pytest.raises(Rejected) as caught:
        judge(wrong, forge.policy())
    assert caught.value.checks == ("snp.signature",)


def test_a_policy_that_requires_no_list_accepts_none_and_says_so(forge: Forge) -> None:
    policy = forge.policy(revocation=RevocationPolicy(required=False, in_date=False))
    for crl in (None, forge.crl(next_update=AT - timedelta(days=1))):
        result = judge(forge.evidence(crl=crl), policy)
        assert "no-revocation-list" in [entry.what for entry in result.lost_protections]
    with pytest.raises(Rejected) as caught:
        judge(forge.evidence(crl=forge.crl(serials=(0x20002,), next_update=AT - timedelta(days=1))), policy)
    assert caught.value.checks == ("snp.crl.revoked",)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("at", AT.replace(tzinfo=None)),
        ("binding", b"short"),
        ("host_data", bytes(31)),
        ("reference_values", {b"short": "x"}),
        ("crl_not_older_than", {"sha256:": AT.replace(tzinfo=None)}),
    ],
)
def test_misuse_is_not_a_rejection(forge: Forge, argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"bytes|aware"):
        judge(forge.evidence(), forge.policy(), **{argument: value})


def test_the_moment_may_be_in_any_zone(forge: Forge) -> None:
    at = datetime.fromtimestamp(AT.timestamp(), timezone(timedelta(hours=9)))
    assert judge(forge.evidence(), forge.policy(), at=at).at == AT


def test_another_kind_of_evidence_is_misuse(forge: Forge) -> None:
    with pytest.raises(TypeError):
        verify(object(), forge.policy(), at=AT, binding=UNBOUND, reference_values={})  # type: ignore[arg-type]  # on purpose


def test_the_age_of_evidence_is_that_of_its_challenge(forge: Forge) -> None:
    policy = forge.policy(max_evidence_age_s=600)
    for seconds in (0, 600):
        assert judge(forge.evidence(), policy, challenged_at=AT - timedelta(seconds=seconds)).bound
    wrong: list[dict[str, object]] = [
        {"challenged_at": None},
        {"challenged_at": AT, "binding": UNBOUND},
        {"challenged_at": AT - timedelta(seconds=601)},
        {"challenged_at": AT + timedelta(seconds=1)},
    ]
    for arguments in wrong:
        with pytest.raises(Rejected) as caught:
            judge(forge.evidence(), policy, **arguments)
        assert caught.value.checks == ("evidence.age",)
    assert judge(forge.evidence(), forge.policy(), challenged_at=AT - timedelta(days=999)).bound


def test_the_age_is_reported_with_what_else_is_wrong(forge: Forge) -> None:
    with pytest.raises(Rejected) as caught:
        judge(forge.evidence(make.report(vmpl=1)), forge.policy(max_evidence_age_s=1))
    assert caught.value.checks == ("snp.vmpl", "evidence.age")
