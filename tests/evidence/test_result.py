"""What the result says to those who know wasmkeep, and in EAR's shape to those who do not."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import pytest

from tests.evidence import dcap_forge
from tests.evidence import forge as make
from tests.evidence.forge import AT, Forge
from tests.evidence.test_policy import REFERENCE
from tests.evidence.test_verification import judge, snp_facts
from tests.evidence.vectors import needs_vectors, plain, rows
from wasmkeep.evidence import UNBOUND, AttestationResult, LostProtection, verify
from wasmkeep.evidence.ear import EAR_PROFILE
from wasmkeep.evidence.exceptions import exceptions
from wasmkeep.evidence.policy import Policy, RevocationPolicy, SnpPolicy
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit
from wasmkeep.evidence.snp.report import Report
from wasmkeep.evidence.snp.tcb import Tcb

STATUS = ("none", "affirming", "warning", "contraindicated")
VECTOR = {
    "instance-identity",
    "configuration",
    "executables",
    "file-system",
    "hardware",
    "runtime-opaque",
    "storage-opaque",
    "sourced-data",
}


def appraisal(result: AttestationResult) -> dict[str, Any]:  # Any: JSON
    """The one submodule's claims, through JSON."""
    claims = json.loads(json.dumps(result.claims()))
    assert claims["eat_profile"] == EAR_PROFILE
    assert claims["iat"] == int(result.at.timestamp())
    assert claims["ear_verifier_id"] == {"developer": "wasmkeep", "build": "wasmkeep 0.1.0"}
    assert list(claims["submods"]) == ["snp"]
    one: dict[str, Any] = claims["submods"]["snp"]
    assert one["ear_status"] in STATUS
    vector = one["ear_trustworthiness_vector"]
    assert set(vector) <= VECTOR
    assert all(-128 <= value <= 127 for value in vector.values())
    worst = max(vector.values())
    tier = "contraindicated" if worst >= 96 else "warning" if worst >= 32 else "affirming"
    assert STATUS.index(one["ear_status"]) >= STATUS.index(tier)
    assert one["ear_appraisal_policy_ids"] == [result.policy_id]
    return one


def test_a_simulated_machine_is_contraindicated_to_strangers(forge: Forge) -> None:
    evidence = forge.evidence()
    result = judge(evidence, forge.policy())
    claims = appraisal(result)
    assert claims["ear_status"] == "contraindicated"
    assert claims["ear_trustworthiness_vector"]["hardware"] == 96
    assert claims["ear_attester_claims"]["wasmkeep_simulated"] is True
    assert claims["ear_verifier_claims"]["wasmkeep_root"] == forge.pin
    digest = "sha256:" + sha256(evidence.report).hexdigest()
    assert claims["ear_verifier_claims"]["wasmkeep_evidence_digest"] == digest
    assert claims["ear_verifier_claims"]["wasmkeep_reference"] == "wasmkeep 0.1.0"


@needs_vectors
def test_real_hardware_of_a_sound_generation() -> None:
    """Affirming only when it is bound, measured, and a revocation list was there."""
    vector = rows()["snp/genoa-v3-vcek"]
    result = verify(vector.evidence(), plain(), at=vector.at, binding=UNBOUND, reference_values={})
    claims = appraisal(result)
    assert claims["ear_status"] == "warning"
    assert "executables" not in claims["ear_trustworthiness_vector"]
    assert claims["ear_trustworthiness_vector"]["hardware"] == 32, "no revocation list"
    sound = result._replace(bound=True, reference="wasmkeep 0.1.0", lost_protections=())
    assert appraisal(sound)["ear_status"] == "affirming"


@needs_vectors
def test_a_denied_generation_is_a_warning() -> None:
    vector = rows()["snp/milan-v2-abi-1.51-crl"]
    result = verify(vector.evidence(), plain(), at=vector.at, binding=UNBOUND, reference_values={})
    assert appraisal(result)["ear_trustworthiness_vector"]["hardware"] == 32
    assert result.revocation == "CRL fresh, until 2023-05-09"


