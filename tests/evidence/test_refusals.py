"""Each rule broken alone, and everything signed again with the right key: the test's name is the rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.evidence import forge as make
from tests.evidence.forge import CHIP_ID, Forge
from tests.evidence.test_verification import judge, snp_facts
from wasmkeep.evidence import Kind, Rejected, SnpEvidence
from wasmkeep.evidence.policy import SnpPolicy
from wasmkeep.evidence.snp.bits import GuestPolicyBit, PlatformBit
from wasmkeep.evidence.snp.report import Report
from wasmkeep.evidence.snp.signatures import ORDER
from wasmkeep.evidence.snp.tcb import Tcb

OLD_TCB = Tcb(bootloader=9, tee=0, snp=22, microcode=84)


def refuse(evidence: SnpEvidence, forge: Forge, **changes: object) -> Rejected:
    """The rejection by the default policy with this root pinned, or with some fields changed."""
    arguments = {key: changes.pop(key) for key in tuple(changes) if key == "crl_not_older_than"}
    with pytest.raises(Rejected) as caught:
        judge(evidence, forge.policy(**changes), **arguments)
    return caught.value


def _tcb_everywhere(tcb: Tcb) -> dict[str, int]:
    value = tcb.encode()
    return {"reported_tcb": value, "current_tcb": value, "committed_tcb": value, "launch_tcb": value}


REPORTS: dict[str, tuple[Report, tuple[str, ...]]] = {
    "debug": (make.report(policy=0xB0000), ("snp.policy.debug",)),
    "migration agent": (make.report(policy=0x70000), ("snp.policy.migration-agent",)),
    "CXL": (make.report(policy=0x230000), ("snp.policy.cxl",)),
    "policy bit 17 clear": (make.report(policy=0x10000), ("snp.policy.reserved",)),
    "policy bit 26 set": (make.report(policy=0x30000 | 1 << 26), ("snp.policy.unknown",)),
    "policy bit 63 set": (make.report(policy=0x30000 | 1 << 63), ("snp.policy.unknown",)),
    "old ABI, current": (make.report(current_minor=50, committed_minor=50), ("snp.abi",)),
    "old ABI, committed": (make.report(committed_minor=50), ("snp.abi", "snp.tcb.provisional")),
    "VMPL 1": (make.report(vmpl=1), ("snp.vmpl",)),
    "VMPL 3": (make.report(vmpl=3), ("snp.vmpl",)),
    "requested by the host": (make.report(vmpl=0xFFFFFFFF), ("snp.vmpl",)),
    "another session": (make.report(report_data=bytes(64)), ("snp.report-data",)),
    "another tenant": (make.report(host_data=bytes(32)), ("snp.host-data",)),
    "another image": (make.report(measurement=bytes(48)), ("snp.measurement",)),
    "older version": (make.version_2(), ("snp.report.floor",)),
    "masked chip": (make.report(chip_id=bytes(64)), ("snp.chip.masked",)),
    "another chip": (make.report(chip_id=bytes(63) + b"\x01"), ("snp.chip.certificate",)),
    "TCB of no certificate": (
        make.report(reported_tcb=replace(make.GENOA_TCB, microcode=83).encode()),
        ("snp.tcb.certificate",),
    ),
    "provisional SVN": (
        make.report(committed_tcb=replace(make.GENOA_TCB, snp=22).encode()),
        ("snp.tcb.provisional",),
    ),
    "provisional build": (make.report(current_build=26), ("snp.tcb.provisional",)),
    "reserved TCB byte": (make.report(launch_tcb=make.GENOA_TCB.encode() | 1 << 16), ("snp.tcb.reserved",)),
    "no alias check": (make.report(platform_info=0x05), ("snp.platform.alias-check",)),
    "unknown platform bit": (make.report(platform_info=0x125), ("snp.platform.unknown",)),
    "unknown processor": (make.report(cpuid_family=0x1B), ("snp.product",)),
    "another product": (make.report(cpuid_model=0x01), ("snp.product", "snp.generation")),
    "another algorithm": (make.report(signature_algo=2), ("snp.signature.algorithm",)),
    "unsigned": (make.report(key_info=7 << 2), ("snp.signature.unsigned",)),
    "unknown signer": (make.report(key_info=3 << 2), ("snp.signer",)),
    "VLEK by word only": (make.report(key_info=1 << 2), ("snp.signer.certificate",)),
}


@pytest.mark.parametrize("rule", REPORTS)
def test_report(forge: Forge, rule: str) -> None:
    unsigned, checks = REPORTS[rule]
    assert refuse(forge.evidence(unsigned), forge).checks[: len(checks)] == checks


def test_table_breaks_single_rules(forge: Forge) -> None:
    """But for the rows that say more, one finding each: the table does not pass by accident."""
    for unsigned, checks in REPORTS.values():
        found = refuse(forge.evidence(unsigned), forge).checks
        assert len(found) == len(checks) or checks[0] == "snp.product", (found, checks)


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (ORDER, 1), (1, ORDER), ((1 << 576) - 1, 1)])
def test_signature_components_out_of_range(forge: Forge, r: int, s: int) -> None:
    data = make.report()._replace(signature_r=r, signature_s=s).encode()
    assert refuse(forge.evidence(report=data), forge).checks == ("snp.signature.range",)


def test_minimum_tcb_by_component(forge: Forge) -> None:
    for component, value in (("bootloader", 8), ("snp", 22), ("microcode", 71)):
        tcb = replace(make.GENOA_TCB, **{component: value})
        evidence = forge.evidence(
            make.report(**_tcb_everywhere(tcb)), vcek=forge.vcek(extensions=make.extensions(tcb))
        )
        rejected = refuse(evidence, forge)
        assert rejected.checks == ("snp.tcb.minimum", "snp.tcb.launch")
        assert component in rejected.found


def test_a_live_update_does_not_mend_what_was_launched_before(forge: Forge) -> None:
    """Reported, current and committed are good; the keep was launched under firmware that is not."""
    for component, value in (("bootloader", 8), ("snp", 22), ("microcode", 71)):
        tcb = replace(make.GENOA_TCB, **{component: value})
        rejected = refuse(forge.evidence(make.report(launch_tcb=tcb.encode())), forge)
        assert rejected.checks == ("snp.tcb.launch",)
        assert component in rejected.found
    lowest = make.report(launch_tcb=Tcb(bootloader=9, tee=0, snp=23, microcode=72).encode())
    assert judge(forge.evidence(lowest), forge.policy()).bound


def test_minimum_tcb_looks_at_the_reported_one(forge: Forge) -> None:
    """New firmware runs, but the host reports an older TCB, whose key it may have extracted."""
    unsigned = make.report(reported_tcb=OLD_TCB.encode())
    evidence = forge.evidence(unsigned, vcek=forge.vcek(extensions=make.extensions(OLD_TCB)))
    assert refuse(evidence, forge).checks == ("snp.tcb.minimum",)


ALLOW_LIST = frozenset({bytes(63) + b"\x09"})
CHIP_RULES: dict[str, tuple[SnpPolicy, Report, tuple[str, ...]]] = {
    "not on the allow-list": (SnpPolicy(chips_allow=ALLOW_LIST), make.report(), ("snp.chip.allow",)),
    "on the deny-list": (SnpPolicy(chips_deny=frozenset({CHIP_ID})), make.report(), ("snp.chip.deny",)),
    "masked, allow-list": (
        SnpPolicy(chips_allow=frozenset({CHIP_ID}), masked_chip_id=True),
        make.report(chip_id=bytes(64)),
        ("snp.chip.allow",),
    ),
    "masked, deny-list": (
        SnpPolicy(chips_deny=ALLOW_LIST, masked_chip_id=True),
        make.report(chip_id=bytes(64)),
        ("snp.chip.deny",),
    ),
    "denied and allowed": (
        SnpPolicy(chips_allow=frozenset({CHIP_ID}), chips_deny=frozenset({CHIP_ID})),
        make.report(),
        ("snp.chip.deny",),
    ),
}


@pytest.mark.parametrize("rule", CHIP_RULES)
def test_chip_lists(forge: Forge, rule: str) -> None:
    policy, unsigned, checks = CHIP_RULES[rule]
    assert refuse(forge.evidence(unsigned), forge, snp=policy).checks == checks


def test_a_chip_on_the_allow_list_is_accepted(forge: Forge) -> None:
    policy = forge.policy(snp=SnpPolicy(chips_allow=frozenset({CHIP_ID})))
    assert judge(forge.evidence(), policy).chip == "a chip that the policy lists"


def test_masked_chip_id_needs_the_policys_word(forge: Forge) -> None:
    evidence = forge.evidence(make.report(chip_id=bytes(64)))
    result = judge(evidence, forge.policy(snp=SnpPolicy(masked_chip_id=True)))
    assert snp_facts(result).chip_id is None
    assert "masked-chip-id" in [entry.what for entry in result.lost_protections]


IDENTITY: dict[str, tuple[SnpPolicy, str]] = {
    "ID key": (SnpPolicy(id_key_digests=frozenset({b"\1" * 48})), "snp.id-key"),
    "author key": (SnpPolicy(author_key_digests=frozenset({b"\1" * 48})), "snp.author-key"),
    "family id": (SnpPolicy(family_ids=frozenset({b"\1" * 16})), "snp.family-id"),
    "image id": (SnpPolicy(image_ids=frozenset({b"\1" * 16})), "snp.image-id"),
    "guest SVN": (SnpPolicy(minimum_guest_svn=1), "snp.guest-svn"),
    "required bit": (SnpPolicy(guest_require=GuestPolicyBit.SINGLE_SOCKET), "snp.policy.required"),
    "policy ABI": (SnpPolicy(guest_minimum_abi=(1, 51)), "snp.policy.abi"),
    "stepping": (SnpPolicy(steppings={"Genoa": frozenset({0, 2})}), "snp.stepping"),
    "report data": (SnpPolicy(report_data=frozenset({bytes(64)})), "snp.report-data.listed"),
    "host data": (SnpPolicy(host_data=frozenset({bytes(32)})), "snp.host-data.listed"),
    "platform bit required": (
        SnpPolicy(platform_require=PlatformBit.CIPHERTEXT_HIDING_DRAM_EN),
        "snp.platform.required",
    ),
    "platform bit forbidden": (SnpPolicy(platform_forbid=PlatformBit.SMT_EN), "snp.platform.forbidden"),
    "launch mitigations": (SnpPolicy(launch_mitigations={"Genoa": 1}), "snp.mitigations.launch"),
    "current mitigations": (SnpPolicy(current_mitigations={"Genoa": 1}), "snp.mitigations.current"),
    "SMT": (SnpPolicy(guest_allow=GuestPolicyBit(0)), "snp.policy.smt"),
    "generation": (SnpPolicy(generations=("Turin",)), "snp.generation"),
    "version floor": (SnpPolicy(minimum_report_version={"Genoa": 5}), "snp.report.floor"),
    "signer": (SnpPolicy(signers=("vlek",)), "snp.signer"),
}


@pytest.mark.parametrize("rule", IDENTITY)
def test_policy_requirements(forge: Forge, rule: str) -> None:
    policy, check = IDENTITY[rule]
    assert refuse(forge.evidence(), forge, snp=policy).checks == (check,)


MET = SnpPolicy(
    steppings={"Genoa": frozenset({1}), "Turin": frozenset({9})},
    report_data=frozenset({make.REPORT_DATA, bytes(64)}),
    host_data=frozenset({make.HOST_DATA}),
    platform_require=PlatformBit.ECC_EN | PlatformBit.ALIAS_CHECK_COMPLETE,
    platform_forbid=PlatformBit.TSME_EN,
    launch_mitigations={"Turin": 1},
    current_mitigations={"Turin": 1},
)


def test_requirements_that_are_met(forge: Forge) -> None:
    """What the table above asks for and does not get; another line's rules do not count."""
    assert judge(forge.evidence(), forge.policy(snp=MET)).bound
    bound = make.report(policy=0x30134)
    assert judge(forge.evidence(bound), forge.policy(snp=SnpPolicy(guest_minimum_abi=(1, 52)))).bound


