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
    """An image laid out for one size of memory. ``kind``: ``snp`` or ``process``; ``sha256`` of its ELF."""

    kind: str
    sha256: bytes
    regions: tuple[Region, ...]
    vmsa: bytes


class Images(Protocol):
    """What the daemon needs of images."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def prepare(self, memory: int) -> PreparedImage:
        """The image for guests with ``memory`` bytes."""
        ...


class InstalledImages:
    """The one image that came with this installation, under its name. Layouts for a few sizes are kept."""

    def __init__(self, name: str, prepare: Callable[[int], PreparedImage]) -> None:
        self.names: tuple[str, ...] = (name,)
        self._prepare = prepare
        self._prepared: OrderedDict[int, PreparedImage] = OrderedDict()

    def prepare(self, memory: int) -> PreparedImage:
        if memory in self._prepared:
            self._prepared.move_to_end(memory)
            return self._prepared[memory]
        prepared = self._prepared[memory] = self._prepare(memory)
        while len(self._prepared) > _PREPARED_KEPT:
            self._prepared.popitem(last=False)
        return prepared
