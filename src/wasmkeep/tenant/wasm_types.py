"""What a checked module is made of: types, limits, segments. Plain frozen values, no parsing here.

Source: WebAssembly core specification, "Structure". Only what wasmkeep runs can be expressed: one linear
memory of 32-bit addresses, tables of funcref, imports of functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

__all__ = [
    "DataSegment",
    "ElementSegment",
    "Export",
    "ExternalKind",
    "FunctionImport",
    "FunctionType",
    "Global",
    "Limits",
    "Module",
    "SegmentMode",
    "Value",
    "ValueType",
]


class ValueType(IntEnum):
    """A value's type, numbered as in the binary format."""

    I32 = 0x7F
    I64 = 0x7E
    F32 = 0x7D
    F64 = 0x7C
    V128 = 0x7B
    FUNCREF = 0x70

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class FunctionType:
    parameters: tuple[ValueType, ...]
    results: tuple[ValueType, ...]

    def __str__(self) -> str:
        left = " ".join(map(str, self.parameters))
        right = " ".join(map(str, self.results))
        return f"({left}) -> ({right})"


@dataclass(frozen=True, slots=True)
class Value:
    """What a constant expression gives: raw bits, or for a funcref the function's index (None: null)."""

    type: ValueType
    bits: int = 0
    function: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Smallest and greatest size, in 64 KiB pages (a memory) or elements (a table)."""

    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class FunctionImport:
    module: str
    name: str
    type_index: int


class ExternalKind(IntEnum):
    FUNCTION = 0
    TABLE = 1
    MEMORY = 2
    GLOBAL = 3


@dataclass(frozen=True, slots=True)
class Export:
    kind: ExternalKind
    index: int


@dataclass(frozen=True, slots=True)
class Global:
    type: ValueType
    mutable: bool
    value: Value


class SegmentMode(Enum):
    ACTIVE = "active"
    PASSIVE = "passive"
    DECLARATIVE = "declarative"


@dataclass(frozen=True, slots=True)
class ElementSegment:
    """``functions``: index of each element, None for null. ``table`` and ``offset`` only when active."""

    mode: SegmentMode
    table: int
    offset: int
    functions: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class DataSegment:
    """``start`` and ``size``: where the bytes are in the module. ``offset``: in memory, when active."""

    mode: SegmentMode
    offset: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Module:
    """A core module that passed every check of `wasmkeep.tenant.module`.

    ``functions`` holds the type index of each function the module defines; function indices count the
    imports first. ``names`` are the function names of the custom section ``name``, for backtraces only.
    """

    types: tuple[FunctionType, ...]
    imports: tuple[FunctionImport, ...]
    functions: tuple[int, ...]
    tables: tuple[Limits, ...]
    memory: Limits | None
    globals: tuple[Global, ...]
    exports: Mapping[str, Export]
    start: int | None
    elements: tuple[ElementSegment, ...]
    data: tuple[DataSegment, ...]
    names: Mapping[int, str] = field(default_factory=dict)

    def function_type_index(self, function: int) -> int:
        """Type index of a function by its index (imports first)."""
        imported = len(self.imports)
        if function < imported:
            return self.imports[function].type_index
        return self.functions[function - imported]

    def function_count(self) -> int:
        return len(self.imports) + len(self.functions)
