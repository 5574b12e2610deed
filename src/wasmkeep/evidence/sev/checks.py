"""The verdict on SEV and SEV-ES. The steps, in order; the code below carries their numbers.

A pre-attested launch is judged three times, by the tenant alone, each time before something leaves it:
`judge_platform` before it wraps keys for a platform, `judge_launch` before it seals the launch secret, and
`verify`, which repeats both and binds the keep to the session. Receipts are judged by `verify` again.

Platform. A failure ends the verdict at once.
 1. The policy names this kind. Naming it is what accepts what such a platform does not protect from (`lost`).
 2. The certificates form both chains up to a pinned root, and the owner is one that the policy names
    (`chain`).
 3. The generation is one the policy names.

Launch. Steps 4 to 6 end the verdict at once; from 7 on all failures are reported together.
 4. The verifier holds the tenant's keys: the measurement is an HMAC under a key that the tenant itself made,
    so it convinces nobody else, and whoever has the keys could have made it.
 5. The measurement has its size, and the policy no reserved bit.
 6. The HMAC under TIK fits the version, build and policy stated and a launch digest that the policy names.
    What else was launched cannot be learnt from an HMAC, so `any_measurement` changes nothing here.
 7. API version and build reach their minimum.
 8. ES is set for ``sev-es``, and clear for ``sev``: a launch is what it is called.
 9. NODBG, NOKS and NOSEND are set, but for those that the policy allows to lack; so is all that it requires.

Session.
10. The keep's proof is the HMAC of the expected report data (or the caller said UNBOUND). The report data
    names the session's nonce, the tenant's key and both keys of the keep; SEV has no host data.

Left to the caller: that reference values are its own, that one packet was sealed for a measurement, and that
no nonce, key or IV was used twice. SEV's certificates have no dates: the moment decides nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.platforms import platform_denied
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.evidence.sev import chain, measurement, outcome
from wasmkeep.evidence.sev.bits import GuestPolicyBit
from wasmkeep.evidence.sev.chain import AuthenticPlatform, PlatformCertificates
from wasmkeep.evidence.sev.evidence import SevEvidence, SevKeys, SevKind
from wasmkeep.evidence.sev.findings import malformed, refused, untrusted
from wasmkeep.evidence.sev.lost import ALLOWED
from wasmkeep.evidence.sev.measurement import LaunchMeasurement, ProvenLaunch
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.memory import ChainMemory

__all__ = ["NAMES", "Session", "judge_launch", "judge_platform", "verify"]

NAMES: Mapping[SevKind, str] = {"sev": "AMD SEV", "sev-es": "AMD SEV-ES"}
_POLICY = "AMD 55766, 3 guest policy"
_PROOF_SIZE = 32
_REQUIRABLE = ((GuestPolicyBit.DOMAIN, "domain"), (GuestPolicyBit.SEV, "sev"))


@dataclass(frozen=True, slots=True)
class Session:
    """What the verifier brings: the moment, the report data expected (64 bytes), reference values, and the
    tenant's keys, where it has them."""

    at: datetime
    binding: bytes | Unbound
    reference_values: Mapping[bytes, str]
    keys: SevKeys | None


def verify(evidence: SevEvidence, policy: Policy, session: Session, memory: ChainMemory) -> AttestationResult:
    """See `wasmkeep.evidence.verify`."""
    # 1 to 3
    platform = judge_platform(evidence.kind, evidence.certificates, policy, memory)
    # 4
    if session.keys is None:
        raise Rejected(_tenant_only(evidence.kind))
    # 5 to 9
    launch = judge_launch(evidence, platform, policy, session.reference_values, session.keys.tik)
    # 10
    _require_proof(evidence.proof, session.keys.proof_key, session.binding)
    name = outcome.accepted_digests(policy, session.reference_values)[launch.digest]
    facts = outcome.facts(evidence.kind, platform, launch, policy)
    return outcome.result(evidence, facts, policy, at=session.at, binding=session.binding, reference=name)


def judge_platform(
    kind: SevKind, certificates: PlatformCertificates, policy: Policy, memory: ChainMemory | None = None
) -> AuthenticPlatform:
    """Steps 1 to 3: whether keys may be wrapped for this platform. Raises `Rejected`: ``platform.denied``,
    those of `chain.authenticate`, ``sev.generation``."""
    # 1
    if kind not in policy.platforms:
        raise Rejected(platform_denied(kind, policy))
    # 2
    roots, owners = policy.roots, policy.sev.owners
    platform = (memory or ChainMemory()).platform(
        certificates, roots, owners, lambda: chain.authenticate(certificates, roots, owners)
    )
    # 3
    if platform.generation not in policy.sev.generations:
        raise Rejected(_wrong_generation(platform.generation, policy))
    return platform