def test_an_older_version_hides_nothing(forge: Forge) -> None:
    """What a report of version 2 or 3 does not say is refused where the policy asks for it."""
    old = {"Genoa": 2}
    asked = {
        "snp.stepping": SnpPolicy(minimum_report_version=old, steppings={"Bergamo": frozenset({1})}),
        "snp.platform.forbidden": SnpPolicy(minimum_report_version=old, platform_forbid=PlatformBit.TIO_EN),
        "snp.platform.required": SnpPolicy(
            minimum_report_version=old, platform_require=PlatformBit.ALIAS_CHECK_COMPLETE
        ),
        "snp.mitigations.launch": SnpPolicy(minimum_report_version=old, launch_mitigations={"Genoa": 1}),
        "snp.mitigations.current": SnpPolicy(minimum_report_version=old, current_mitigations={"Genoa": 1}),
    }
    for check, policy in asked.items():
        assert refuse(forge.evidence(make.version_2()), forge, snp=policy).checks == (check,)
    assert judge(
        forge.evidence(make.version_2()), forge.policy(snp=SnpPolicy(minimum_report_version=old))
    ).bound


def test_mitigations_are_required_bits(forge: Forge) -> None:
    """A mask: further bits do no harm, a missing one refuses, and launch and current are apart."""
    version_5 = make.report(version=5, launch_mit_vector=0b101, current_mit_vector=0b111)
    for launch, current, checks in (
        (0b101, 0b111, ()),
        (0b001, 0b010, ()),
        (0b010, 0b010, ("snp.mitigations.launch",)),
        (0b100, 0b1000, ("snp.mitigations.current",)),
    ):
        policy = SnpPolicy(launch_mitigations={"Genoa": launch}, current_mitigations={"Genoa": current})
        if checks:
            assert refuse(forge.evidence(version_5), forge, snp=policy).checks == checks
        else:
            assert judge(forge.evidence(version_5), forge.policy(snp=policy)).bound


