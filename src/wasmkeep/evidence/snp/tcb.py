"""TCB_VERSION: the security version numbers of a platform's firmware, 8 bytes (N-2.2, table 3).

Which byte means what follows from the CPU family, not from the report's version. Versions are compared
component by component, never as one integer.
"""

from __future__ import annotations

import operator
import struct
from dataclasses import dataclass
from enum import Enum

__all__ = ["COMPONENTS", "Tcb", "TcbLayout"]


class TcbLayout(Enum):
    """The components in the order of ``COMPONENTS``, one byte each."""

    FAMILY_19H = struct.Struct("<BB4xBB")
    """Milan, Genoa (with Bergamo and Siena), without FMC; bytes 2 to 5 reserved."""
    FAMILY_1AH = struct.Struct("<BBBB3xB")
    """Turin; bytes 4 to 6 reserved."""


COMPONENTS = ("fmc", "bootloader", "tee", "snp", "microcode")


@dataclass(frozen=True, slots=True)
class Tcb:
    """Security version numbers, 0 to 255 each; ``fmc`` exists on family 1Ah only and is None elsewhere."""

    bootloader: int
    tee: int
    snp: int
    microcode: int
    fmc: int | None = None

    def __post_init__(self) -> None:
        levels = self._levels()
        if min(levels) < 0 or max(levels) > 0xFF:
            raise ValueError(f"TCB components must be 0 to 255: {self}")

    @property
    def layout(self) -> TcbLayout:
        return TcbLayout.FAMILY_19H if self.fmc is None else TcbLayout.FAMILY_1AH

    @classmethod
    def decode(cls, value: int, layout: TcbLayout) -> Tcb:
        """Read a u64 as it stands in a report; ``ValueError`` when a reserved byte is not zero."""
        form, raw = layout.value, value.to_bytes(8, "little")
        *fmc, bootloader, tee, snp, microcode = form.unpack(raw)
        if form.pack(*fmc, bootloader, tee, snp, microcode) != raw:
            raise ValueError(f"reserved bytes of TCB version {value:#018x} are not zero")
        return cls(bootloader, tee, snp, microcode, *fmc)

    def encode(self) -> int:
        """The u64 as it stands in a report, in the layout that ``fmc`` implies."""
        fmc = () if self.fmc is None else (self.fmc,)
        raw = self.layout.value.pack(*fmc, self.bootloader, self.tee, self.snp, self.microcode)
        return int.from_bytes(raw, "little")

    def below(self, minimum: Tcb) -> tuple[str, ...]:
        """Names of the components that are lower than in ``minimum``; a missing component counts as 0."""
        own, least = self._levels(), minimum._levels()
        if all(map(operator.ge, own, least)):
            return ()
        return tuple(name for name, has, needs in zip(COMPONENTS, own, least, strict=True) if has < needs)

    def _levels(self) -> tuple[int, ...]:
        """In the order of ``COMPONENTS``."""
        return self.fmc or 0, self.bootloader, self.tee, self.snp, self.microcode

    def __str__(self) -> str:
        """``bootloader.tee.snp.microcode``, with the FMC first where there is one."""
        text = f"{self.bootloader}.{self.tee}.{self.snp}.{self.microcode}"
        return text if self.fmc is None else f"{self.fmc}.{text}"
