"""What all structures of the kernel's interfaces have in common, for those who may not use ``ctypes``."""

from __future__ import annotations

import ctypes

Structure = ctypes.LittleEndianStructure


def size_of(structure: type[Structure]) -> int:
    """Bytes of a structure."""
    return ctypes.sizeof(structure)


def offset_of(structure: type[Structure], field: str) -> int:
    """Where `field` stands in a structure, in bytes."""
    return int(getattr(structure, field).offset)
