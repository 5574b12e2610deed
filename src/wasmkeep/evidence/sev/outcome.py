"""The result of accepted SEV evidence: facts, what was required, and what the policy gave up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime

from wasmkeep import __version__
from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.evidence.sev.bits import GuestPolicyBit, format_api
from wasmkeep.evidence.sev.chain import AuthenticPlatform
from wasmkeep.evidence.sev.evidence import SevEvidence, SevKind
from wasmkeep.evidence.sev.facts import SevFacts
from wasmkeep.evidence.sev.lost import lost_protections
from wasmkeep.evidence.sev.measurement import DIGEST_SIZE, ProvenLaunch

__all__ = ["accepted_digests", "facts", "result"]

_HELD = (
    (GuestPolicyBit.NODBG, "no debug"),
    (GuestPolicyBit.NOKS, "no key sharing"),
    (GuestPolicyBit.NOSEND, "no migration"),
    (GuestPolicyBit.ES, "registers encrypted"),
)


def accepted_digests(policy: Policy, reference_values: Mapping[bytes, str]) -> dict[bytes, str]:
    """The launch digests (32 bytes) that the policy accepts, each with its name. A reference value counts
    only under a name that the policy lists."""
    listed = {digest: f"launch digest {digest.hex()}" for digest in policy.runtime_digests}
    named = {digest: name for digest, name in reference_values.items() if name in policy.runtime_names}
    return {digest: name for digest, name in (listed | named).items() if len(digest) == DIGEST_SIZE}


def facts(kind: SevKind, platform: AuthenticPlatform, launch: ProvenLaunch, policy: Policy) -> SevFacts:
    """What was found, and what was required of chip and owner."""
    owner_rule = "an owner that the policy lists" if policy.sev.owners else "any owner of the platform"
    return SevFacts(kind, platform, launch, "any chip of this generation", owner_rule)


def result(
    evidence: SevEvidence,
    facts: SevFacts,
    policy: Policy,
    *,
    at: datetime,
    binding: bytes | Unbound,
    reference: str,
) -> AttestationResult:
    """Assemble the result; called only when no step refused."""
    root, bound = facts.platform.root, not isinstance(binding, Unbound)
    return AttestationResult(
        tee=evidence.kind,
        at=at,
        verifier=f"wasmkeep {__version__}",
        policy=policy,
        evidence_digest=hashlib.sha256(evidence.launch).digest(),
        root_name=root.name,
        root_spki=root.spki_sha256,
        simulated=root.simulated,
        chain=("PDH", "PEK", "CEK", "ASK", "ARK"),
        product=facts.platform.generation,
        launch_digest=facts.launch.digest,
        reference=reference,
        report_data=b"" if isinstance(binding, Unbound) else binding,
        host_data=b"",
        bound=bound,
        host_data_bound=bound,
        chip=facts.chip_rule,
        tcb=facts.firmware,
        revocation="SEV has no revocation list",
        policy_checks=tuple(_policy_checks(facts, policy)),
        lost_protections=lost_protections(facts, policy.sev),
        sev=facts,
    )


def _policy_checks(facts: SevFacts, policy: Policy) -> Iterator[str]:
    """What held, in words; each from the check that established it."""
    for bit, words in _HELD:
        if facts.launch.policy.bits & bit:
            yield words
    build = policy.sev.minimum_build.get(facts.platform.generation, 0)
    yield f"SEV API ≥ {format_api(policy.sev.minimum_api)}" + (f", build ≥ {build}" if build else "")
    yield facts.owner_rule
    yield facts.chip_rule