def judge_launch(
    evidence: SevEvidence,
    platform: AuthenticPlatform,
    policy: Policy,
    reference_values: Mapping[bytes, str],
    tik: bytes,
) -> ProvenLaunch:
    """Steps 5 to 9: whether a secret may be sealed for this launch (``proof`` is not looked at). Raises
    `Rejected`: those of `measurement.verify_measurement`, ``sev.policy.es``, ``.debug``, ``.key-sharing``,
    ``.send``, ``.required``."""
    # 5, 6
    launch = measurement.verify_measurement(
        tik,
        LaunchMeasurement.parse(evidence.measurement),
        evidence.api_major,
        evidence.api_minor,
        evidence.build,
        evidence.policy,
        outcome.accepted_digests(policy, reference_values),
    )
    # 7
    sev = policy.sev
    minimum_build = sev.minimum_build.get(platform.generation, 0)
    api = (launch.api_major, launch.api_minor)
    findings = list(measurement.too_old(api, launch.build, sev.minimum_api, minimum_build))
    # 8, 9
    findings += _guest_policy(evidence.kind, evidence.policy, policy)
    if findings:
        raise Rejected(*findings)
    return launch


def _guest_policy(kind: SevKind, value: int, policy: Policy) -> Iterator[Finding]:
    found = f"guest policy {value:#x}"
    # 8
    if bool(value & GuestPolicyBit.ES) != (kind == "sev-es"):
        required = "bit 2 (ES) set" if kind == "sev-es" else "bit 2 (ES) clear"
        meaning = "the hypervisor would see registers at every exit" if kind == "sev-es" else ""
        message = f"the guest policy is not that of {NAMES[kind]}"
        yield refused("policy.es", message, found, required, _POLICY, meaning=meaning)
    # 9
    for bit, word, meaning in ALLOWED:
        if not value & bit and not policy.sev.guest_allow & bit:
            check = "send" if bit is GuestPolicyBit.NOSEND else word.removesuffix("-allowed")
            message = f"the keep was started with a guest policy that lacks {bit.name}"
            required = f"bit {_number(bit)} ({bit.name}) set"
            yield refused(f"policy.{check}", message, found, required, _POLICY, meaning=meaning)
    for bit, word in _REQUIRABLE:
        if policy.sev.guest_require & bit and not value & bit:
            message = f"the keep was started with a guest policy that does not require {word}"
            required = f"bit {_number(bit)} ({bit.name}) set"
            yield refused("policy.required", message, found, required, _POLICY)


def _require_proof(proof: bytes, key: bytes, binding: bytes | Unbound) -> None:
    if len(proof) != _PROOF_SIZE:
        found, required = f"{len(proof)} bytes", f"{_PROOF_SIZE} bytes"
        raise malformed("proof.size", "the keep's proof has a wrong size", found, required)
    if isinstance(binding, Unbound):
        return
    expected = hmac.digest(key, binding, "sha256")
    if not hmac.compare_digest(expected, proof):
        raise Rejected(
            untrusted(
                "proof",
                "the keep did not prove that it holds this launch's secret for this session",
                proof.hex(),
                "an HMAC of the session's report data",
                "wasmkeep protocol: pre-attested launch",
                meaning="no keep was given the secret, or it speaks for another key or nonce, or is replayed",
            )
        )


def _number(bit: GuestPolicyBit) -> int:
    return int(bit).bit_length() - 1


def _wrong_generation(generation: str, policy: Policy) -> Finding:
    known = defaults.generation(generation)
    return refused(
        "generation",
        f"the policy does not accept {generation} processors",
        generation,
        " or ".join(policy.sev.generations),
        "wasmkeep policy: sev.generations",
        meaning=known.denied if known else "",
        advice=f"a policy that accepts the risk names it: sev.generations = [{generation!r}, …]",
    )


def _tenant_only(kind: SevKind) -> Finding:
    return Finding(
        "sev.tenant-only",
        Kind.UNTRUSTED,
        f"evidence of {NAMES[kind]} cannot be shown to others",
        found="no stored session of the tenant's",
        required="the keys that the tenant made for this launch",
        section="AMD 55766, 6.5 LAUNCH_MEASURE",
        meaning="it is an HMAC under the tenant's own key: the tenant could have made it itself",
        advice="verify it where the tenant's state is; or deploy on SEV-SNP, whose evidence convinces anyone",
    )