def test_debug_is_visible_to_everyone(forge: Forge) -> None:
    policy = forge.policy(snp=SnpPolicy(guest_allow=GuestPolicyBit.SMT | GuestPolicyBit.DEBUG))
    result = judge(forge.evidence(make.report(policy=0xB0000)), policy)
    assert "debug-allowed" in [entry.what for entry in result.lost_protections]
    assert "no debug" not in result.policy_checks
    vector = appraisal(result)["ear_trustworthiness_vector"]
    assert (vector["configuration"], vector["runtime-opaque"]) == (32, 96)


def test_every_exception_that_was_used_is_said(forge: Forge) -> None:
    policy = forge.policy(
        any_measurement=True,
        snp=SnpPolicy(
            guest_allow=GuestPolicyBit.SMT | GuestPolicyBit.MIGRATE_MA,
            maximum_vmpl=3,
            provisional_firmware=True,
            alias_check=False,
        ),
    )
    unsigned = make.report(policy=0x70000, vmpl=2, platform_info=1, measurement=bytes(48), committed_build=24)
    result = judge(forge.evidence(unsigned), policy)
    assert [entry.what for entry in result.lost_protections] == [
        "simulated",
        "migration-allowed",
        "vmpl",
        "any-measurement",
        "provisional-firmware",
        "no-alias-check",
    ]
    assert (result.reference, snp_facts(result).provisional) == (None, True)
    assert appraisal(result)["ear_trustworthiness_vector"]["configuration"] == 32


LOWER_TCB = MappingProxyType(dict(defaults.MINIMUM_TCB) | {"Genoa": Tcb(9, 0, 22, 72)})
LOOSENED: dict[str, tuple[dict[str, object], Report, str]] = {
    # word: (the policy's fields, a report that the shipped policy would have judged, a part of the text)
    "minimum-tcb-lowered": (
        {"snp": SnpPolicy(minimum_tcb=LOWER_TCB)},
        make.report(launch_tcb=LOWER_TCB["Genoa"].encode()),
        "at launch 9.0.22.72",
    ),
    "minimum-abi-lowered": (
        {"snp": SnpPolicy(minimum_abi=(1, 50))},
        make.report(current_minor=50, committed_minor=50),
        "the platform has 1.50",
    ),
    "report-version-lowered": (
        {"snp": SnpPolicy(minimum_report_version={"Genoa": 2})},
        make.version_2(),
        "this one has version 2",
    ),
    "cxl-allowed": (
        {"snp": SnpPolicy(guest_allow=GuestPolicyBit.SMT | GuestPolicyBit.CXL_ALLOW)},
        make.report(policy=0x230000),
        "CXL",
    ),
    "unknown-platform-bits": (
        {"snp": SnpPolicy(unknown_platform_bits=True)},
        make.report(platform_info=0x125),
        "0x100",
    ),
    "undescribed-version": (
        {"snp": SnpPolicy(undescribed_version=True)},
        make.report(version=4),
        "version 4",
    ),
    "revocation-age-raised": (
        {"revocation": RevocationPolicy(max_age_days=367)},
        make.report(),
        "this one is of 2026-10-02",
    ),
}
ALWAYS = {"minimum-tcb-lowered", "minimum-abi-lowered", "report-version-lowered", "revocation-age-raised"}


@pytest.mark.parametrize("word", LOOSENED)
def test_a_policy_does_not_loosen_silently(forge: Forge, word: str) -> None:
    fields, unsigned, words = LOOSENED[word]
    result = judge(forge.evidence(unsigned), forge.policy(**fields))
    assert words in {entry.what: entry.text for entry in result.lost_protections}[word]
    assert word in {entry.what for entry in exceptions(result.policy)}
    vector = appraisal(result._replace(simulated=False))["ear_trustworthiness_vector"]
    assert 32 in (vector["configuration"], vector["hardware"])

    unused = judge(forge.evidence(), forge.policy(**fields))
    assert (word in {entry.what for entry in unused.lost_protections}) == (word in ALWAYS)


def test_another_lines_minimum_is_not_this_evidences(forge: Forge) -> None:
    milan = MappingProxyType(dict(defaults.MINIMUM_TCB) | {"Milan": Tcb(0, 0, 0, 0)})
    result = judge(forge.evidence(), forge.policy(snp=SnpPolicy(minimum_tcb=milan)))
    assert [entry.what for entry in result.lost_protections] == ["simulated"]
    assert [entry.what for entry in exceptions(result.policy)] == ["minimum-tcb-lowered"]


