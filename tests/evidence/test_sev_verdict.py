"""The verdict on SEV and SEV-ES: what is accepted, each check that refuses, and what a result says is
lost."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace

import pytest

from tests.evidence.forge import AT, HOST_DATA, REPORT_DATA, Forge
from tests.evidence.sev_forge import (
    DIGEST,
    KEYS,
    NAME,
    PROOF_KEY,
    REFERENCES,
    SEV_KEYS,
    STRICT,
    SevForge,
)
from tests.evidence.test_sev_session import flips
from wasmkeep.evidence import (
    UNBOUND,
    AttestationResult,
    ChainMemory,
    Policy,
    Rejected,
    SevEvidence,
    SevKeys,
    verify,
)
from wasmkeep.evidence.errors import Kind
from wasmkeep.evidence.exceptions import exceptions
from wasmkeep.evidence.policy import SevPolicy
from wasmkeep.evidence.sev import checks
from wasmkeep.evidence.sev.bits import GuestPolicyBit
from wasmkeep.evidence.sev.evidence import KINDS, SevKind
from wasmkeep.evidence.sev.facts import SevFacts
from wasmkeep.evidence.sev.measurement import EMPTY_DIGEST

BOTH = {"no-memory-integrity", "firmware-unproven", "no-revocation-list"}
INHERENT = {"sev-es": BOTH, "sev": BOTH | {"registers-visible", "entry-point-unproven"}}


def judge(evidence: SevEvidence, policy: Policy, **changes: object) -> AttestationResult:
    """Verify with everything that a tenant's session would give."""
    arguments: dict[str, object] = {
        "at": AT,
        "binding": REPORT_DATA,
        "reference_values": REFERENCES,
        "sev_keys": SEV_KEYS,
    }
    return verify(evidence, policy, **(arguments | changes))  # type: ignore[arg-type]  # named arguments


