"""Policies from TOML: strict defaults, errors that name file and line, and a reference that is true."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evidence import policy_reference
from wasmkeep.errors import ConfigurationError
from wasmkeep.evidence import Policy
from wasmkeep.evidence.policy import RevocationPolicy, SevPolicy, SgxPolicy, SnpPolicy, TdxPolicy
from wasmkeep.evidence.policy_keys import PARTS, owner
from wasmkeep.evidence.policy_toml import TABLES
from wasmkeep.evidence.roots import AMD_ROOTS, Root, format_pin, parse_pin
from wasmkeep.evidence.sev.bits import GuestPolicyBit as SevGuestPolicyBit
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit, PlatformBit
from wasmkeep.evidence.snp.products import MODEL_LINES
from wasmkeep.evidence.snp.tcb import COMPONENTS, Tcb

PIN = "sha256:" + "5f" * 32
REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "policy.md"


def read(text: str) -> Policy:
    return Policy.from_toml(text, name="policy.toml")


def test_an_empty_file_is_the_default_policy() -> None:
    assert replace(read(""), name="default") == Policy.default()
    assert read("").identifier == Policy.default().identifier


def test_the_default_is_strict() -> None:
    policy = Policy.default()
    assert policy.platforms == ("snp",)
    assert policy.runtime == ("wasmkeep 0.1.0",)
    assert policy.cpu == ("x86-64-v3",)
    assert policy.simulated is None
    assert not policy.any_measurement
    assert policy.revocation.required
    snp = policy.snp
    assert snp.generations == ("Genoa", "Turin")
    assert snp.lifted_denials == ()
    assert snp.signers == ("vcek",)
    assert snp.guest_allow == GuestPolicyBit.SMT
    assert (snp.maximum_vmpl, snp.minimum_abi) == (0, (1, 51))
    assert snp.minimum_report_version == {"Milan": 3, "Genoa": 3, "Turin": 3}
    assert snp.alias_check
    assert not snp.provisional_firmware
    assert not snp.masked_chip_id
    assert not snp.unknown_platform_bits
    assert not snp.undescribed_version
    assert set(snp.minimum_tcb) == {line.name for line in MODEL_LINES}
    sev = policy.sev
    assert (sev.generations, sev.lifted_denials) == (("Genoa", "Turin"), ())
    assert (sev.minimum_api, dict(sev.minimum_build), sev.owners) == ((0, 24), {}, frozenset())
    assert not sev.guest_allow
    assert not sev.guest_require


def test_denied_generations_are_a_dated_table() -> None:
    denied = {entry.name for entry in defaults.GENERATIONS if entry.denied}
    assert denied == {"Naples", "Rome", "Milan"}
    assert defaults.DATE.year >= 2026
    assert defaults.generation("Genoa") == defaults.Generation("Genoa", has_snp=True)
    assert defaults.generation("Zen") is None
    assert read('[snp]\ngenerations = ["Milan", "Genoa"]').snp.lifted_denials == ("Milan",)


def test_the_shortest_policy_for_a_simulated_host() -> None:
    policy = read(
        'platforms = ["snp"]\n'
        'runtime   = ["wasmkeep 0.1.0"]        # or launch digests\n'
        f'simulated = "{PIN}"          # never in a policy for real data\n'
    )
    assert policy.simulated == PIN
    assert policy.roots == {
        bytes.fromhex("5f" * 32): Root("a simulator's root", bytes.fromhex("5f" * 32), "", simulated=True)
    }


def test_every_key(every_key: str) -> None:
    policy = read(every_key)
    snp = policy.snp
    assert policy.runtime_names == ("wasmkeep 0.1.0",)
    assert policy.runtime_digests == (b"\xab" * 48, b"\xcd" * 32)
    assert policy.cpu == ("x86-64-v3", "x86-64-v4")
    assert (policy.revocation.required, policy.revocation.in_date) == (False, False)
    assert (policy.revocation.max_age_days, policy.max_evidence_age_s) == (30, 600)
    assert policy.denied_platforms == ("sgx",)
    assert policy.any_measurement
    assert snp.chips_allow == frozenset({b"\1" * 64, b"\2" * 8 + bytes(56)})
    assert snp.chips_deny == frozenset({b"\3" * 64})
    assert snp.guest_allow == GuestPolicyBit.SMT | GuestPolicyBit.DEBUG
    assert snp.guest_require == GuestPolicyBit.SINGLE_SOCKET | GuestPolicyBit.CIPHERTEXT_HIDING_DRAM
    assert snp.minimum_tcb["Genoa"] == Tcb(10, 0, 24, 90)
    assert snp.minimum_tcb["Turin"] == replace(defaults.MINIMUM_TCB["Turin"], fmc=1)
    assert snp.minimum_tcb["Bergamo"] == defaults.MINIMUM_TCB["Bergamo"]
    assert (snp.minimum_abi, snp.maximum_vmpl, snp.minimum_guest_svn) == ((1, 55), 1, 2)
    assert (snp.id_key_digests, snp.family_ids) == (frozenset({b"\4" * 48}), frozenset({b"\5" * 16}))
    sev = policy.sev
    assert policy.platforms == ("sev-es", "sev", "snp", "tdx")
    assert (sev.generations, sev.minimum_api) == (("Naples", "Turin"), (1, 55))
    assert dict(sev.minimum_build) == {"Naples": 15, "Turin": 54}
    assert sev.owners == frozenset({b"\x08" * 32})
    assert sev.guest_allow == SevGuestPolicyBit.NODBG | SevGuestPolicyBit.NOKS | SevGuestPolicyBit.NOSEND
    assert sev.guest_require == SevGuestPolicyBit.DOMAIN | SevGuestPolicyBit.SEV
    assert snp.steppings == {"Genoa": frozenset({1, 2})}
    assert snp.minimum_report_version == {"Milan": 5, "Genoa": 5, "Turin": 5}
    assert (snp.guest_minimum_abi, snp.report_data) == ((1, 52), frozenset({b"\x09" * 64}))
    assert (snp.host_data, snp.platform_forbid) == (frozenset({b"\x0a" * 32}), PlatformBit.SMT_EN)
    assert snp.platform_require == PlatformBit.ECC_EN | PlatformBit.CIPHERTEXT_HIDING_DRAM_EN
    assert snp.launch_mitigations == dict.fromkeys(("Milan", "Genoa", "Turin"), 1)
    assert snp.current_mitigations == {"Turin": 3}
    tdx, sgx = policy.tdx, policy.sgx
    assert (tdx.tcb_statuses, tdx.advisories) == (("UpToDate", "OutOfDate"), frozenset({"INTEL-SA-00615"}))
    assert (tdx.xfam_allow, tdx.xfam_require, tdx.rtmr3) == (0x602E7, 7, frozenset({b"\x0e" * 48}))
    assert (sgx.mrsigners, sgx.isv_prod_ids) == (frozenset({b"\x10" * 32}), frozenset({1, 2}))
    for path in ("", *PARTS):
        value, default = owner(policy, path), owner(Policy(), path)
        same = [
            field.name
            for field in dataclasses.fields(value)
            if getattr(value, field.name) == getattr(default, field.name)
        ]
        assert not same, "the example leaves a key at its default"


def test_one_build_for_all_generations() -> None:
    builds = read("[sev]\nminimum_build = 7").sev.minimum_build
    assert dict(builds) == dict.fromkeys(("Naples", "Rome", "Milan", "Genoa", "Turin"), 7)
    assert read("[sev.minimum_build]\nGenoa = 7").sev == read("[sev]\nminimum_build.Genoa = 7").sev


@pytest.fixture
def every_key() -> str:
    """A policy that sets every key to something else than its default."""
    return f"""
