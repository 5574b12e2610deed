"""The keys of a policy file for AMD SEV-SNP (`policy_keys` says what a key is)."""

from __future__ import annotations

from collections.abc import Mapping

from wasmkeep.evidence import policy_values as read
from wasmkeep.evidence.policy_keys import Key, Table, among, amount, shown, switch
from wasmkeep.evidence.policy_keys_snp_parts import LINES, SNP_MINIMA, SNP_PARTS, versioned
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.report import VERSIONS

__all__ = ["SNP", "processors"]

_SNP_GENERATIONS = tuple(entry.name for entry in defaults.GENERATIONS if entry.has_snp)


def processors(names: tuple[str, ...]) -> str:
    denied = defaults.denied_among(names)
    text = f"the processor must be {' or '.join(names)}"
    if denied:
        return (
            f"{text}; {', '.join(denied)} BY NAME, whose evidence can be forged by who extracted its secrets"
        )
    return text


def _steppings(by_line: Mapping[str, frozenset[int]]) -> str:
    asked = "; ".join(f"{line} {shown(steppings)}" for line, steppings in by_line.items())
    return f"the processor's stepping (CPUID) must be one of: {asked}" if asked else "any stepping"


def _versions(floors: Mapping[str, int]) -> str:
    merged = {**defaults.MINIMUM_REPORT_VERSION, **floors}
    each = ", ".join(f"{version} for {name}" for name, version in merged.items())
    return f"the report's version must be at least {each}"


def _vmpl(highest: int) -> str:
    if not highest:
        made = "must have been made at VMPL 0, the keep's own"
    else:
        made = f"may have been made at VMPL 0 to {highest}"
    return f"the report {made}; one that the host asked for never passes"


def _signers(kinds: tuple[str, ...]) -> str:
    names = {"vcek": "the chip's own key (VCEK)", "vlek": "a cloud's key (VLEK)"}
    accepted = " or ".join(names[kind] for kind in kinds)
    return f"the report must be signed by {accepted}; an unsigned one never passes"


_EMPTY = "Empty: the launch digest alone decides."

_SNP = Table(
    "snp",
    (
        Key(
            "generations",
            "generations",
            read.choice(*_SNP_GENERATIONS),
            "Processor generations: `Milan`, `Genoa` (with Bergamo and Siena), `Turin`. Naming a denied one "
            "accepts it, and is printed and on the receipt.",
            processors,
        ),
        Key(
            "steppings",
            "steppings",
            read.numbers_each(0, 0xFF, *LINES),
            "CPU steppings accepted, by model line, as in `{ Milan = [1], Genoa = [1, 2] }` (CPUID's "
            "number). Any where a line is not named. A report of version 2 does not say, and is refused "
            "where a line of its product is named.",
            _steppings,
        ),
        Key(
            "signers",
            "signers",
            read.choice("vcek", "vlek"),
            "Keys that may sign reports: `vcek` is one chip's own, `vlek` is loaded by a cloud provider. A "
            "report that says `none` is always refused.",
            _signers,
        ),
        Key(
            "minimum_report_version",
            "minimum_report_version",
            read.number_each(min(VERSIONS), max(VERSIONS), *_SNP_GENERATIONS),
            "2 to 5: one number, or a table by generation such as `{ Turin = 5 }`. Older versions leave "
            "out fields that this policy judges, and a host could offer one to hide them.",
            _versions,
        ),
        Key(
            "minimum_abi",
            "minimum_abi",
            read.version("1.51"),
            "Lowest firmware ABI, current and committed.",
            versioned("the firmware's ABI must be at least {}, current and committed"),
        ),
        Key(
            "minimum_guest_svn",
            "minimum_guest_svn",
            read.number(0, 0xFFFF_FFFF),
            "Lowest guest SVN.",
            amount("the guest SVN must be at least {}", "any guest SVN"),
        ),
        Key(
            "maximum_vmpl",
            "maximum_vmpl",
            read.number(0, 3),
            "Highest privilege level a report may be made at, 0 (the keep's own) to 3. A report that the "
            "host asked for is always refused.",
            _vmpl,
        ),
        Key(
            "provisional_firmware",
            "provisional_firmware",
            read.flag,
            "Accept firmware that can still be rolled back (committed below current).",
            switch(
                "firmware that can still be rolled back is accepted (committed below current)",
                "firmware must be committed: nothing that runs may still be rolled back",
            ),
        ),
        Key(
            "alias_check",
            "alias_check",
            read.flag,
            "The platform must have checked that no two addresses name the same memory (reports of version "
            "3 and later say).",
            switch(
                "the platform must have checked its memory for aliases, where the report version says (3 "
                "and later)",
                "the platform need not have checked its memory for aliases",
            ),
        ),
        Key(
            "unknown_platform_bits",
            "unknown_platform_bits",
            read.flag,
            "Accept platform info bits that this version does not know.",
            switch("unknown platform info bits are accepted", "no unknown platform info bits"),
        ),
        Key(
            "undescribed_version",
            "undescribed_version",
            read.flag,
            "Accept reports of version 4, which AMD has not described in public. Some Milan machines make "
            "them. They are read like version 3, and what that reserves must be zero.",
            switch(
                "a report of version 4, which AMD has not described, is read like version 3",
                "no report of version 4, which AMD has not described",
            ),
        ),
        Key(
            "masked_chip_id",
            "masked_chip_id",
            read.flag,
            "Accept a host that hides which chip it is. A masked id satisfies no list of chips.",
            switch(
                "the host may hide which chip it is",
                "the chip must say which it is: a masked chip id is refused",
            ),
        ),
        Key(
            "report_data",
            "report_data",
            read.hexadecimal(64),
            "Report data, 128 digits each, where it is known beforehand. Empty: the session alone decides.",
            among("the report data", "the report data must fit the session; nothing else is asked of it"),
        ),
        Key(
            "host_data",
            "host_data",
            read.hexadecimal(32),
            "Host data, 64 digits each, where it is known beforehand. Empty: the session alone decides.",
            among("the host data", "the host data must fit the session; nothing else is asked of it"),
        ),
        Key(
            "id_key_digests",
            "id_key_digests",
            read.hexadecimal(48),
            f"SHA-384 of ID keys, 96 digits each. {_EMPTY}",
            among("the ID key's digest", "any ID key, or none"),
        ),
        Key(
            "author_key_digests",
            "author_key_digests",
            read.hexadecimal(48),
            f"SHA-384 of author keys, 96 digits each. {_EMPTY}",
            among("the author key's digest", "any author key, or none"),
        ),
        Key(
            "family_ids",
            "family_ids",
            read.hexadecimal(16),
            f"Family ids, 32 digits each. {_EMPTY}",
            among("the family id", "any family id"),
        ),
        Key(
            "image_ids",
            "image_ids",
            read.hexadecimal(16),
            f"Image ids, 32 digits each. {_EMPTY}",
            among("the image id", "any image id"),
        ),
    ),
)

SNP = (_SNP, *SNP_PARTS, *SNP_MINIMA)
