"""Platforms that do not exist: each way in which a quote's signatures, chain or collateral can be wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.evidence.dcap_forge import (
    AT,
    BORN,
    DIES,
    ISSUED,
    Machine,
    isv_level,
    level,
    module,
    pin,
    sgx,
    tdx,
    tdx_10,
)
from wasmkeep.evidence import (
    UNBOUND,
    AttestationResult,
    Kind,
    Policy,
    Rejected,
    SgxEvidence,
    TdxEvidence,
    verify,
)
from wasmkeep.evidence.dcap import qvl
from wasmkeep.evidence.dcap.status import Status
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.tdx.bits import TdAttribute

MACHINES = {"sgx": sgx(), "tdx 1.5": tdx(), "tdx 1.0": tdx_10(), "tdx 1.0 in version 5": tdx_10(5)}
BROKEN = {
    "quote": "dcap.signature",
    "qe-report": "dcap.signature",
    "qe-key": "dcap.qe.key",
    "tcb-info": "dcap.collateral.signature",
    "qe-identity": "dcap.collateral.signature",
    "pck": "dcap.chain",
    "authority": "dcap.chain",
    "signer": "dcap.chain",
    "authority-list": "dcap.chain",
    "root-list": "dcap.crl.signature",
    "root": "dcap.root",
}


def judge(machine: Machine, policy: Policy | None = None, at: datetime = AT) -> AttestationResult:
    policy = policy or machine.policy()
    return verify(machine.evidence(), policy, at=at, binding=UNBOUND, reference_values={})


def refused_by(machine: Machine, policy: Policy | None = None, at: datetime = AT) -> tuple[str, ...]:
    with pytest.raises(Rejected) as refused:
        judge(machine, policy, at)
    return refused.value.checks


def lifting(machine: Machine) -> Policy:
    """A policy that allows whatever a body may say."""
    policy = machine.policy()
    td = replace(
        policy.tdx, debug=True, sept_ve=True, migratable=True, service_td=True, unknown_attributes=True
    )
    return replace(policy, tdx=td, sgx=replace(policy.sgx, debug=True))


def allowing(machine: Machine, *statuses: str) -> Policy:
    policy = machine.policy()
    return replace(
        policy,
        tdx=replace(policy.tdx, tcb_statuses=statuses),
        sgx=replace(policy.sgx, tcb_statuses=statuses),
    )


@pytest.mark.parametrize("name", MACHINES)
def test_a_good_one_is_accepted_as_simulated(name: str) -> None:
    machine = MACHINES[name]
    result = judge(machine)
    assert result.simulated
    assert "simulated" in {lost.what for lost in result.lost_protections}
    assert result.product == {"s": "SGX"}.get(name[0], name.upper()[:7])
    assert result.tcb == "UpToDate"
    assert (result.tdx is None, result.sgx is None) == (not machine.is_tdx, machine.is_tdx)


@pytest.mark.parametrize("name", MACHINES)
def test_it_is_nothing_to_a_policy_that_pins_no_simulator(name: str) -> None:
    assert refused_by(MACHINES[name], plain()) == ("dcap.root",)


def test_a_pinned_simulator_makes_intels_root_a_stranger() -> None:
    policy = plain().with_simulated("sha256:" + "ab" * 32)
    assert refused_by(tdx(), policy) == ("dcap.root",)


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
@pytest.mark.parametrize("part", BROKEN)
def test_each_signature_counts(part: str, tee: str) -> None:
    machine = {"tdx": tdx(), "sgx": sgx()}[tee].break_(part)
    assert set(refused_by(machine)) == {BROKEN[part]}


BODIES: dict[str, dict[str, Any]] = {
    "debug": {"attributes": int(TdAttribute.SEPT_VE_DISABLE | TdAttribute.DEBUG)},
    "profiling": {"attributes": int(TdAttribute.SEPT_VE_DISABLE | TdAttribute.PERF_PROF)},
    "no sept-ve": {"attributes": 0},
    "migratable": {"attributes": int(TdAttribute.SEPT_VE_DISABLE | TdAttribute.MIGRATABLE)},
    "service TD extension": {"attributes": int(TdAttribute.SEPT_VE_DISABLE | TdAttribute.SERVTD_EXT)},
    "reserved": {"attributes": int(TdAttribute.SEPT_VE_DISABLE) | 1 << 40},
    "service TD": {"mr_service_td": b"\x01" * 48},
}


@pytest.mark.parametrize("what", BODIES)
def test_a_rule_about_the_body_can_be_lifted_though_dcap_qvl_has_none_to_lift(what: str) -> None:
    machine = tdx().with_body(**BODIES[what])
    opinion = qvl.ask(machine.quote(), machine.collateral(), AT, machine.certificate("root"))
    assert opinion.refused
    assert set(refused_by(machine)) <= {
        "tdx.attributes.debug",
        "tdx.attributes.sept-ve",
        "tdx.attributes.migratable",
        "tdx.attributes.unknown",
        "tdx.service-td",
    }
    assert judge(machine, lifting(machine)).tcb == "UpToDate"


@pytest.mark.parametrize("part", BROKEN)
@pytest.mark.parametrize("what", BODIES)
def test_no_signature_is_left_unchecked_where_such_a_rule_is_lifted(what: str, part: str) -> None:
    """dcap-qvl stops at the first refusal: signatures must come before what the body says."""
    machine = tdx().with_body(**BODIES[what]).break_(part)
    assert set(refused_by(machine, lifting(machine))) == {BROKEN[part]}


@pytest.mark.parametrize("part", BROKEN)
def test_no_signature_is_left_unchecked_in_a_debug_enclave(part: str) -> None:
    machine = sgx().with_body(attributes=0x7).break_(part)
    assert set(refused_by(machine, lifting(machine))) == {BROKEN[part]}


@pytest.mark.parametrize("role", ["pck", "authority", "signer", "root"])
def test_revocation_is_by_issuer_and_serial(role: str) -> None:
    assert set(refused_by(tdx(revoked=frozenset({role})))) == {"dcap.revoked"}


def test_a_list_of_another_issuer_does_not_count() -> None:
    """The PCK of the root's own issue: the authority's list says nothing about it."""
    assert "dcap.crl.issuer" in refused_by(tdx(issuers={"pck": "root"}))


def test_a_list_must_not_be_older_than_one_already_seen() -> None:
    evidence, policy = tdx().evidence(), tdx().policy()
    seen = {pin(): ISSUED}
    result = verify(evidence, policy, at=AT, binding=UNBOUND, reference_values={}, crl_not_older_than=seen)
    assert result.tdx is not None
    assert (pin(), ISSUED) in result.tdx.lists_issued
    seen = {pin(): ISSUED + timedelta(seconds=1)}
    with pytest.raises(Rejected) as refused:
        verify(evidence, policy, at=AT, binding=UNBOUND, reference_values={}, crl_not_older_than=seen)
    assert refused.value.checks == ("dcap.crl.rollback",)


@pytest.mark.parametrize("role", ["pck", "authority", "signer", "root"])
def test_certificates_have_dates(role: str) -> None:
    day = timedelta(days=1)
    assert refused_by(tdx(validity={role: (BORN, AT - day)})) == ("dcap.chain.expired",)
    assert refused_by(tdx(validity={role: (AT + day, DIES)})) == ("dcap.chain.not-yet-valid",)


@pytest.mark.parametrize("name", ["root-list", "authority-list"])
def test_lists_have_dates(name: str) -> None:
    day = timedelta(days=1)
    assert refused_by(tdx(validity={name: (BORN, AT - day)})) == ("dcap.collateral.expired",)
    assert refused_by(tdx(validity={name: (AT + day, DIES)})) == ("dcap.collateral.not-yet-valid",)


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_statements_have_dates(part: str) -> None:
    machine = tdx()
    late = machine.but(**{part: {"nextUpdate": "2026-06-15T11:59:59Z"}})
    assert refused_by(late) == ("dcap.collateral.expired",)
    early = machine.but(**{part: {"issueDate": "2026-06-15T12:00:01Z"}})
    assert refused_by(early) == ("dcap.collateral.not-yet-valid",)


def test_what_is_out_of_date_is_checked_for_its_signatures_all_the_same() -> None:
    later = AT + timedelta(days=30)
    assert set(refused_by(tdx(), at=later)) == {"dcap.collateral.expired"}
    assert set(refused_by(tdx().break_("quote"), at=later)) == {"dcap.signature", "dcap.collateral.expired"}


@pytest.mark.parametrize(
    ("names", "issuers"),
    [
        ({"signer": "Intel SGX PCK Certificate"}, {}),
        ({"authority": "Intel SGX Some CA"}, {}),
        ({"pck": "Intel SGX TCB Signing"}, {}),
        ({"root": "Another Root CA"}, {}),
        ({}, {"signer": "authority"}),
    ],
    ids=["signer", "authority", "pck", "root", "signer-below-authority"],
)
def test_each_certificate_is_of_its_kind(names: dict[str, str], issuers: dict[str, str]) -> None:
    """dcap-qvl takes any chain below the root: a platform's key could sign TCB infos."""
    assert set(refused_by(tdx(names=names, issuers=issuers))) == {"dcap.chain.profile"}