platforms = ["sev-es", "sev", "snp", "tdx", "sgx"]
denied_platforms = ["sgx"]
runtime = ["wasmkeep 0.1.0", "{"ab" * 48}", "{"cd" * 32}"]
cpu = ["x86-64-v3", "x86-64-v4"]
simulated = "{PIN}"

[evidence]
max_age_seconds = 600

[revocation]
required = false
in_date = false
max_age_days = 30

[unsafe]
any_measurement = true

[snp]
generations = ["Milan"]
steppings = {{ Genoa = [1, 2] }}
report_data = ["{"09" * 64}"]
host_data = ["{"0a" * 32}"]
signers = ["vcek", "vlek"]
minimum_report_version = 5
minimum_abi = "1.55"
minimum_guest_svn = 2
maximum_vmpl = 1
provisional_firmware = true
alias_check = false
unknown_platform_bits = true
undescribed_version = true
masked_chip_id = true
id_key_digests = ["{"04" * 48}"]
author_key_digests = ["{"06" * 48}"]
family_ids = ["{"05" * 16}"]
image_ids = ["{"07" * 16}"]

[snp.guest_policy]
allow = ["smt", "debug"]
require = ["single-socket", "ciphertext-hiding"]
minimum_abi = "1.52"

[snp.platform_info]
require = ["ecc", "ciphertext-hiding"]
forbid = ["smt"]

[snp.mitigations]
launch = 1
current = {{ Turin = 0x3 }}

[snp.minimum_tcb.Genoa]
bootloader = 10
tee = 0
snp = 24
microcode = 90

[snp.minimum_tcb]
Turin.fmc = 1

[snp.chips]
allow = ["{"01" * 64}", "{"02" * 8}"]
deny = ["{"03" * 64}"]

[sev]
generations = ["Naples", "Turin"]
minimum_api = "1.55"
minimum_build = {{ Naples = 15, Turin = 54 }}
owners = ["{"08" * 32}"]

[sev.guest_policy]
allow = ["debug", "key-sharing", "send"]
require = ["domain", "sev"]