def test_version_floors_are_by_generation(forge: Forge) -> None:
    """One generation's floor says nothing of another's, which keeps the shipped one."""
    lower = SnpPolicy(minimum_report_version={"Turin": 2})
    assert refuse(forge.evidence(make.version_2()), forge, snp=lower).checks == ("snp.report.floor",)
    assert judge(forge.evidence(), forge.policy(snp=SnpPolicy(minimum_report_version={"Turin": 5}))).bound


GUEST_BITS = {
    # polarity: these must not be set unless allowed …
    "snp.policy.debug": GuestPolicyBit.DEBUG,
    "snp.policy.migration-agent": GuestPolicyBit.MIGRATE_MA,
    "snp.policy.smt": GuestPolicyBit.SMT,
    "snp.policy.cxl": GuestPolicyBit.CXL_ALLOW,
}
REQUIRED_BITS = (
    # … and these are good for the guest: clear is refused where they are required.
    GuestPolicyBit.SINGLE_SOCKET,
    GuestPolicyBit.MEM_AES_256_XTS,
    GuestPolicyBit.RAPL_DIS,
    GuestPolicyBit.CIPHERTEXT_HIDING_DRAM,
    GuestPolicyBit.PAGE_SWAP_DISABLE,
)


@pytest.mark.parametrize("check", GUEST_BITS)
def test_bits_that_must_be_clear(forge: Forge, check: str) -> None:
    bit = GUEST_BITS[check]
    evidence = forge.evidence(make.report(policy=1 << 17 | bit))
    assert refuse(evidence, forge, snp=SnpPolicy(guest_allow=~bit)).checks == (check,)
    assert judge(evidence, forge.policy(snp=SnpPolicy(guest_allow=bit))).bound


