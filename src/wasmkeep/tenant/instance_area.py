"""Room for an instance's data at fixed addresses, and where each array of its VMContext begins."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from wasmkeep.tenant import wasmtime_facts as facts
from wasmkeep.tenant.program import Relocation
from wasmkeep.tenant.wasm_types import Module

__all__ = ["Area", "Offsets"]


@dataclass(slots=True)
class Area:
    """Instance data under construction, growing upward from ``base``."""

    base: int
    content: bytearray = field(default_factory=bytearray)
    relocations: list[Relocation] = field(default_factory=list)

    def reserve(self, size: int, alignment: int = 16) -> int:
        """Zeroed room; returns its address."""
        self.content += bytes(-len(self.content) % alignment)
        address = self.base + len(self.content)
        self.content += bytes(size)
        return address

    def put(self, address: int, layout: str, *values: int) -> None:
        struct.pack_into("<" + layout, self.content, address - self.base, *values)

    def fill(self, address: int, value: int, count: int) -> None:
        """``count`` times the u64 ``value``."""
        at = address - self.base
        self.content[at : at + 8 * count] = struct.pack("<Q", value) * count

    def relocate(self, address: int, builtin: int) -> None:
        self.relocations.append(Relocation(address, builtin))


@dataclass(frozen=True, slots=True)
class Offsets:
    """Where each array of the VMContext begins, in bytes from its start."""

    imports: int
    tables: int
    globals: int
    func_refs: int
    runtime_pointers: int
    runtime_lengths: int
    size: int

    @classmethod
    def of(cls, module: Module, escaping: int, runtime_data: int, *, startup: bool) -> Offsets:
        memory = facts.MEMORY_POINTER_SIZE + facts.MEMORY_DEFINITION_SIZE if module.memory else 0
        imports = facts.VMCTX_DYNAMIC + memory
        tables = imports + len(module.imports) * facts.FUNCTION_IMPORT_SIZE
        end = tables + len(module.tables) * facts.TABLE_DEFINITION_SIZE
        globals_ = -(-end // facts.VMCTX_GLOBALS_ALIGNMENT) * facts.VMCTX_GLOBALS_ALIGNMENT
        func_refs = globals_ + len(module.globals) * facts.GLOBAL_SIZE
        # wasmtime keeps one more func ref for its startup function, where it made one.
        pointers = func_refs + (escaping + int(startup)) * facts.FUNC_REF_SIZE
        lengths = pointers + runtime_data * facts.RUNTIME_DATA_POINTER_SIZE
        size = lengths + runtime_data * facts.RUNTIME_DATA_LENGTH_SIZE
        return cls(imports, tables, globals_, func_refs, pointers, lengths, size)