def refused(evidence: SevEvidence, policy: Policy, **changes: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        judge(evidence, policy, **changes)
    return caught.value


def facts_of(result: AttestationResult) -> SevFacts:
    assert result.sev is not None
    assert result.snp is None
    return result.sev


@pytest.mark.parametrize("kind", KINDS)
def test_a_simulated_genoa_passes_a_policy_that_names_it(sev_forge: SevForge, kind: SevKind) -> None:
    evidence = sev_forge.evidence(kind)
    result = judge(evidence, sev_forge.policy(kind))
    assert (result.tee, result.product, result.tcb) == (kind, "Genoa", "1.55.40")
    assert result.simulated
    assert result.root.pin == sev_forge.pin
    assert result.chain == ("PDH", "PEK", "CEK", "ASK", "ARK")
    assert (result.launch_digest, result.reference) == (DIGEST, NAME)
    assert (result.bound, result.host_data_bound) == (True, True)
    assert (result.report_data, result.host_data) == (REPORT_DATA, b"")
    assert result.tenant_only
    words = [entry.what for entry in result.lost_protections]
    assert words[0] == "simulated"
    assert set(words[1:]) == INHERENT[kind]
    assert result.policy_checks == (
        "no debug",
        "no key sharing",
        "no migration",
        *(("registers encrypted",) if kind == "sev-es" else ()),
        "SEV API ≥ 0.24",
        "any owner of the platform",
        "any chip of this generation",
    )
    facts = facts_of(result)
    assert (facts.kind, facts.firmware) == (kind, "1.55.40")
    assert facts.platform.oca_digest == sev_forge.oca_digest
    assert facts.launch.digest == DIGEST


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_denied_until_a_policy_names_it(sev_forge: SevForge, kind: SevKind) -> None:
    others = [platform for platform in ("snp", *KINDS) if platform != kind]
    for policy in (sev_forge.policy("snp"), sev_forge.policy(*others)):
        error = refused(sev_forge.evidence(kind), policy)
        assert (error.check, error.kind, error.found) == ("platform.denied", Kind.REFUSED, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_tenants_keys_it_cannot_be_shown(sev_forge: SevForge, kind: SevKind) -> None:
    error = refused(sev_forge.evidence(kind), sev_forge.policy(), sev_keys=None)
    assert (error.check, error.kind) == ("sev.tenant-only", Kind.UNTRUSTED)
    assert "cannot be shown to others" in str(error)


def test_a_broken_chain_is_said_even_to_those_without_keys(sev_forge: SevForge, other_sev: SevForge) -> None:
    certificates = replace(sev_forge.certificates, pdh=other_sev.certificates.pdh)
    error = refused(sev_forge.evidence(certificates=certificates), sev_forge.policy(), sev_keys=None)
    assert error.check == "sev.chain.pdh"


def test_the_keys_are_not_printed(sev_forge: SevForge) -> None:
    assert repr(SEV_KEYS) == "SevKeys()"
    for error in (
        refused(sev_forge.evidence(), sev_forge.policy(), reference_values={}),
        refused(sev_forge.evidence(proof=bytes(32)), sev_forge.policy()),
    ):
        for secret in (KEYS.tik, KEYS.tek, PROOF_KEY):
            assert secret.hex() not in str(error)
            assert secret.hex() not in repr(error.findings)
    for tik, proof_key in ((bytes(15), PROOF_KEY), (KEYS.tik, bytes(31))):
        with pytest.raises(ValueError, match="16 bytes"):
            SevKeys(tik, proof_key)


# Launch


def test_each_part_of_the_launch_counts(sev_forge: SevForge) -> None:
    evidence, policy = sev_forge.evidence(), sev_forge.policy()
    altered = [replace(evidence, measurement=value) for value in flips(evidence.measurement)]
    altered += [replace(evidence, api_major=2), replace(evidence, api_minor=56), replace(evidence, build=41)]
    altered += [replace(evidence, policy=evidence.policy ^ 1 << bit) for bit in (*range(6), *range(16, 32))]
    for one in altered:
        assert refused(one, policy).check == "sev.measurement"
    for bit in range(6, 16):
        assert refused(replace(evidence, policy=evidence.policy | 1 << bit), policy).check == (
            "sev.policy.reserved"
        )
    for size in (0, 47, 49):
        error = refused(replace(evidence, measurement=bytes(size)), policy)
        assert error.check == "sev.measurement.size"
    for tik in flips(KEYS.tik):
        assert refused(evidence, policy, sev_keys=SevKeys(tik, PROOF_KEY)).check == "sev.measurement"


def test_a_launch_without_an_owner(sev_forge: SevForge) -> None:
    """LAUNCH_START without a session has a TIK of zeros, and everybody can compute its measurement."""
    evidence = sev_forge.evidence(tik=bytes(16))
    error = refused(evidence, sev_forge.policy(), sev_keys=SevKeys(bytes(16), PROOF_KEY))
    assert error.check == "sev.measurement.tik"


def test_a_launch_of_something_else(sev_forge: SevForge) -> None:
    for digest in (EMPTY_DIGEST, bytes(32)):
        assert refused(sev_forge.evidence(digest=digest), sev_forge.policy()).check == "sev.measurement"
    policy = sev_forge.policy(runtime=("another keep",))
    assert refused(sev_forge.evidence(), policy).check == "sev.measurement"


def test_any_measurement_changes_nothing(sev_forge: SevForge) -> None:
    """Who does not know the digest cannot check the HMAC."""
    policy = sev_forge.policy(any_measurement=True)
    assert judge(sev_forge.evidence(), policy).reference == NAME
    assert refused(sev_forge.evidence(digest=EMPTY_DIGEST), policy).check == "sev.measurement"
    assert refused(sev_forge.evidence(), policy, reference_values={}).check == "sev.measurement"


def test_a_digest_that_the_policy_lists_itself(sev_forge: SevForge) -> None:
    policy = sev_forge.policy(runtime=(DIGEST.hex(), "ab" * 48))
    result = judge(sev_forge.evidence(), policy, reference_values={bytes(48): NAME})
    assert result.reference == f"launch digest {DIGEST.hex()}"


LACKING = {
    # bit: (check, word of the policy's, word of the result's)
    GuestPolicyBit.NODBG: ("sev.policy.debug", "debug", "debug-allowed"),
    GuestPolicyBit.NOKS: ("sev.policy.key-sharing", "key-sharing", "key-sharing-allowed"),
    GuestPolicyBit.NOSEND: ("sev.policy.send", "send", "migration-allowed"),
}


@pytest.mark.parametrize("bit", LACKING)
@pytest.mark.parametrize("kind", KINDS)
def test_protecting_bits_are_required_though_the_hmac_is_right(
    sev_forge: SevForge, kind: SevKind, bit: GuestPolicyBit
) -> None:
    check, word, lost = LACKING[bit]
    evidence = sev_forge.evidence(kind, bits=STRICT & ~bit)
    error = refused(evidence, sev_forge.policy())
    assert (error.checks, error.kind) == ((check,), Kind.REFUSED)
    text = f'platforms = ["{kind}"]\nsimulated = "{sev_forge.pin}"\n[sev.guest_policy]\nallow = ["{word}"]'
    policy = Policy.from_toml(text, name="p.toml")
    result = judge(evidence, policy)
    assert lost in {entry.what for entry in result.lost_protections}
    assert lost in {entry.what for entry in exceptions(policy)}
    assert lost not in {entry.what for entry in judge(sev_forge.evidence(kind), policy).lost_protections}


def test_a_policy_of_zero_is_refused(sev_forge: SevForge) -> None:
    error = refused(sev_forge.evidence("sev", bits=GuestPolicyBit(0)), sev_forge.policy())
    assert error.checks == ("sev.policy.debug", "sev.policy.key-sharing", "sev.policy.send")


def test_a_launch_is_what_it_is_called(sev_forge: SevForge) -> None:
    """Security silently left off: a plain SEV launch offered as SEV-ES; and the other way round."""
    plain, es = sev_forge.evidence("sev"), sev_forge.evidence("sev-es")
    for evidence in (replace(plain, kind="sev-es"), replace(es, kind="sev")):
        assert refused(evidence, sev_forge.policy()).checks == ("sev.policy.es",)


@pytest.mark.parametrize("word", ["domain", "sev"])
def test_bits_that_a_policy_requires_as_well(sev_forge: SevForge, word: str) -> None:
    bit = GuestPolicyBit[word.upper()]
    policy = sev_forge.policy(sev=SevPolicy(guest_require=bit))
    assert refused(sev_forge.evidence(), policy).checks == ("sev.policy.required",)
    assert judge(sev_forge.evidence(bits=STRICT | bit), policy)


def test_old_firmware_is_refused_though_the_hmac_is_right(sev_forge: SevForge) -> None:
    old = sev_forge.evidence(version=(0, 23, 15))
    assert refused(old, sev_forge.policy()).checks == ("sev.measurement.api",)
    policy = sev_forge.policy(sev=SevPolicy(minimum_build={"Genoa": 41, "Turin": 99}))
    assert refused(sev_forge.evidence(), policy).checks == ("sev.measurement.build",)
    assert judge(sev_forge.evidence(version=(1, 55, 41)), policy).policy_checks[4].endswith("build ≥ 41")
    lower = sev_forge.policy(sev=SevPolicy(minimum_api=(0, 20)))
    result = judge(old, lower)
    lost = {entry.what: entry.text for entry in result.lost_protections}
    assert "the platform has 0.23" in lost["minimum-api-lowered"]
    anything = sev_forge.policy(sev=SevPolicy(minimum_api=(0, 0)))
    error = refused(sev_forge.evidence(version=(0, 16, 1)), anything)
    assert error.check == "sev.measurement.api"


def test_failures_of_a_launch_are_reported_together(sev_forge: SevForge) -> None:
    policy = sev_forge.policy(sev=SevPolicy(minimum_build={"Genoa": 16}))
    error = refused(sev_forge.evidence("sev", bits=GuestPolicyBit.NOKS, version=(0, 23, 15)), policy)
    assert error.checks == (
        "sev.measurement.api",
        "sev.measurement.build",
        "sev.policy.debug",
        "sev.policy.send",
    )


# Platform


def test_generations(sev_forge: SevForge) -> None:
    ark, ask = sev_forge.authorities("Milan")
    evidence = sev_forge.evidence(certificates=replace(sev_forge.certificates, ark=ark, ask=ask))
    error = refused(evidence, sev_forge.policy())
    assert (error.check, error.found, error.required) == ("sev.generation", "Milan", "Genoa or Turin")
    assert "extractable" in error.meaning
    result = judge(evidence, sev_forge.policy(sev=SevPolicy(generations=("Milan",))))
    words = [entry.what for entry in result.lost_protections]
    assert words[:2] == ["simulated", "denied-generation-allowed"]


def test_owners(sev_forge: SevForge) -> None:
    ours = sev_forge.policy(sev=SevPolicy(owners=frozenset({sev_forge.oca_digest, bytes(32)})))
    assert "an owner that the policy lists" in judge(sev_forge.evidence(), ours).policy_checks
    theirs = sev_forge.policy(sev=SevPolicy(owners=frozenset({bytes(32)})))
    assert refused(sev_forge.evidence(), theirs).check == "sev.owner"


def test_a_root_that_is_not_pinned(sev_forge: SevForge, other_sev: SevForge) -> None:
    for policy in (other_sev.policy(), Policy.default(platforms=("sev-es",))):
        assert refused(sev_forge.evidence(), policy).check == "sev.root"


def test_the_three_judgements_agree(sev_forge: SevForge) -> None:
    """What a tenant does before it wraps keys, and before it seals the secret."""
    evidence, policy = sev_forge.evidence(), sev_forge.policy()
    platform = checks.judge_platform(evidence.kind, evidence.certificates, policy)
    launch = checks.judge_launch(replace(evidence, proof=b""), platform, policy, REFERENCES, KEYS.tik)
    facts = facts_of(judge(evidence, policy))
    assert (facts.platform, facts.launch) == (platform, launch)


def test_chains_are_remembered_under_what_they_follow_from(sev_forge: SevForge, other_sev: SevForge) -> None:
    memory = ChainMemory()
    evidence, policy = sev_forge.evidence(), sev_forge.policy()
    first = facts_of(judge(evidence, policy, memory=memory))
    assert facts_of(judge(evidence, policy, memory=memory)).platform is first.platform
    for wrong in (other_sev.policy(), sev_forge.policy(sev=SevPolicy(owners=frozenset({bytes(32)})))):
        assert refused(evidence, wrong, memory=memory).check in {"sev.root", "sev.owner"}
    altered = replace(evidence.certificates, pdh=other_sev.certificates.pdh)
    assert refused(replace(evidence, certificates=altered), policy, memory=memory).check == "sev.chain.pdh"
    turin = sev_forge.policy(sev=SevPolicy(generations=("Turin",)))
    assert refused(evidence, turin, memory=memory).check == "sev.generation"


# Session


def test_the_proof_binds_the_session(sev_forge: SevForge) -> None:
    evidence, policy = sev_forge.evidence(), sev_forge.policy()
    for proof in flips(evidence.proof):
        error = refused(replace(evidence, proof=proof), policy)
        assert (error.checks, error.kind) == (("sev.proof",), Kind.UNTRUSTED)
    for binding in flips(REPORT_DATA):
        assert refused(evidence, policy, binding=binding).check == "sev.proof"
    for key in flips(PROOF_KEY):
        assert refused(evidence, policy, sev_keys=SevKeys(KEYS.tik, key)).check == "sev.proof"
    for size in (0, 31, 33, 64):
        assert refused(replace(evidence, proof=bytes(size)), policy).check == "sev.proof.size"
    assert evidence.proof == hmac.new(PROOF_KEY, REPORT_DATA, "sha256").digest()


def test_unbound_evidence_says_so(sev_forge: SevForge) -> None:
    result = judge(sev_forge.evidence(proof=bytes(32)), sev_forge.policy(), binding=UNBOUND)
    assert (result.bound, result.host_data_bound, result.report_data) == (False, False, b"")


def test_misuse_is_not_a_rejection(sev_forge: SevForge) -> None:
    for name, value in (
        ("host_data", HOST_DATA),
        ("binding", bytes(32)),
        ("reference_values", {bytes(20): ""}),
    ):
        with pytest.raises(ValueError, match="bytes"):
            judge(sev_forge.evidence(), sev_forge.policy(), **{name: value})


# What others read


@pytest.mark.parametrize("kind", KINDS)
def test_strangers_are_told_that_it_is_the_tenants_word(sev_forge: SevForge, kind: SevKind) -> None:
    result = judge(sev_forge.evidence(kind), sev_forge.policy())
    claims = json.loads(json.dumps(result._replace(simulated=False).claims()))
    one = claims["submods"][kind]
    assert one["ear_status"] == "warning", "nothing of SEV's is affirming"
    assert one["ear_trustworthiness_vector"]["runtime-opaque"] == 32
    assert one["ear_trustworthiness_vector"]["hardware"] == 32
    assert one["ear_trustworthiness_vector"]["configuration"] == (2 if kind == "sev-es" else 32)
    assert one["ear_verifier_claims"]["wasmkeep_verifiable_by"] == "tenant"
    assert one["ear_attester_claims"]["wasmkeep_firmware"] == "1.55.40"
    assert one["ear_attester_claims"]["wasmkeep_owner_key"] == "sha256:" + sev_forge.oca_digest.hex()
    for secret in (KEYS.tik, PROOF_KEY):
        assert secret.hex() not in json.dumps(claims)


def test_evidence_of_snp_needs_no_keys(forge: Forge) -> None:
    from tests.evidence.test_verification import judge as judge_snp

    result = judge_snp(forge.evidence(), forge.policy(), sev_keys=SEV_KEYS)
    assert not result.tenant_only
    claims = result.claims()
    assert '"wasmkeep_verifiable_by": "anyone"' in json.dumps(claims)


# What naming such a platform gives up


@pytest.mark.parametrize("platforms", [("sev",), ("sev-es",), ("snp", "sev-es", "sev")])
def test_naming_it_says_what_a_host_can_still_do(platforms: tuple[str, ...]) -> None:
    found = {entry.what: entry.text for entry in exceptions(Policy.default(platforms=platforms))}
    assert set(found) == INHERENT["sev" if "sev" in platforms else "sev-es"]
    if len(platforms) == 3:
        assert found["no-memory-integrity"].startswith("the policy default names SEV and SEV-ES: ")
        assert found["registers-visible"].startswith("the policy default names SEV: ")


def test_a_table_of_a_platform_that_is_not_named_gives_nothing_up() -> None:
    text = '[sev]\ngenerations = ["Naples"]\nminimum_api = "0.17"\n[sev.guest_policy]\nallow = ["debug"]'
    assert exceptions(Policy.from_toml(text, name="p.toml")) == ()
    named = exceptions(Policy.from_toml('platforms = ["sev-es"]\n' + text, name="p.toml"))
    words = {entry.what for entry in named}
    assert words == BOTH | {"denied-generation-allowed", "minimum-api-lowered", "debug-allowed"}
    snp = 'platforms = ["sev-es"]\n[snp]\ngenerations = ["Milan"]\nalias_check = false'
    assert {entry.what for entry in exceptions(Policy.from_toml(snp, name="p.toml"))} == BOTH


def test_two_platforms_that_give_up_the_same_are_both_said() -> None:
    text = 'platforms = ["snp", "sev-es"]\n[snp]\ngenerations = ["Milan"]\n[sev]\ngenerations = ["Rome"]'
    found = {entry.what: entry.text for entry in exceptions(Policy.from_toml(text, name="p.toml"))}
    assert "accepts Milan" in found["denied-generation-allowed"]
    assert "accepts Rome" in found["denied-generation-allowed"]