@pytest.mark.parametrize("bit", REQUIRED_BITS)
def test_bits_that_must_be_set(forge: Forge, bit: GuestPolicyBit) -> None:
    policy = SnpPolicy(guest_require=bit)
    assert refuse(forge.evidence(), forge, snp=policy).checks == ("snp.policy.required",)
    assert judge(forge.evidence(make.report(policy=0x30000 | bit)), forge.policy(snp=policy)).bound


@pytest.mark.parametrize("bit", PlatformBit)
def test_every_bit_of_the_platform_info(forge: Forge, bit: PlatformBit) -> None:
    """Required and forbidden, each bit on its own; the alias check is required anyway."""
    with_it, without = make.report(platform_info=0x20 | bit), make.report(platform_info=0x20 & ~bit)
    require = SnpPolicy(platform_require=bit, alias_check=False)
    forbid = SnpPolicy(platform_forbid=bit, alias_check=False)
    assert judge(forge.evidence(with_it), forge.policy(snp=require)).bound
    assert judge(forge.evidence(without), forge.policy(snp=forbid)).bound
    assert refuse(forge.evidence(without), forge, snp=require).checks == ("snp.platform.required",)
    assert refuse(forge.evidence(with_it), forge, snp=forbid).checks == ("snp.platform.forbidden",)


