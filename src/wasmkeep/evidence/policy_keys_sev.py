"""The keys of a policy file for AMD SEV-ES and SEV (`policy_keys` says what a key is)."""

from __future__ import annotations

from collections.abc import Mapping

from wasmkeep.evidence import policy_values as read
from wasmkeep.evidence.policy_keys import Key, Table, among
from wasmkeep.evidence.policy_keys_snp import processors
from wasmkeep.evidence.policy_keys_snp_parts import flag_words, versioned
from wasmkeep.evidence.sev.bits import GuestPolicyBit as SevBit
from wasmkeep.evidence.snp import defaults

__all__ = ["SEV"]

_GENERATIONS = tuple(entry.name for entry in defaults.GENERATIONS)

# What a launch of SEV may lack are bits that protect: a word names what their absence lets a host do.
_SEV_MAY_LACK: Mapping[str, SevBit] = {
    "debug": SevBit.NODBG,
    "key-sharing": SevBit.NOKS,
    "send": SevBit.NOSEND,
}
_SEV_MUST_HAVE: Mapping[str, SevBit] = {"domain": SevBit.DOMAIN, "sev": SevBit.SEV}


def _sev_may(bits: SevBit) -> str:
    opened = flag_words(bits, _SEV_MAY_LACK)
    if opened:
        return f"a launch may leave open to the host: {opened}"
    return "a launch must close debugging, key sharing and sending (NODBG, NOKS, NOSEND)"


def _sev_must(bits: SevBit) -> str:
    asked = flag_words(bits, _SEV_MUST_HAVE)
    return f"a launch must also demand {asked}" if asked else "nothing further must be in a launch's policy"


def _builds(builds: Mapping[str, int]) -> str:
    asked = ", ".join(f"{build} for {name}" for name, build in builds.items() if build)
    return f"the SEV firmware's build must be at least {asked}" if asked else "any build of the SEV firmware"


_MAIN = Table(
    "sev",
    (
        Key(
            "generations",
            "generations",
            read.choice(*_GENERATIONS),
            "Processor generations: `Naples`, `Rome`, `Milan`, `Genoa`, `Turin`. Naming a denied one "
            "accepts it, and is printed and on the receipt.",
            processors,
        ),
        Key(
            "minimum_api",
            "minimum_api",
            read.version("0.24"),
            "Lowest SEV API version that the launch measurement may state. Below 0.17 a measurement says "
            "neither version nor policy, and is refused whatever the policy says.",
            versioned("the SEV API must be at least {}"),
        ),
        Key(
            "minimum_build",
            "minimum_build",
            read.number_each(0, 0xFF, *_GENERATIONS),
            "Lowest build of the SEV firmware, 0 to 255: one number, or a table by generation such as "
            "`{ Genoa = 40 }`. Builds of one generation say nothing about another's; this release knows none "
            "that it would ask of every platform.",
            _builds,
        ),
        Key(
            "owners",
            "owners",
            read.hexadecimal(32),
            "Whose platforms: SHA-256 of the 1,028 bytes of the owner CA's (OCA) public key, 64 digits "
            "each, as `evidence show` prints it. Empty: any owner, also a platform that owns itself.",
            among("the platform's owner (OCA)", "any owner of the platform"),
        ),
    ),
)
_POLICY = Table(
    "sev.guest_policy",
    (
        Key(
            "allow",
            "guest_allow",
            read.bits(SevBit(0), _SEV_MAY_LACK),
            "What a launch may leave open, for evidence of launches that are not wasmkeep's: `debug` "
            "(NODBG may lack: the host can read the keep), `key-sharing` (NOKS), `send` (NOSEND).",
            _sev_may,
            _SEV_MAY_LACK,
        ),
        Key(
            "require",
            "guest_require",
            read.bits(SevBit(0), _SEV_MUST_HAVE),
            "Must be set as well: `domain` (only within the owner's domain), `sev` (only to genuine "
            "platforms).",
            _sev_must,
            _SEV_MUST_HAVE,
        ),
    ),
)

SEV = (_MAIN, _POLICY)
