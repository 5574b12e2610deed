"""What a tenant requires of SEV and SEV-ES."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from wasmkeep.evidence.sev.bits import GuestPolicyBit
from wasmkeep.evidence.snp import defaults

__all__ = ["SevPolicy"]

_NO_BITS = GuestPolicyBit(0)


@dataclass(frozen=True, slots=True)
class SevPolicy:
    """SEV and SEV-ES, where ``platforms`` names them. An empty ``owners`` accepts any owner of a platform,
    else those whose OCA key has one of these digests (SHA-256 of its field, 32 bytes). ``minimum_build`` is
    by generation, 0 where it says nothing. ``guest_allow`` holds protecting bits (NODBG, NOKS, NOSEND) that a
    launch may lack, ``guest_require`` further ones that it must have.
    """

    generations: tuple[str, ...] = tuple(entry.name for entry in defaults.GENERATIONS if not entry.denied)
    minimum_api: tuple[int, int] = (0, 24)
    minimum_build: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    owners: frozenset[bytes] = frozenset()
    guest_allow: GuestPolicyBit = _NO_BITS
    guest_require: GuestPolicyBit = _NO_BITS

    @property
    def lifted_denials(self) -> tuple[str, ...]:
        """Generations that this release denies and this policy names."""
        return defaults.denied_among(self.generations)