@pytest.mark.parametrize(
    ("tcb_info", "check"),
    [
        ({"fmspc": "00" * 6}, "dcap.collateral.fmspc"),
        ({"pceId": "0001"}, "dcap.collateral.fmspc"),
        ({"id": "SGX"}, "dcap.collateral.tee"),
        ({"tcbLevels": []}, "dcap.tcb.level"),
        ({"tdxModuleIdentities": []}, "tdx.module"),
        ({"tdxModuleIdentities": [module("TDX_01", isv_level("UpToDate", 7))]}, "dcap.tcb.level"),
    ],
)
def test_the_tcb_info_is_for_this_platform(tcb_info: dict[str, object], check: str) -> None:
    checks = refused_by(tdx(tcb_info=tcb_info))
    assert checks[0] == check
    assert not {"dcap.refused", "dcap.disagreement"} & set(checks)


@pytest.mark.parametrize(
    ("qe", "check"),
    [
        ({"mrsigner": b"\x01" * 32}, "dcap.qe"),
        ({"isv_prod_id": 9}, "dcap.qe"),
        ({"misc_select": 1}, "dcap.qe"),
        ({"attributes": 0x17}, "dcap.qe"),
        ({"isv_svn": 6}, "dcap.qe.level"),
    ],
)
def test_the_quoting_enclave_is_intels(qe: dict[str, Any], check: str) -> None:
    for machine in (tdx(), sgx()):
        assert refused_by(replace(machine, qe=replace(machine.qe, **qe))) == (check,)