EXCEPTIONS: dict[str, tuple[str, str]] = {
    # what loosens a key: (the word, the same key made stricter or left as it is)
    "[revocation]\nrequired = false": ("no-revocation-list", "[revocation]\nrequired = true"),
    "[revocation]\nmax_age_days = 367": ("revocation-age-raised", "[revocation]\nmax_age_days = 30"),
    "[unsafe]\nany_measurement = true": ("any-measurement", "[unsafe]\nany_measurement = false"),
    '[snp]\ngenerations = ["Milan"]': ("denied-generation-allowed", '[snp]\ngenerations = ["Turin"]'),
    '[snp]\nsigners = ["vlek"]': ("vlek", '[snp]\nsigners = ["vcek"]'),
    "[snp]\nminimum_report_version = 2": ("report-version-lowered", "[snp]\nminimum_report_version = 5"),
    '[snp]\nminimum_abi = "1.50"': ("minimum-abi-lowered", '[snp]\nminimum_abi = "1.55"'),
    "[snp]\nmaximum_vmpl = 1": ("vmpl", "[snp]\nmaximum_vmpl = 0"),
    "[snp]\nprovisional_firmware = true": ("provisional-firmware", "[snp]\nprovisional_firmware = false"),
    "[snp]\nalias_check = false": ("no-alias-check", "[snp]\nalias_check = true"),
    "[snp]\nunknown_platform_bits = true": (
        "unknown-platform-bits",
        "[snp]\nunknown_platform_bits = false",
    ),
    "[snp]\nundescribed_version = true": ("undescribed-version", "[snp]\nundescribed_version = false"),
    "[revocation]\nrequired = false\nin_date = false": (
        "no-revocation-list",
        "[revocation]\nin_date = false",
    ),
    **{
        f'platforms = ["{tee}"]\n[{tee}]\n{loose}': (word, f'platforms = ["{tee}"]\n[{tee}]\n{strict}')
        for tee, loose, word, strict in (
            ("tdx", 'tcb_statuses = ["OutOfDate"]', "tcb-status", 'tcb_statuses = ["UpToDate"]'),
            ("sgx", 'tcb_statuses = ["OutOfDate"]', "tcb-status", 'tcb_statuses = ["UpToDate"]'),
            ("tdx", 'advisories = ["INTEL-SA-00615"]', "advisories", "advisories = []"),
            ("sgx", "any_advisory = true", "advisories", "any_advisory = false"),
            ("tdx", "max_collateral_age_days = 31", "collateral-age-raised", "max_collateral_age_days = 3"),
            ("tdx", "debug = true", "debug-allowed", "debug = false"),
            ("tdx", "sept_ve = true", "sept-ve-allowed", "sept_ve = false"),
            ("tdx", "migratable = true", "migration-allowed", "migratable = false"),
            ("tdx", "perfmon = true", "perfmon-allowed", "perfmon = false"),
            ("tdx", "key_locker = true", "key-locker-allowed", "key_locker = false"),
            ("tdx", "unknown_attributes = true", "unknown-attributes", "unknown_attributes = false"),
            ("tdx", "service_td = true", "service-td", "service_td = false"),
            ("tdx", "xfam_require = 0", "xfam-lowered", "xfam_require = 7"),
            ("sgx", "debug = true", "debug-allowed", "smt = false"),
            ("sgx", "provision_key = true", "provision-key-allowed", "provision_key = false"),
            ("sgx", f'by_signer = true\nmrsigners = ["{"ab" * 32}"]', "by-signer", "by_signer = false"),
        )
    },
    "[snp]\nmasked_chip_id = true": ("masked-chip-id", "[snp]\nmasked_chip_id = false"),
    '[snp.guest_policy]\nallow = ["debug"]': ("debug-allowed", '[snp.guest_policy]\nallow = ["smt"]'),
    '[snp.guest_policy]\nallow = ["cxl"]': ("cxl-allowed", "[snp.guest_policy]\nallow = []"),
    '[snp.guest_policy]\nallow = ["migration-agent"]': ("migration-allowed", "[snp.guest_policy]"),
    "[snp.minimum_tcb.Turin]\ntee = 0": ("minimum-tcb-lowered", "[snp.minimum_tcb.Turin]\ntee = 2"),
}


