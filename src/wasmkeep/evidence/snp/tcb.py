"""TCB_VERSION: the security version numbers of a platform's firmware, 8 bytes (N-2.2, table 3).

Which byte means what follows from the CPU family, not from the report's version. Versions are compared
component by component, never as one integer.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from enum import Enum

__all__ = ["COMPONENTS", "Tcb", "TcbLayout"]


class TcbLayout(Enum):
    """Byte offsets of the components, in the order of ``COMPONENTS``; None where there is none."""

    FAMILY_19H = (None, 0, 1, 6, 7)
    """Milan, Genoa (with Bergamo and Siena); bytes 2 to 5 reserved."""
    FAMILY_1AH = (0, 1, 2, 3, 7)
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
        for name in COMPONENTS:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 0xFF:
                raise ValueError(f"TCB component {name} must be 0 to 255, not {value}")

    @property
    def layout(self) -> TcbLayout:
        return TcbLayout.FAMILY_19H if self.fmc is None else TcbLayout.FAMILY_1AH

    @classmethod
    def decode(cls, value: int, layout: TcbLayout) -> Tcb:
        """Read a u64 as it stands in a report; ``ValueError`` when a reserved byte is not zero."""
        raw = value.to_bytes(8, "little")
        used = {offset for offset in layout.value if offset is not None}
        if any(raw[offset] for offset in range(8) if offset not in used):
            raise ValueError(f"reserved bytes of TCB version {value:#018x} are not zero")
        fields = {
            name: raw[offset]
            for name, offset in zip(COMPONENTS, layout.value, strict=True)
            if offset is not None
        }
        return cls(**fields)

    def encode(self) -> int:
        """The u64 as it stands in a report, in the layout that ``fmc`` implies."""
        raw = bytearray(8)
        for name, offset in zip(COMPONENTS, self.layout.value, strict=True):
            if offset is not None:
                raw[offset] = getattr(self, name)
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
