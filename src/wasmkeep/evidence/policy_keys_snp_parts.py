"""The smaller tables of SEV-SNP's keys: guest policy, platform, mitigations, chips and minimum TCB."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag

from wasmkeep.evidence import policy_values as read
from wasmkeep.evidence.policy_keys import Key, Says, Table, among, shown
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit, PlatformBit, format_abi
from wasmkeep.evidence.snp.products import MODEL_LINES
from wasmkeep.evidence.snp.tcb import COMPONENTS

__all__ = ["LINES", "MINIMUM_TCB", "SNP_MINIMA", "SNP_PARTS", "flag_words", "versioned"]

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


def _masks(which: str) -> Says:
    def says(masks: Mapping[str, int]) -> str:
        asked = ", ".join(f"{mask:#x} for {name}" for name, mask in masks.items() if mask)
        if not asked:
            return f"mitigations {which} are not compared"
        return f"mitigations {which} must hold the bits {asked}; a report that does not say is refused"

    return says


def versioned(text: str) -> Says:
    return lambda version: text.format(f"{version[0]}.{version[1]}")


SNP_PARTS = (
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

SNP_MINIMA = tuple(
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