@pytest.mark.parametrize("text", EXCEPTIONS)
def test_every_key_that_loosens_is_said_of_the_policy(text: str) -> None:
    word, strict = EXCEPTIONS[text]
    found = exceptions(Policy.from_toml(text, name="p.toml"))
    assert [entry.what for entry in found] == [word]
    assert found[0].text.startswith("the policy p.toml ")
    assert exceptions(Policy.from_toml(strict, name="p.toml")) == ()
    assert f"`{word}`" in REFERENCE.read_text(encoding="utf-8")


def test_facts_of_firmware(forge: Forge) -> None:
    result = judge(forge.evidence(), forge.policy())
    facts = snp_facts(result)
    assert (facts.signer, facts.model_line, facts.product_name) == ("VCEK", "Genoa", "Genoa")
    assert facts.chip_id == make.CHIP_ID
    assert not facts.reported_below_current
    newer = replace(make.GENOA_TCB, snp=24).encode()
    below = judge(forge.evidence(make.report(current_tcb=newer, committed_tcb=newer)), forge.policy())
    assert snp_facts(below).reported_below_current
    assert result.at == AT


WORDS = {
    # of a loosened rule: (the claim that it lowers, how far)
    "debug-allowed": ("runtime-opaque", 96),
    "sept-ve-allowed": ("configuration", 32),
    "service-td": ("configuration", 32),
    "tcb-status": ("hardware", 32),
    "advisories": ("hardware", 32),
    "collateral-age-raised": ("hardware", 32),
    "no-alias-check": ("runtime-opaque", 32),
    "a word of a release to come": ("hardware", 32),
}


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
@pytest.mark.parametrize("word", WORDS)
def test_what_lowers_which_claim(tee: str, word: str) -> None:
    machine = dcap_forge.tdx() if tee == "tdx" else dcap_forge.sgx()
    result = verify(
        machine.evidence(), machine.policy(), at=dcap_forge.AT, binding=UNBOUND, reference_values={}
    )
    assert result.simulated
    sound = result._replace(simulated=False, bound=True, reference="mine", lost_protections=())
    best = sound.claims()["submods"][tee]  # type: ignore[index]  # JSON
    assert best["ear_status"] == "affirming"
    assert set(best["ear_trustworthiness_vector"].values()) == {2}
    lowered = sound._replace(lost_protections=(LostProtection(word, "…"),)).claims()["submods"][tee]  # type: ignore[index]  # JSON
    claim, value = WORDS[word]
    assert lowered["ear_trustworthiness_vector"][claim] == value
    assert lowered["ear_status"] == ("contraindicated" if value == 96 else "warning")


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_what_a_result_says_of_an_intel_platform(tee: str) -> None:
    machine = dcap_forge.tdx() if tee == "tdx" else dcap_forge.sgx()
    evidence = machine.evidence()
    result = verify(evidence, machine.policy(), at=dcap_forge.AT, binding=UNBOUND, reference_values={})
    one = json.loads(json.dumps(result.claims()))["submods"][tee]
    attester, verifier = one["ear_attester_claims"], one["ear_verifier_claims"]
    assert attester["wasmkeep_launch_digest"] == result.launch_digest.hex()
    assert attester["wasmkeep_tcb_status"] == "UpToDate"
    assert attester["wasmkeep_fmspc"] == dcap_forge.FMSPC.hex()
    assert ("wasmkeep_rtmrs" in attester, "wasmkeep_mrsigner" in attester) == (tee == "tdx", tee == "sgx")
    assert verifier["wasmkeep_evidence_digest"] == "sha256:" + sha256(evidence.quote).hexdigest()
    assert verifier["wasmkeep_revocation"] == "fresh"
    assert verifier["wasmkeep_verifiable_by"] == "anyone"


def test_a_masked_chip_has_no_identity(forge: Forge) -> None:
    masked = (LostProtection("masked-chip-id", ""),)
    result = judge(forge.evidence(), forge.policy())._replace(lost_protections=masked)
    assert "instance-identity" not in appraisal(result)["ear_trustworthiness_vector"]