def test_the_qe_identity_is_for_this_tee() -> None:
    assert refused_by(tdx(qe_identity={"id": "QE"})) == ("dcap.collateral.tee",)
    assert refused_by(sgx(qe_identity={"id": "TD_QE"})) == ("dcap.collateral.tee",)


@pytest.mark.parametrize(
    ("body", "check"),
    [
        ({"mrsignerseam": b"\x01" * 48}, "tdx.module"),
        ({"seam_attributes": b"\x01" + bytes(7)}, "tdx.module"),
        ({"tee_tcb_svn": bytes((6, 2, 3)) + bytes(13)}, "tdx.module"),
        ({"tee_tcb_svn": bytes((5, 1, 3)) + bytes(13)}, "dcap.tcb.level"),
        ({"tee_tcb_svn": bytes((6, 1, 2)) + bytes(13)}, "dcap.tcb.level"),
        ({"tee_tcb_svn2": bytes((5, 1, 3)) + bytes(13)}, "tdx.module.current"),
        ({"tee_tcb_svn2": bytes((6, 9, 3)) + bytes(13)}, "tdx.module.current"),
    ],
)
def test_the_tdx_module_is_one_that_intel_describes(body: dict[str, object], check: str) -> None:
    checks = refused_by(tdx().with_body(**body))
    assert checks[0] == check
    assert not {"dcap.refused", "dcap.disagreement"} & set(checks)


def test_a_platform_below_every_level_has_no_status() -> None:
    assert refused_by(tdx(svn=4), allowing(tdx(), *Status)) == ("dcap.tcb.level",)
    assert refused_by(sgx(pce_svn=12), allowing(sgx(), *Status)) == ("dcap.tcb.level",)