[tdx]
tcb_statuses = ["UpToDate", "OutOfDate"]
advisories = ["INTEL-SA-00615"]
any_advisory = true
max_collateral_age_days = 7
minimum_tcb_evaluation = 17
smt = false
dynamic_platform = false
cached_keys = false
fmspcs = ["{"0b" * 6}"]
platforms = ["{"0c" * 16}"]
report_data = ["{"0d" * 64}"]
debug = true
migratable = true
sept_ve = true
perfmon = true
key_locker = true
unknown_attributes = true
service_td = true
xfam_allow = 0x602e7
xfam_require = 0x7
rtmr0 = ["{"0e" * 48}"]
rtmr1 = ["{"0e" * 48}"]
rtmr2 = ["{"0e" * 48}"]
rtmr3 = ["{"0e" * 48}"]
mrseam = ["{"0f" * 48}"]
mrconfigid = ["{"0f" * 48}"]
mrowner = ["{"0f" * 48}"]
mrownerconfig = ["{"0f" * 48}"]
minimum_module_svn = 5

[sgx]
tcb_statuses = ["UpToDate", "OutOfDate"]
advisories = ["INTEL-SA-00615"]
any_advisory = true
max_collateral_age_days = 7
minimum_tcb_evaluation = 17
smt = false
dynamic_platform = false
cached_keys = false
fmspcs = ["{"0b" * 6}"]
platforms = ["{"0c" * 16}"]
report_data = ["{"0d" * 64}"]
debug = true
by_signer = true
provision_key = true
mrsigners = ["{"10" * 32}"]
isv_prod_ids = [1, 2]
minimum_isv_svn = 3
""".replace("[snp.minimum_tcb]\nTurin.fmc = 1\n", "[snp.minimum_tcb.Turin]\nfmc = 1\n")


def test_a_flag_chooses_among_what_a_policy_names() -> None:
    assert Policy.default().narrowed("snp").platforms == ("snp",)
    both = Policy.default(platforms=("snp", "sev-es"))
    assert both.narrowed("sev-es").platforms == ("sev-es",)
    with pytest.raises(ConfigurationError):
        Policy.default(platforms=())
    for kind in ("tdx", "nonsense", "sev", "sev-es"):
        with pytest.raises(ConfigurationError) as caught:
            Policy.default().narrowed(kind)
        assert caught.value.check == "policy.platform"


def test_a_pin_by_flag() -> None:
    pinned = Policy.default().with_simulated(PIN)
    assert pinned == Policy.default(simulated=PIN) == pinned.with_simulated(PIN)
    for policy, pin in ((pinned, "sha256:" + "00" * 32), (Policy.default(), "true")):
        with pytest.raises(ConfigurationError) as caught:
            policy.with_simulated(pin)
        assert caught.value.check == "policy.simulated"
    vendor = next(iter(AMD_ROOTS.values())).pin
    with pytest.raises(ConfigurationError):
        Policy.default(simulated=vendor)


def test_the_identifier_follows_what_decides() -> None:
    one = Policy.default()
    assert replace(one, name="other").identifier == one.identifier
    others = [
        replace(one, runtime=("x",)),
        replace(one, any_measurement=True),
        one.with_simulated(PIN),
        replace(one, snp=SnpPolicy(chips_deny=frozenset({b"\1" * 64}))),
        replace(one, snp=SnpPolicy(chips_allow=frozenset({b"\1" * 64}))),
        read("[snp.minimum_tcb.Genoa]\nsnp = 24"),
        read('platforms = ["snp", "sev-es"]'),
        read('platforms = ["sev-es", "snp"]'),
        read("[sev.minimum_build]\nGenoa = 24"),
        read(f'[sev]\nowners = ["{"ab" * 32}"]'),
    ]
    assert len({policy.identifier for policy in (one, *others)}) == len(others) + 1
    chips = [bytes([value]) * 64 for value in range(9)]
    orders = [SnpPolicy(chips_deny=frozenset(order)) for order in (chips, reversed(chips))]
    assert len({replace(one, snp=snp).identifier for snp in orders}) == 1


def test_pins() -> None:
    assert parse_pin(format_pin(bytes(range(32)))) == bytes(range(32))
    with pytest.raises(ValueError, match="32"):
        format_pin(b"")


def test_the_reference_is_made_from_the_keys() -> None:
    """`python -m tests.evidence.policy_reference` makes it so."""
    text = REFERENCE.read_text(encoding="utf-8")
    assert policy_reference.current(text) == text
    assert sorted(policy_reference.marks(text)) == sorted(policy_reference.tables())


def test_every_field_of_a_policy_has_a_key() -> None:
    """What a file cannot say, nobody can check: but for the name, and the minima, which have tables."""
    fields = {(type(owner(Policy(), table.path)), key.field) for table in TABLES for key in table.keys}
    for part in (Policy, RevocationPolicy, SnpPolicy, SevPolicy, TdxPolicy, SgxPolicy):
        parts = {"name", "minimum_tcb", *PARTS} if part in (Policy, SnpPolicy) else set()
        missing = {field.name for field in dataclasses.fields(part)} - parts
        assert missing == {name for kind, name in fields if kind is part and name not in COMPONENTS}, part


def test_the_examples_in_the_reference_are_policies() -> None:
    examples = re.findall(r"```toml\n(.*?)```", REFERENCE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        read(example.replace("sha256:…", PIN))
