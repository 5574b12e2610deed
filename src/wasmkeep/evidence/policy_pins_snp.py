"""What a policy pins of accepted SEV-SNP evidence (`policy_pins` says what that means)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import and_, or_
from types import MappingProxyType
from typing import Final

from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit, PlatformBit, abi_of, unknown_platform_bits
from wasmkeep.evidence.snp.facts import SnpFacts
from wasmkeep.evidence.snp.policy import SnpPolicy
from wasmkeep.evidence.snp.report import UNDESCRIBED, Report
from wasmkeep.evidence.snp.tcb import COMPONENTS, Tcb

__all__ = ["pinned_snp"]

_MAY_BE_SET: Final = (
    GuestPolicyBit.SMT | GuestPolicyBit.CXL_ALLOW | GuestPolicyBit.DEBUG | GuestPolicyBit.MIGRATE_MA
)
_MUST_BE_SET: Final = (
    GuestPolicyBit.SINGLE_SOCKET
    | GuestPolicyBit.MEM_AES_256_XTS
    | GuestPolicyBit.RAPL_DIS
    | GuestPolicyBit.CIPHERTEXT_HIDING_DRAM
    | GuestPolicyBit.PAGE_SWAP_DISABLE
)
_ALIAS_CHECK_SINCE: Final = 3
_PROTECTS: Final = (
    PlatformBit.TSME_EN
    | PlatformBit.ECC_EN
    | PlatformBit.RAPL_DIS
    | PlatformBit.CIPHERTEXT_HIDING_DRAM_EN
    | PlatformBit.ALIAS_CHECK_COMPLETE
)


def pinned_snp(shown: Sequence[SnpFacts]) -> SnpPolicy:
    """The policy for what at least one report shows."""
    reports = [facts.report for facts in shown]
    policies = reduce(and_, (report.policy for report in reports))
    says_alias = [report for report in reports if report.version >= _ALIAS_CHECK_SINCE]
    info_everywhere = reduce(and_, (report.platform_info for report in reports))
    masked = any(facts.chip_id is None for facts in shown)
    return SnpPolicy(
        generations=tuple(dict.fromkeys(facts.product for facts in shown)),
        steppings=_steppings(shown),
        signers=tuple(dict.fromkeys(facts.signer.lower() for facts in shown)),
        minimum_report_version=_by_product(shown, lambda report: report.version, min),
        minimum_abi=min(min(r.current_version[:2], r.committed_version[:2]) for r in reports),
        minimum_tcb=_minimum_tcb(shown),
        minimum_guest_svn=min(report.guest_svn for report in reports),
        maximum_vmpl=max(report.vmpl for report in reports),
        guest_allow=GuestPolicyBit(reduce(or_, (report.policy for report in reports)) & _MAY_BE_SET),
        guest_require=GuestPolicyBit(policies & _MUST_BE_SET),
        guest_minimum_abi=min(abi_of(report.policy) for report in reports),
        provisional_firmware=any(facts.provisional for facts in shown),
        alias_check=all(r.platform_info & PlatformBit.ALIAS_CHECK_COMPLETE for r in says_alias),
        platform_require=PlatformBit(info_everywhere & _PROTECTS),
        unknown_platform_bits=any(unknown_platform_bits(report.platform_info) for report in reports),
        undescribed_version=any(report.version == UNDESCRIBED for report in reports),
        launch_mitigations=_by_product(shown, lambda report: report.launch_mit_vector or 0, and_),
        current_mitigations=_by_product(shown, lambda report: report.current_mit_vector or 0, and_),
        masked_chip_id=masked,
        chips_allow=frozenset() if masked else frozenset(report.chip_id for report in reports),
        id_key_digests=_listed([report.id_key_digest for report in reports]),
        author_key_digests=_listed([report.author_key_digest for report in reports]),
        family_ids=_listed([report.family_id for report in reports]),
        image_ids=_listed([report.image_id for report in reports]),
    )


def _listed(values: Sequence[bytes]) -> frozenset[bytes]:
    """What is there in every report; zeros are nothing."""
    return frozenset(values) if all(map(any, values)) else frozenset()


def _by_product(
    shown: Sequence[SnpFacts], value: Callable[[Report], int], combine: Callable[[int, int], int]
) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for facts in shown:
        new = value(facts.report)
        found[facts.product] = combine(found.get(facts.product, new), new)
    return MappingProxyType({product: new for product, new in found.items() if new})


def _steppings(shown: Sequence[SnpFacts]) -> Mapping[str, frozenset[int]]:
    """None where a report of version 2 does not say."""
    found: dict[str, frozenset[int]] = {}
    for facts in shown:
        if facts.report.cpuid_stepping is None:
            return MappingProxyType({})
        found[facts.model_line] = found.get(facts.model_line, frozenset()) | {facts.report.cpuid_stepping}
    return MappingProxyType(found)


def _minimum_tcb(shown: Sequence[SnpFacts]) -> Mapping[str, Tcb]:
    """By component, the lowest that was reported or launched under."""
    found: dict[str, Tcb] = {}
    for facts in shown:
        line = facts.model_line or facts.product
        for tcb in (facts.reported_tcb, facts.launch_tcb):
            found[line] = _lower(found.get(line, tcb), tcb)
    return MappingProxyType({**defaults.MINIMUM_TCB, **found})


def _lower(one: Tcb, other: Tcb) -> Tcb:
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in COMPONENTS}
    return Tcb(**{name: min(pair) for name, pair in pairs.items() if None not in pair})