@pytest.mark.parametrize("status", [one for one in Status if not one.startswith(("TDRelaunch", "UpToDate"))])
@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_each_status_must_be_named_and_revoked_never_counts(tee: str, status: Status) -> None:
    levels = (level(status, 5, tdx=(5, 0, 3) if tee == "tdx" else None),)
    machine = {"tdx": tdx(levels=levels), "sgx": sgx(levels=levels)}[tee]
    assert refused_by(machine) == ("dcap.tcb.status",)
    if status is Status.Revoked:
        assert refused_by(machine, allowing(machine, *Status)) == ("dcap.tcb.status",)
        return
    result = judge(machine, allowing(machine, status))
    assert result.tcb == status
    assert "tcb-status" in {lost.what for lost in result.lost_protections}


RELAUNCH_MODULES = (module("TDX_01", isv_level("UpToDate", 6), isv_level("OutOfDate", 4, "INTEL-SA-9")),)


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("UpToDate", "TDRelaunchAdvised"), ("ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded")],
)
def test_a_new_launch_would_help(platform: str, expected: str) -> None:
    machine = tdx(modules=RELAUNCH_MODULES, levels=(level(platform, 5, tdx=(5, 0, 3)),))
    machine = machine.with_body(tee_tcb_svn=bytes((4, 1, 3)) + bytes(13))
    assert refused_by(machine, allowing(machine, "UpToDate", "OutOfDate")) == ("dcap.tcb.status",)
    result = judge(machine, allowing(machine, expected))
    assert result.tcb == expected
    assert result.tdx is not None
    assert result.tdx.tcb.advisories == ("INTEL-SA-9",)
    old = machine.with_body(tee_tcb_svn2=bytes((4, 1, 3)) + bytes(13))
    assert judge(old, allowing(machine, "OutOfDate", "OutOfDateConfigurationNeeded")).tcb.startswith("OutOf")


def test_what_is_signed_by_nobody_is_counted_and_not_read() -> None:
    machine = tdx(trailing=b"anything")
    assert judge(machine).tdx is not None
    facts = judge(machine).tdx
    assert facts is not None
    assert facts.quote.trailing == 8


@pytest.mark.parametrize("status", ["SWHardeningNeeded", "OutOfDate", "Revoked"])
def test_a_wrong_signature_comes_first_and_the_rest_is_said_too(status: str) -> None:
    machine = tdx(levels=(level(status, 5, tdx=(5, 0, 3)),)).break_("quote").with_body(attributes=1)
    with pytest.raises(Rejected) as refused:
        judge(machine)
    assert refused.value.check == "dcap.signature"
    assert refused.value.kind is Kind.UNTRUSTED
    assert {"dcap.tcb.status", "tdx.attributes.debug", "tdx.attributes.sept-ve"} < set(refused.value.checks)


def test_evidence_of_another_tee_or_platform() -> None:
    with pytest.raises(Rejected) as refused:
        verify(TdxEvidence(sgx().quote()), tdx().policy(), at=AT, binding=UNBOUND, reference_values={})
    assert refused.value.check == "dcap.quote.tee-type"
    for machine in (tdx(), sgx()):
        policy = replace(machine.policy(), platforms=("snp",))
        assert refused_by(machine, policy) == ("platform.denied",)
    with pytest.raises(Rejected) as refused:
        verify(SgxEvidence(sgx().quote()), sgx().policy(), at=AT, binding=UNBOUND, reference_values={})
    assert refused.value.checks == ("dcap.collateral.missing",)


def test_host_data_is_nothing_that_intel_knows() -> None:
    for machine in (tdx(), sgx()):
        with pytest.raises(ValueError, match="no host data"):
            verify(
                machine.evidence(),
                machine.policy(),
                at=AT,
                binding=UNBOUND,
                reference_values={},
                host_data=bytes(32),
            )


def test_another_platforms_collateral_does_not_help() -> None:
    mine, other = tdx(), sgx()
    evidence = TdxEvidence(mine.quote(), other.collateral())
    with pytest.raises(Rejected) as refused:
        verify(evidence, mine.policy(), at=AT, binding=UNBOUND, reference_values={})
    assert refused.value.check == "dcap.collateral.tee"
