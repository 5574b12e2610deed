"""Every key of a TDX or SGX policy refuses what it is about, for its own check, and accepts the rest."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

import pytest

from tests.evidence.dcap_forge import AT, ISSUED, Machine, enclave_report, level, sgx, td_report, tdx, timed
from wasmkeep.evidence import UNBOUND, AttestationResult, Policy, Rejected, Unbound, verify
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.policy import SgxPolicy, TdxPolicy
from wasmkeep.evidence.tdx.bits import TdAttribute

MRTD, MRENCLAVE = td_report().mrtd, enclave_report().mrenclave
REPORT_DATA = td_report().report_data
NO_VE = int(TdAttribute.SEPT_VE_DISABLE)


@dataclass(frozen=True)
class Rule:
    """A machine that ``strict`` values of a policy refuse for ``check`` and ``lenient`` ones accept."""

    key: str
    check: str
    strict: Any  # Any: the key's value
    lenient: Any
    machine: Machine


def attributes(bits: int) -> Machine:
    return tdx().with_body(attributes=NO_VE | bits)


def for_both(
    key: str, check: str, strict: Any, lenient: Any, **changes: Any
) -> tuple[Rule, Rule]:  # Any: values
    return (
        Rule(f"tdx.{key}", check, strict, lenient, tdx(**changes)),
        Rule(f"sgx.{key}", check, strict, lenient, sgx(**changes)),
    )


def out_of_date(tee: str) -> Machine:
    levels = (level("OutOfDate", 5, "INTEL-SA-1", tdx=(5, 0, 3) if tee == "tdx" else None),)
    return (tdx if tee == "tdx" else sgx)(levels=levels)


def advised(tee: str) -> Machine:
    levels = (level("UpToDate", 5, "INTEL-SA-1", tdx=(5, 0, 3) if tee == "tdx" else None),)
    return (tdx if tee == "tdx" else sgx)(levels=levels)


def listed(key: str, check: str, value: bytes) -> Rule:
    return Rule(f"tdx.{key}", check, frozenset({bytes(48)}), frozenset({bytes(48), value}), tdx())


FMSPC = bytes.fromhex("90c06f000000")
KNOWN = frozenset({"INTEL-SA-1"})
REPORT_DATAS = frozenset({REPORT_DATA})
RULES = (
    Rule("tdx.tcb_statuses", "dcap.tcb.status", ("UpToDate",), ("OutOfDate",), out_of_date("tdx")),
    Rule("sgx.tcb_statuses", "dcap.tcb.status", ("UpToDate",), ("OutOfDate",), out_of_date("sgx")),
    Rule("tdx.advisories", "dcap.tcb.advisory", frozenset({"INTEL-SA-2"}), KNOWN, advised("tdx")),
    Rule("sgx.advisories", "dcap.tcb.advisory", frozenset({"INTEL-SA-2"}), KNOWN, advised("sgx")),
    Rule("tdx.any_advisory", "dcap.tcb.advisory", False, True, advised("tdx")),
    Rule("sgx.any_advisory", "dcap.tcb.advisory", False, True, advised("sgx")),
    *for_both("max_collateral_age_days", "dcap.collateral.age", 14, 15),
    *for_both("minimum_tcb_evaluation", "dcap.tcb.evaluation", 19, 18),
    *for_both("smt", "dcap.platform.smt", False, True, flags=(False, False, True)),
    *for_both("dynamic_platform", "dcap.platform.dynamic", False, True, flags=(True, False, False)),
    *for_both("cached_keys", "dcap.platform.cached-keys", False, True, flags=(False, True, False)),
    *for_both("fmspcs", "dcap.platform.fmspc", frozenset({bytes(6)}), frozenset({FMSPC})),
    *for_both("platforms", "dcap.platform.instance", frozenset({bytes(16)}), frozenset({b"\x99" * 16})),
    Rule("tdx.report_data", "tdx.report-data.listed", frozenset({bytes(64)}), REPORT_DATAS, tdx()),
    Rule("sgx.report_data", "sgx.report-data.listed", frozenset({bytes(64)}), REPORT_DATAS, sgx()),
    Rule("tdx.debug", "tdx.attributes.debug", False, True, attributes(1)),
    Rule("tdx.migratable", "tdx.attributes.migratable", False, True, attributes(TdAttribute.MIGRATABLE)),
    Rule("tdx.sept_ve", "tdx.attributes.sept-ve", False, True, tdx().with_body(attributes=0)),
    Rule("tdx.perfmon", "tdx.attributes.perfmon", False, True, attributes(TdAttribute.PERFMON)),
    Rule("tdx.key_locker", "tdx.attributes.key-locker", False, True, attributes(TdAttribute.KL)),
    Rule("tdx.unknown_attributes", "tdx.attributes.unknown", False, True, attributes(TdAttribute.TPA)),
    Rule("tdx.service_td", "tdx.service-td", False, True, tdx().with_body(mr_service_td=b"\x01" * 48)),
    Rule("tdx.xfam_allow", "tdx.xfam.allowed", 0x602E6, 0x602E7, tdx()),
    Rule("tdx.xfam_require", "tdx.xfam.required", 0x40000 | 0x800, 0x40000, tdx()),
    listed("rtmr0", "tdx.rtmr0", td_report().rtmr0),
    listed("rtmr1", "tdx.rtmr1", td_report().rtmr1),
    listed("rtmr2", "tdx.rtmr2", td_report().rtmr2),
    listed("rtmr3", "tdx.rtmr3", td_report().rtmr3),
    listed("mrseam", "tdx.mrseam", td_report().mrseam),
    listed("mrconfigid", "tdx.mrconfigid", td_report().mrconfigid),
    listed("mrowner", "tdx.mrowner", td_report().mrowner),
    listed("mrownerconfig", "tdx.mrownerconfig", td_report().mrownerconfig),
    Rule("tdx.minimum_module_svn", "tdx.module.svn", 7, 6, tdx()),
    Rule("sgx.debug", "sgx.attributes.debug", False, True, sgx().with_body(attributes=0x7)),
    Rule("sgx.provision_key", "sgx.attributes.provision-key", False, True, sgx().with_body(attributes=0x15)),
    Rule("sgx.by_signer", "sgx.mrsigner", True, False, sgx()),
    Rule("sgx.mrsigners", "sgx.mrsigner", frozenset({bytes(32)}), frozenset({b"\x22" * 32}), sgx()),
    Rule("sgx.isv_prod_ids", "sgx.isv-prod-id", frozenset({4}), frozenset({3, 4}), sgx()),
    Rule("sgx.minimum_isv_svn", "sgx.isv-svn", 5, 4, sgx()),
)  # fmt: skip


def with_key(policy: Policy, key: str, value: Any) -> Policy:  # Any: the key's value
    tee, _, name = key.partition(".")
    if tee == "tdx":
        return replace(policy, tdx=replace(policy.tdx, **{name: value}))
    return replace(policy, sgx=replace(policy.sgx, **{name: value}))


def open_policy(machine: Machine) -> Policy:
    """Plain, without its allowance for advisories: a rule about those must bite."""
    policy = machine.policy()
    return replace(
        policy,
        tdx=replace(policy.tdx, any_advisory=False, advisories=KNOWN),
        sgx=replace(policy.sgx, any_advisory=False, advisories=KNOWN),
    )


def judge(
    machine: Machine,
    policy: Policy,
    binding: bytes | Unbound = UNBOUND,
    values: dict[bytes, str] | None = None,
) -> AttestationResult:
    return verify(machine.evidence(), policy, at=AT, binding=binding, reference_values=values or {})


def refused_by(machine: Machine, policy: Policy, **asked: Any) -> tuple[str, ...]:  # Any: see `judge`
    with pytest.raises(Rejected) as refused:
        judge(machine, policy, **asked)
    assert all(finding.message and finding.section for finding in refused.value.findings)
    return refused.value.checks


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.key)
def test_the_key_refuses_and_accepts(rule: Rule) -> None:
    policy = open_policy(rule.machine)
    if rule.key.endswith("any_advisory"):
        policy = with_key(policy, rule.key.replace("any_advisory", "advisories"), frozenset())
    assert set(refused_by(rule.machine, with_key(policy, rule.key, rule.strict))) == {rule.check}
    assert judge(rule.machine, with_key(policy, rule.key, rule.lenient)).simulated


def test_every_key_has_a_rule() -> None:
    keys = {f"tdx.{entry.name}" for entry in fields(TdxPolicy)}
    keys |= {f"sgx.{entry.name}" for entry in fields(SgxPolicy)}
    assert {rule.key for rule in RULES} == keys


def test_a_flag_that_the_certificate_does_not_state_is_not_off() -> None:
    machine = sgx(flags=None, instance=None, authority="Processor")
    for key in ("smt", "dynamic_platform", "cached_keys"):
        assert len(refused_by(machine, with_key(machine.policy(), f"sgx.{key}", False))) == 1
    listed = with_key(machine.policy(), "sgx.platforms", frozenset({bytes(16)}))
    assert refused_by(machine, listed) == ("dcap.platform.instance",)


def test_the_roots_list_lives_a_year_and_the_rest_a_month() -> None:
    year = timedelta(days=300)
    machine = tdx(validity={"root-list": (AT - year, AT + year)})
    assert judge(machine, with_key(machine.policy(), "tdx.max_collateral_age_days", 30)).tdx
    for part in ("tcb_info", "qe_identity"):
        old = tdx().but(**{part: {"issueDate": timed(AT - timedelta(days=31))}})
        policy = with_key(old.policy(), "tdx.max_collateral_age_days", 30)
        assert refused_by(old, policy) == ("dcap.collateral.age",)
    old = tdx(validity={"authority-list": (AT - timedelta(days=31), AT + year)})
    assert refused_by(old, with_key(old.policy(), "tdx.max_collateral_age_days", 30)) == (
        "dcap.collateral.age",
    )


@pytest.mark.parametrize(
    ("machine", "check", "measured"),
    [(tdx(), "tdx.mrtd", MRTD), (sgx(), "sgx.mrenclave", MRENCLAVE)],
    ids=["tdx", "sgx"],
)
def test_the_measurement_is_one_that_the_policy_names(machine: Machine, check: str, measured: bytes) -> None:
    policy = replace(machine.policy(), any_measurement=False, runtime=("mine",))
    assert refused_by(machine, policy) == (check,)
    assert refused_by(machine, policy, values={measured: "another's"}) == (check,)
    assert refused_by(machine, policy, values={bytes(len(measured)): "mine"}) == (check,)
    result = judge(machine, policy, values={measured: "mine"})
    assert (result.reference, result.launch_digest) == ("mine", measured)
    named = replace(policy, runtime=(measured.hex(),))
    assert "launch digest" in (judge(machine, named).reference or "")


@pytest.mark.parametrize(
    ("machine", "check"), [(tdx(), "tdx.report-data"), (sgx(), "sgx.report-data")], ids=["tdx", "sgx"]
)
def test_the_report_data_bind_the_session(machine: Machine, check: str) -> None:
    assert refused_by(machine, machine.policy(), binding=bytes(64)) == (check,)
    bound = judge(machine, machine.policy(), binding=REPORT_DATA)
    assert (bound.bound, bound.host_data_bound) == (True, True)
    assert not judge(machine, machine.policy()).bound


def test_an_enclave_that_goes_by_its_signer() -> None:
    policy = replace(sgx().policy(), any_measurement=False, runtime=("mine",))
    policy = with_key(policy, "sgx.mrsigners", frozenset({b"\x22" * 32}))
    assert refused_by(sgx(), policy) == ("sgx.mrenclave",)
    result = judge(sgx(), with_key(policy, "sgx.by_signer", True))
    assert result.reference is None
    assert "by-signer" in {lost.what for lost in result.lost_protections}


@pytest.mark.parametrize(
    ("attributes", "check"),
    [
        (0x4, "sgx.attributes.init"),
        (0x5 | 1 << 3, "sgx.attributes.unknown"),
        (0x5 | 1 << 20, "sgx.attributes.unknown"),
    ],
)
def test_an_enclave_that_nobody_can_judge(attributes: int, check: str) -> None:
    assert refused_by(sgx().with_body(attributes=attributes), sgx().policy()) == (check,)


@pytest.mark.parametrize("bit", [1, 2, 3, 4, 5, 6, 7])
def test_any_bit_of_debugging_is_debugging(bit: int) -> None:
    assert refused_by(attributes(1 << bit), tdx().policy()) == ("tdx.attributes.debug",)


def test_the_default_policy_refuses_intels_platforms_until_named() -> None:
    machine = tdx()
    default = Policy.default(simulated=machine.policy().simulated)
    assert refused_by(machine, default) == ("platform.denied",)
    named = Policy.default(simulated=machine.policy().simulated, platforms=("tdx",))
    assert refused_by(machine, named) == ("tdx.mrtd",)


def test_what_was_given_up_is_said() -> None:
    machine = tdx(levels=(level("OutOfDate", 5, "INTEL-SA-1", tdx=(5, 0, 3)),)).with_body(
        attributes=int(TdAttribute.DEBUG | TdAttribute.MIGRATABLE | TdAttribute.KL | TdAttribute.PERFMON),
        mr_service_td=b"\x01" * 48,
    )
    policy = machine.policy()
    lifted = replace(
        policy.tdx,
        tcb_statuses=("OutOfDate",),
        debug=True,
        sept_ve=True,
        migratable=True,
        key_locker=True,
        service_td=True,
    )
    result = judge(machine, replace(policy, tdx=lifted))
    assert {lost.what for lost in result.lost_protections} == {
        "simulated",
        "tcb-status",
        "advisories",
        "collateral-age-raised",
        "debug-allowed",
        "sept-ve-allowed",
        "migration-allowed",
        "key-locker-allowed",
        "perfmon-allowed",
        "service-td",
        "any-measurement",
    }
    assert "no debug" not in result.policy_checks
    assert result.tdx is not None
    assert result.tdx.collateral_issued == ISSUED


def test_plain_asks_for_nothing_but_what_is_genuine() -> None:
    policy = plain()
    assert policy.tdx.tcb_statuses == policy.sgx.tcb_statuses == ("UpToDate",)
    assert policy.any_measurement
