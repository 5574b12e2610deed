"""What this release believes about processor generations, with the date of that belief.

A policy that says nothing takes these values. They age: new firmware fixes holes, and generations fall.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from wasmkeep.evidence.snp.tcb import Tcb

__all__ = [
    "DATE",
    "GENERATIONS",
    "MINIMUM_REPORT_VERSION",
    "MINIMUM_TCB",
    "Generation",
    "denied_among",
    "generation",
]

DATE = date(2026, 11, 23)


@dataclass(frozen=True, slots=True)
class Generation:
    """A processor generation. ``denied`` says why evidence of it is refused until a policy names it, empty
    where it is not; ``has_snp`` is False for those that predate SEV-SNP."""

    name: str
    has_snp: bool
    denied: str = ""


_EXTRACTED = "root secrets of this generation were published as extractable: such evidence can be forged"

GENERATIONS = (
    Generation("Naples", has_snp=False, denied=_EXTRACTED),
    Generation("Rome", has_snp=False, denied=_EXTRACTED),
    Generation("Milan", has_snp=True, denied=_EXTRACTED),
    Generation("Genoa", has_snp=True),
    Generation("Turin", has_snp=True),
)

MINIMUM_REPORT_VERSION: Mapping[str, int] = MappingProxyType({"Milan": 3, "Genoa": 3, "Turin": 3})
"""Lowest version of a report, by generation: what an older one leaves out, nobody can judge."""

MINIMUM_TCB: Mapping[str, Tcb] = MappingProxyType(
    {
        # By model line (`products.MODEL_LINES`): microcode numbers of one line say nothing about another's.
        # Microcode: the lowest, among the steppings of a line, that closes AMD-SB-3019 (unsigned microcode).
        "Milan": Tcb(bootloader=4, tee=0, snp=24, microcode=219),
        "Genoa": Tcb(bootloader=9, tee=0, snp=23, microcode=72),
        "Bergamo": Tcb(bootloader=9, tee=0, snp=23, microcode=25),
        "Turin": Tcb(fmc=0, bootloader=1, tee=1, snp=3, microcode=71),
    }
)
"""Lowest REPORTED_TCB accepted, by model line."""


def generation(name: str) -> Generation | None:
    """The entry of that name, or None."""
    return next((entry for entry in GENERATIONS if entry.name == name), None)


def denied_among(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names whose generation this release denies, in their order."""
    denied = {entry.name for entry in GENERATIONS if entry.denied}
    return tuple(name for name in names if name in denied)
