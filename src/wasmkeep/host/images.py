"""The keep images this host can launch, ready for a machine and a size of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from wasmkeep.host.machine import Region

__all__ = ["Images", "InstalledImages", "PreparedImage"]

_PREPARED_KEPT = 8


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image laid out for one size of memory. ``kind`` is a word of `wasmkeep.image.MachineKind`,
    ``sha256`` that of its ELF."""

    kind: str
    sha256: bytes
    regions: tuple[Region, ...]
    vmsa: bytes


class Images(Protocol):
    """What the daemon needs of images."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def prepare(self, memory: int, tee: str) -> PreparedImage:
        """The image for guests of the kind ``tee`` with ``memory`` bytes."""
        ...


class InstalledImages:
    """The images that came with this installation, under their one name. Layouts for a few sizes are kept."""

    def __init__(self, name: str, prepare: Callable[[int, str], PreparedImage]) -> None:
        self.names: tuple[str, ...] = (name,)
        self._prepare = prepare
        self._prepared: OrderedDict[tuple[int, str], PreparedImage] = OrderedDict()

    def prepare(self, memory: int, tee: str) -> PreparedImage:
        wanted = (memory, tee)
        if wanted in self._prepared:
            self._prepared.move_to_end(wanted)
            return self._prepared[wanted]
        prepared = self._prepared[wanted] = self._prepare(memory, tee)
        while len(self._prepared) > _PREPARED_KEPT:
            self._prepared.popitem(last=False)
        return prepared
