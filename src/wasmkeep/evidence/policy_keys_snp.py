"""The keys of a policy file for AMD SEV-SNP (`policy_keys` says what a key is)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag

from wasmkeep.evidence import policy_values as read
from wasmkeep.evidence.policy_keys import Key, Says, Table, among, amount, shown, switch
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit, PlatformBit, format_abi
from wasmkeep.evidence.snp.products import MODEL_LINES
from wasmkeep.evidence.snp.report import VERSIONS
from wasmkeep.evidence.snp.tcb import COMPONENTS

__all__ = ["LINES", "MINIMUM_TCB", "SNP", "flag_words", "processors", "versioned"]

LINES = tuple(line.name for line in MODEL_LINES)
MINIMUM_TCB = "snp.minimum_tcb"
"""The path of the tables of minima, one a model line."""

_U64 = (1 << 64) - 1
_SNP_GENERATIONS = tuple(entry.name for entry in defaults.GENERATIONS if entry.has_snp)

_MAY_BE_SET: Mapping[str, GuestPolicyBit] = {
    "smt": GuestPolicyBit.SMT,
    "cxl": GuestPolicyBit.CXL_ALLOW,
    "debug": GuestPolicyBit.DEBUG,
    "migration-agent": GuestPolicyBit.MIGRATE_MA,
}
_MUST_BE_SET: Mapping[str, GuestPolicyBit] = {
    "single-socket": GuestPolicyBit.SINGLE_SOCKET,
    "aes-256-xts": GuestPolicyBit.MEM_AES_256_XTS,
    "rapl-disabled": GuestPolicyBit.RAPL_DIS,
    "ciphertext-hiding": GuestPolicyBit.CIPHERTEXT_HIDING_DRAM,
    "page-swap-disabled": GuestPolicyBit.PAGE_SWAP_DISABLE,
}
_PLATFORM: Mapping[str, PlatformBit] = {
    "smt": PlatformBit.SMT_EN,
    "tsme": PlatformBit.TSME_EN,
    "ecc": PlatformBit.ECC_EN,
    "rapl-disabled": PlatformBit.RAPL_DIS,
    "ciphertext-hiding": PlatformBit.CIPHERTEXT_HIDING_DRAM_EN,
    "alias-check": PlatformBit.ALIAS_CHECK_COMPLETE,
    "iommu-write-safe": PlatformBit.IOMMU_WRITE_SAFE,
    "tio": PlatformBit.TIO_EN,
}


def flag_words(bits: IntFlag, words: Mapping[str, IntFlag]) -> str:
    return ", ".join(word for word, bit in words.items() if bits & bit)


def _may(bits: GuestPolicyBit) -> str:
    allowed, refused = flag_words(bits, _MAY_BE_SET), flag_words(~bits, _MAY_BE_SET)
    text = (
        f"the guest policy may allow {allowed}" if allowed else "the guest policy may allow nothing further"
    )
    return f"{text}; it must not allow {refused}" if refused else text


def _must(bits: GuestPolicyBit) -> str:
    asked = flag_words(bits, _MUST_BE_SET)
    return f"the guest policy must demand {asked}" if asked else "nothing further must be in the guest policy"


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


def _masks(which: str) -> Says:
    def says(masks: Mapping[str, int]) -> str:
        asked = ", ".join(f"{mask:#x} for {name}" for name, mask in masks.items() if mask)
        if not asked:
            return f"mitigations {which} are not compared"
        return f"mitigations {which} must hold the bits {asked}; a report that does not say is refused"

    return says


def versioned(text: str) -> Says:
    return lambda version: text.format(f"{version[0]}.{version[1]}")


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

_SNP_PARTS = (
    Table(
        "snp.guest_policy",
        (
            Key(
                "allow",
                "guest_allow",
                read.bits(GuestPolicyBit(0), _MAY_BE_SET),
                "May be set: `smt`, `cxl`, `debug`, `migration-agent`. With `debug` the host can read the "
                "keep.",
                _may,
                _MAY_BE_SET,
            ),
            Key(
                "require",
                "guest_require",
                read.bits(GuestPolicyBit(0), _MUST_BE_SET),
                "Must be set: `single-socket`, `aes-256-xts`, `rapl-disabled`, `ciphertext-hiding`, "
                "`page-swap-disabled`.",
                _must,
                _MUST_BE_SET,
            ),
            Key(
                "minimum_abi",
                "guest_minimum_abi",
                read.version("1.51"),
                "Lowest firmware ABI that the guest policy itself must demand, so that the guest never "
                "runs on older firmware.",
                lambda version: (
                    f"the guest policy must itself demand a firmware ABI of at least {format_abi(version)}"
                    if any(version)
                    else "the guest policy need not demand a firmware ABI itself"
                ),
            ),
        ),
    ),
    Table(
        "snp.platform_info",
        (
            Key(
                "require",
                "platform_require",
                read.bits(PlatformBit(0), _PLATFORM),
                "Must be set in PLATFORM_INFO, whatever the guest policy asked for: "
                + ", ".join(f"`{word}`" for word in _PLATFORM)
                + ".",
                lambda bits: (
                    f"the platform must have: {flag_words(bits, _PLATFORM)}"
                    if bits
                    else "nothing further is required of the platform's configuration"
                ),
                _PLATFORM,
            ),
            Key(
                "forbid",
                "platform_forbid",
                read.bits(PlatformBit(0), _PLATFORM),
                "Must be clear in PLATFORM_INFO: the same words. A bit that the report's version does not "
                "have is refused, too: nobody can tell.",
                lambda bits: (
                    f"the platform must not have: {flag_words(bits, _PLATFORM)}"
                    if bits
                    else "nothing further is forbidden of the platform's configuration"
                ),
                _PLATFORM,
            ),
        ),
    ),
    Table(
        "snp.mitigations",
        tuple(
            Key(
                name,
                f"{name}_mitigations",
                read.number_each(0, _U64, *_SNP_GENERATIONS),
                f"Bits that {which} must hold: a mask (`0x3`), or a table by generation. Reports below "
                "version 5 do not say, and are refused where the mask is not 0.",
                _masks(words),
                mask=True,
            )
            for name, which, words in (
                ("launch", "LAUNCH_MIT_VECTOR, of the firmware that launched the keep,", "at launch"),
                ("current", "CURRENT_MIT_VECTOR, of the firmware that runs,", "that are active now"),
            )
        ),
    ),
    Table(
        "snp.chips",
        (
            Key(
                "allow",
                "chips_allow",
                read.chips,
                "Only these chips: ids of 128 hexadecimal digits (Turin: 16 are enough). Empty: any chip "
                "of the generations, and every screen says so.",
                among("the chip", "any chip of the generations named"),
            ),
            Key(
                "deny",
                "chips_deny",
                read.chips,
                "Never these.",
                lambda chips: f"never the chips {shown(chips)}" if chips else "no chip is denied by its id",
            ),
        ),
    ),
)

_COMPONENTS = {
    "fmc": "Boot code in the processor",
    "bootloader": "Secure processor's boot loader",
    "tee": "Secure processor's operating system",
    "snp": "SNP firmware",
    "microcode": "Microcode",
}

_SNP_MINIMA = tuple(
    Table(
        f"{MINIMUM_TCB}.{line}",
        tuple(
            Key(
                name,
                name,
                read.number(0, 0xFF),
                f"{_COMPONENTS[name]}, 0 to 255.",
                f"{_COMPONENTS[name]} of at least {{}}".format,
            )
            for name in COMPONENTS
        ),
    )
    for line in LINES
)

SNP = (_SNP, *_SNP_PARTS, *_SNP_MINIMA)
