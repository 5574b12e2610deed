"""What verified SEV evidence says, typed for screens and receipts. Every value passed a check."""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.evidence.sev.bits import format_api
from wasmkeep.evidence.sev.chain import AuthenticPlatform
from wasmkeep.evidence.sev.evidence import SevKind
from wasmkeep.evidence.sev.measurement import ProvenLaunch

__all__ = ["SevFacts"]


@dataclass(frozen=True, slots=True)
class SevFacts:
    """``chip_rule`` and ``owner_rule`` say what was required of chip and owner."""

    kind: SevKind
    platform: AuthenticPlatform
    launch: ProvenLaunch
    chip_rule: str
    owner_rule: str

    @property
    def firmware(self) -> str:
        """API version and build, ``1.55.40``."""
        return format_api((self.launch.api_major, self.launch.api_minor, self.launch.build))
