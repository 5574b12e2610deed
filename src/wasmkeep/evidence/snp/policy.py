"""What a tenant requires of SEV-SNP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType

from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit, PlatformBit
from wasmkeep.evidence.snp.tcb import Tcb

__all__ = ["SnpPolicy"]

_NO_BITS = GuestPolicyBit(0)
_NO_PLATFORM_BITS = PlatformBit(0)
_NOTHING: Mapping[str, int] = MappingProxyType({})
_ANY_STEPPING: Mapping[str, frozenset[int]] = MappingProxyType({})


@dataclass(frozen=True)
class SnpPolicy:
    """SEV-SNP. An empty set of digests, identifiers or data means that it is not compared: the launch digest
    and the session decide; an empty ``chips_allow`` means any chip of the generations named.

    ``steppings`` are by model line (CPUID, 0 to 255), any where it has no entry. ``minimum_report_version``
    and the masks of mitigation vectors (u64) are by generation; a mask is 0 where it has no entry.
    ``report_data`` has 64 bytes, ``host_data`` 32. ``guest_minimum_abi`` is what the guest policy itself must
    demand of firmware.
    """

    generations: tuple[str, ...] = tuple(
        entry.name for entry in defaults.GENERATIONS if entry.has_snp and not entry.denied
    )
    steppings: Mapping[str, frozenset[int]] = field(default_factory=lambda: _ANY_STEPPING)
    signers: tuple[str, ...] = ("vcek",)
    minimum_report_version: Mapping[str, int] = field(default_factory=lambda: defaults.MINIMUM_REPORT_VERSION)
    minimum_abi: tuple[int, int] = (1, 51)
    minimum_tcb: Mapping[str, Tcb] = field(default_factory=lambda: defaults.MINIMUM_TCB)
    minimum_guest_svn: int = 0
    maximum_vmpl: int = 0
    guest_allow: GuestPolicyBit = GuestPolicyBit.SMT
    guest_require: GuestPolicyBit = _NO_BITS
    guest_minimum_abi: tuple[int, int] = (0, 0)
    provisional_firmware: bool = False
    alias_check: bool = True
    platform_require: PlatformBit = _NO_PLATFORM_BITS
    platform_forbid: PlatformBit = _NO_PLATFORM_BITS
    unknown_platform_bits: bool = False
    undescribed_version: bool = False
    launch_mitigations: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    current_mitigations: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    masked_chip_id: bool = False
    chips_allow: frozenset[bytes] = frozenset()
    chips_deny: frozenset[bytes] = frozenset()
    report_data: frozenset[bytes] = frozenset()
    host_data: frozenset[bytes] = frozenset()
    id_key_digests: frozenset[bytes] = frozenset()
    author_key_digests: frozenset[bytes] = frozenset()
    family_ids: frozenset[bytes] = frozenset()
    image_ids: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        """Mappings are copied, so that a policy cannot change: what follows from it is worked out once."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Mapping):
                object.__setattr__(self, entry.name, MappingProxyType(dict(value)))

    @cached_property
    def lifted_denials(self) -> tuple[str, ...]:
        """Generations that this release denies and this policy names."""
        return defaults.denied_among(self.generations)