def vlek(forge: Forge, **changes: object) -> SnpEvidence:
    identity = make.extensions(hw_id=None, csp_id="CN=cloud.example")
    fields: dict[str, object] = {"subject": "SEV-VLEK", "issuer": "SEV-VLEK-Genoa", "extensions": identity}
    return forge.evidence(
        make.report(key_info=1 << 2),
        vcek=forge.vcek(**(fields | changes)),
        chain=(forge.ask(subject="SEV-VLEK-Genoa"), forge.ark()),
    )


def test_a_vlek_is_refused_unless_the_policy_allows_it(forge: Forge) -> None:
    assert refuse(vlek(forge), forge).checks == ("snp.signer",)
    result = judge(vlek(forge), forge.policy(snp=SnpPolicy(signers=("vcek", "vlek"))))
    assert (result.chain, snp_facts(result).csp_id) == (("VLEK", "ASVK", "ARK"), "CN=cloud.example")
    assert "vlek" in [entry.what for entry in result.lost_protections]


def test_a_vlek_with_a_vceks_extensions(forge: Forge) -> None:
    both = SnpPolicy(signers=("vcek", "vlek"))
    evidence = vlek(forge, extensions=make.extensions())
    assert refuse(evidence, forge, snp=both).checks == ("snp.endorsement.kind",)
    evidence = forge.evidence(vcek=forge.vcek(extensions=make.extensions(hw_id=None, csp_id="CN=c")))
    assert refuse(evidence, forge, snp=both).checks == ("snp.chip.certificate", "snp.endorsement.kind")


def test_a_vlek_given_as_vcek(forge: Forge) -> None:
    evidence = forge.evidence(vcek=forge.vcek(subject="SEV-VLEK"))
    assert refuse(evidence, forge).checks == ("snp.signer.certificate",)
    asvk = forge.ask(subject="SEV-VLEK-Genoa")
    evidence = forge.evidence(vcek=forge.vcek(issuer="SEV-VLEK-Genoa"), chain=(asvk, forge.ark()))
    assert refuse(evidence, forge).checks == ("snp.signer.certificate",)


def test_kinds_tell_faults_apart(forge: Forge) -> None:
    assert refuse(forge.evidence(report=b""), forge).kind is Kind.MALFORMED
    assert refuse(forge.evidence(make.report(vmpl=1)), forge).kind is Kind.REFUSED
    assert refuse(forge.evidence(crl=None), forge).kind is Kind.UNTRUSTED
    assert refuse(forge.evidence(make.report(platform_info=0x125)), forge).kind is Kind.UNSUPPORTED


def test_a_report_that_another_chip_signed(forge: Forge, other: Forge) -> None:
    assert refuse(forge.evidence(report=other.sign(make.report())), forge).checks == ("snp.signature",)


def test_a_certificate_without_serial_zero_is_accepted(forge: Forge) -> None:
    assert judge(forge.evidence(vcek=forge.vcek(serial_zero=False)), forge.policy()).bound


def test_platforms_that_the_policy_does_not_name(forge: Forge) -> None:
    rejected = refuse(forge.evidence(), forge, platforms=("tdx", "sgx"))
    assert rejected.checks == ("platform.denied",)
    assert "does not name" in rejected.message


def test_platforms_that_the_policy_denies(forge: Forge) -> None:
    """The switch for a platform that is believed broken: it wins over the list of platforms."""
    rejected = refuse(forge.evidence(), forge, platforms=("snp", "tdx"), denied_platforms=("snp",))
    assert rejected.checks == ("platform.denied",)
    assert "denies" in rejected.message
