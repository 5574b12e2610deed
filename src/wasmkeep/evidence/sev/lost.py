"""What a host can still do under SEV and SEV-ES, and what accepted evidence lacks that the shipped policy
asks.

Naming such a platform in a policy is what accepts the first part; `wasmkeep.evidence.exceptions` says the
same of a policy without evidence, by the same words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from wasmkeep.evidence.policy import SevPolicy
from wasmkeep.evidence.result import LostProtection
from wasmkeep.evidence.sev.bits import GuestPolicyBit, format_api
from wasmkeep.evidence.snp import defaults

if TYPE_CHECKING:
    from wasmkeep.evidence.sev.chain import AuthenticPlatform
    from wasmkeep.evidence.sev.evidence import SevKind
    from wasmkeep.evidence.sev.facts import SevFacts
    from wasmkeep.evidence.sev.measurement import ProvenLaunch

__all__ = ["ALLOWED", "inherent", "lost_protections", "of_the_root"]

ALLOWED = (
    (GuestPolicyBit.NODBG, "debug-allowed", "the host may read and write the keep's memory"),
    (
        GuestPolicyBit.NOKS,
        "key-sharing-allowed",
        "the host may start another guest with the keep's memory key",
    ),
    (GuestPolicyBit.NOSEND, "migration-allowed", "the keep's state may be sent to another platform"),
)
"""Protecting bits that a launch may lack, the word for each, and what that means."""

_BOTH = (
    (
        "no-memory-integrity",
        "no memory integrity: the host can replay and remap memory, and so may learn what the keep sends",
    ),
    (
        "firmware-unproven",
        "the launch measurement vouches for the SEV firmware's version, not for microcode or boot code",
    ),
    (
        "no-revocation-list",
        "SEV's certificates have neither dates nor a revocation list: a stolen key counts for ever",
    ),
)
_SEV_ONLY = (
    (
        "registers-visible",
        "the hypervisor sees the keep's registers at every exit, cipher keys included, and can change them",
    ),
    (
        "entry-point-unproven",
        "the launch measurement says nothing about the entry point: the host chooses where the keep starts",
    ),
)


def inherent(kind: SevKind) -> tuple[LostProtection, ...]:
    """What no launch of this kind protects from."""
    found = (*_SEV_ONLY, *_BOTH) if kind == "sev" else _BOTH
    return tuple(LostProtection(what, text) for what, text in found)


def lost_protections(facts: SevFacts, policy: SevPolicy) -> tuple[LostProtection, ...]:
    """What this evidence gives up: its root and generation, its kind, its policy bits, lowered floors."""
    return (
        *of_the_root(facts.platform, policy),
        *inherent(facts.kind),
        *(LostProtection(what, text) for bit, what, text in ALLOWED if not facts.launch.policy.bits & bit),
        *_lowered_floors(facts.launch, policy),
    )


def of_the_root(platform: AuthenticPlatform, policy: SevPolicy) -> Iterator[LostProtection]:
    """What the platform itself gives up, whatever is launched there."""
    if platform.root.simulated:
        pin = platform.root.pin
        text = f"the root {pin} is a simulator's: nothing is protected from the owner of that computer"
        yield LostProtection("simulated", text)
    generation = platform.generation
    if generation in policy.lifted_denials:
        known = defaults.generation(generation)
        text = f"{generation} is accepted because the policy names it; {known.denied if known else ''}"
        yield LostProtection("denied-generation-allowed", text)


def _lowered_floors(launch: ProvenLaunch, policy: SevPolicy) -> Iterator[LostProtection]:
    shipped = SevPolicy()
    if policy.minimum_api < shipped.minimum_api:
        found = format_api((launch.api_major, launch.api_minor))
        text = (
            f"the minimum SEV API is {format_api(policy.minimum_api)}, "
            f"{format_api(shipped.minimum_api)} by default; the platform has {found}"
        )
        yield LostProtection("minimum-api-lowered", text)
