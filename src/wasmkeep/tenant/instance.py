"""The instance's own data at its addresses: store context, builtins, imports, tables, globals, VMContext.

Offsets and formats are those of `wasmkeep.tenant.wasmtime_facts`. Everything is computed from the checked
module; nothing is read from the running machine, so the bytes are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from wasmkeep.tenant import stubs
from wasmkeep.tenant import wasmtime_facts as facts
from wasmkeep.tenant.binary import unsupported
from wasmkeep.tenant.elf import FactsChanged, ObjectFile, Symbol
from wasmkeep.tenant.instance_area import Area, Offsets
from wasmkeep.tenant.program import (
    BUILTIN_MEMORY_COPY,
    BUILTIN_MEMORY_FILL,
    BUILTIN_MEMORY_GROW,
    BUILTIN_TRAP,
    WINDOW_START,
    Protection,
    Relocation,
    Segment,
)
from wasmkeep.tenant.wasi_imports import NUMBERS
from wasmkeep.tenant.wasm_types import ExternalKind, Limits, Module, SegmentMode, ValueType

__all__ = ["Code", "Instance", "build_instance", "escaping_functions"]

STACK_LIMIT: Final = 0x80_0000 + 0x1_0000
"""Lowest address a wasm frame may reach. The program's stack is 0x80_0000 … 0xA0_0000; the 64 KiB below the
limit are for the keep's own functions that the program calls."""
TABLE_GROWTH: Final = 65_536
"""Elements a table without a maximum (or a far one) may grow beyond its minimum."""

_KEEP_BUILTINS: Final = {
    "memory_grow": BUILTIN_MEMORY_GROW,
    "memory_copy": BUILTIN_MEMORY_COPY,
    "memory_fill": BUILTIN_MEMORY_FILL,
}


@dataclass(frozen=True, slots=True)
class Code:
    """Where compiled functions are. ``runtime_data``: {address, size} in wasmtime's order."""

    compiled: ObjectFile
    bodies: Mapping[int, Symbol]
    stubs_at: int
    runtime_data: Sequence[tuple[int, int]]

    def body(self, function: int) -> int:
        """Address of a function's body, by its index.

        :raises FactsChanged: wasmtime did not make it.
        """
        found = self.bodies.get(function)
        if found is None:
            raise FactsChanged(f"the compiled module has no function {function}")
        return WINDOW_START + found.offset

    def text(self, symbol: str) -> int:
        """Address of a symbol of the text.

        :raises FactsChanged: wasmtime did not make it.
        """
        found = self.compiled.symbols.get(symbol)
        if found is None:
            raise FactsChanged(f"the compiled module has no {symbol}")
        return WINDOW_START + found.offset

    def builtins(self) -> set[str]:
        """Names of wasmtime's builtins that the compiled text calls."""
        prefix = facts.SYMBOL_BUILTIN
        return {name[len(prefix) :] for name in self.compiled.symbols if name.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class Instance:
    data: Segment
    stubs: bytes
    relocations: list[Relocation]
    vmctx: int
    memory_definition: int


def _distinct_types(module: Module) -> list[int]:
    """For each type its number among the distinct types, in order of first appearance."""
    seen: dict[object, int] = {}
    return [seen.setdefault(kind, len(seen)) for kind in module.types]


def escaping_functions(module: Module) -> list[int]:
    """Functions that something can refer to: imported, exported, in an element segment, or a global's value.

    wasmtime counts the same ones (crates/environ/src/compile/module_environ.rs, flag_func_escaped).
    """
    found = list(range(len(module.imports)))
    found += [x.index for x in module.exports.values() if x.kind is ExternalKind.FUNCTION]
    found += [f for x in module.elements for f in x.functions if f is not None]
    found += [x.value.function for x in module.globals if x.value.function is not None]
    return list(dict.fromkeys(found))


def build_instance(module: Module, code: Code, base: int) -> Instance:
    """Lay the instance of ``module`` out at ``base``.

    :raises ProgramError: ``program.unsupported``: the code calls a builtin that the keep does not have.
    :raises FactsChanged: ``code`` is not what wasmtime 50.0.1 makes.
    """
    builder = _Builder(module, code, Area(base))
    return builder.build()


class _Builder:
    def __init__(self, module: Module, code: Code, area: Area) -> None:
        self.module = module
        self.code = code
        self.area = area
        self.types = _distinct_types(module)
        self.escaping = escaping_functions(module)
        self.uses = code.builtins()
        self.func_refs: dict[int, int] = {}
        self.stubs = bytearray()
        self._check_facts()

    def _check_facts(self) -> None:
        unknown = sorted(self.uses - facts.BUILTINS.keys())
        if unknown:
            raise unsupported("a part of wasmtime's runtime", found=f"the builtin {', '.join(unknown)}")
        prefix = facts.SYMBOL_ARRAY_TO_WASM
        compiled = {int(x[len(prefix) : -1]) for x in self.code.compiled.symbols if x.startswith(prefix)}
        imported = len(self.module.imports)
        if compiled != {function for function in self.escaping if function >= imported}:
            raise FactsChanged("wasmtime counts other functions as escaping")

    def build(self) -> Instance:
        area, module = self.area, self.module
        store = area.reserve(facts.STORE_CONTEXT_SIZE)
        area.put(store + facts.STORE_STACK_LIMIT, "Q", STACK_LIMIT)
        builtins = area.reserve(8 * facts.BUILTIN_COUNT)
        type_ids = area.reserve(4 * (max(self.types, default=0) + 1))
        for number in set(self.types):
            area.put(type_ids + 4 * number, "I", number)
        imports = [self._host_function(number) for number in range(len(module.imports))]
        startup = facts.SYMBOL_STARTUP_WASM in self.code.compiled.symbols
        offsets = Offsets.of(module, len(self.escaping), len(self.code.runtime_data), startup=startup)
        vmctx = area.reserve(offsets.size)
        area.put(vmctx, "IIQQ", facts.VMCTX_MAGIC, 0, store, builtins)
        area.put(vmctx + facts.VMCTX_TYPE_IDS, "Q", type_ids)
        memory = self._memory(vmctx)
        for number, host_function in enumerate(imports):
            self._import(vmctx + offsets.imports + number * facts.FUNCTION_IMPORT_SIZE, number, host_function)
        self._func_refs(vmctx, offsets, imports)
        self._globals(vmctx + offsets.globals)
        self._runtime_data(vmctx, offsets)
        self._references(builtins)
        self._tables(vmctx + offsets.tables, builtins)
        self._keep_builtins(builtins)
        return self._finish(vmctx, memory)

    def _finish(self, vmctx: int, memory: int) -> Instance:
        size = len(self.area.content)
        content = bytes(self.area.content).rstrip(b"\0")
        data = Segment(self.area.base, size, Protection.READ_WRITE, content)
        relocations = sorted(self.area.relocations, key=lambda x: x.address)
        return Instance(data, bytes(self.stubs), relocations, vmctx, memory)

    def _host_function(self, number: int) -> int:
        """What an imported function's callee vmctx points at: its array call is the keep's function."""
        at = self.area.reserve(facts.HOST_FUNCTION_SIZE)
        self.area.put(at, "I", facts.HOST_FUNCTION_MAGIC)
        builtin = NUMBERS[self.module.imports[number].name]
        self.area.relocate(at + facts.HOST_FUNCTION_ARRAY_CALL, builtin)
        return at

    def _import(self, at: int, number: int, host_function: int) -> None:
        """A VMFunctionImport, or equally a VMFuncRef, of an imported function."""
        imported = self.module.imports[number]
        kind = self.types[imported.type_index]
        trampoline = self.code.text(f"{facts.SYMBOL_WASM_TO_ARRAY}{kind}]::wasm_to_array_trampoline")
        self.area.put(at, "QQIIQ", 0, trampoline, kind, 0, host_function)
        self.area.relocate(at, NUMBERS[imported.name])

    def _memory(self, vmctx: int) -> int:
        """Address of the memory's definition; the keep fills it in."""
        if self.module.memory is None:
            return self.area.reserve(facts.MEMORY_DEFINITION_SIZE)
        definition = vmctx + facts.VMCTX_DYNAMIC + facts.MEMORY_POINTER_SIZE
        self.area.put(vmctx + facts.VMCTX_DYNAMIC, "Q", definition)
        return definition

    def _func_refs(self, vmctx: int, offsets: Offsets, imports: Sequence[int]) -> None:
        for position, function in enumerate(self.escaping):
            at = vmctx + offsets.func_refs + position * facts.FUNC_REF_SIZE
            self.func_refs[function] = at
            if function < len(imports):
                self._import(at, function, imports[function])
                continue
            array = self.code.text(f"{facts.SYMBOL_ARRAY_TO_WASM}{function}]")
            body = self.code.body(function)
            kind = self.types[self.module.function_type_index(function)]
            self.area.put(at, "QQIIQ", array, body, kind, 0, vmctx)

    def _reference(self, function: int | None) -> int:
        return 0 if function is None else self.func_refs[function]

    def _globals(self, at: int) -> None:
        for number, item in enumerate(self.module.globals):
            value = item.value
            bits = self._reference(value.function) if value.type is ValueType.FUNCREF else value.bits
            position = at + number * facts.GLOBAL_SIZE
            self.area.put(position, "QQ", bits & (1 << 64) - 1, bits >> 64)

    def _runtime_data(self, vmctx: int, offsets: Offsets) -> None:
        for number, (address, size) in enumerate(self.code.runtime_data):
            pointer = vmctx + offsets.runtime_pointers + number * facts.RUNTIME_DATA_POINTER_SIZE
            length = vmctx + offsets.runtime_lengths + number * facts.RUNTIME_DATA_LENGTH_SIZE
            self.area.put(pointer, "Q", address)
            self.area.put(length, "I", size)

    def _references(self, builtins: int) -> None:
        """Passive element segments, and the builtins that reach them and the func refs."""
        passive = [x for x in self.module.elements if x.mode is SegmentMode.PASSIVE]
        descriptors = self.area.reserve(16 * len(passive))
        for number, segment in enumerate(passive):
            values = self.area.reserve(facts.PASSIVE_ELEMENT_SIZE * len(segment.functions))
            self.area.put(descriptors + 16 * number, "QQ", values, len(segment.functions))
            for position, function in enumerate(segment.functions):
                self.area.put(values + facts.PASSIVE_ELEMENT_SIZE * position, "Q", self._reference(function))
        self._stub(builtins, "passive_elem_segment_len", stubs.element_length(descriptors))
        self._stub(builtins, "passive_elem_segment_base", stubs.element_base(descriptors))
        self._stub(builtins, "passive_elem_segment_drop", stubs.element_drop(descriptors))
        if "ref_func" in self.uses:
            pointers = self.area.reserve(8 * self.module.function_count())
            for function, at in self.func_refs.items():
                self.area.put(pointers + 8 * function, "Q", at)
            self._stub(builtins, "ref_func", stubs.function_reference(pointers))

    def _tables(self, definitions: int, builtins: int) -> None:
        """Tables whole and filled, so that no entry is ever lazily initialized; growth last, as zeros."""
        area, grows = self.area, "table_grow" in self.uses
        descriptors = area.reserve(16 * len(self.module.tables))
        bases: list[int] = []
        for number, limits in enumerate(self.module.tables):
            size = _capacity(limits) if grows else limits.minimum
            base = area.reserve(facts.TABLE_ENTRY_SIZE * size)
            null = facts.TABLE_ENTRY_INITIALIZED
            area.fill(base, null, limits.minimum)
            definition = definitions + number * facts.TABLE_DEFINITION_SIZE
            area.put(definition, "QQ", base, limits.minimum)
            area.put(descriptors + 16 * number, "QQ", definition, size)
            bases.append(base)
        for segment in self.module.elements:
            if segment.mode is not SegmentMode.ACTIVE:
                continue
            at = bases[segment.table] + facts.TABLE_ENTRY_SIZE * segment.offset
            entries = [self._reference(x) | facts.TABLE_ENTRY_INITIALIZED for x in segment.functions]
            area.put(at, f"{len(entries)}Q", *entries)
        self._stub(builtins, "table_grow", stubs.table_grow(descriptors))

    def _stub(self, builtins: int, name: str, code: bytes) -> None:
        if name not in self.uses:
            return
        self.stubs += b"\xcc" * (-len(self.stubs) % 16)
        at = self.code.stubs_at + len(self.stubs)
        self.area.put(builtins + 8 * facts.BUILTINS[name], "Q", at)
        self.stubs += code

    def _keep_builtins(self, builtins: int) -> None:
        """Every other entry: the keep's memory builtins where they are called, elsewhere its trap."""
        mine = {facts.BUILTINS[name]: number for name, number in _KEEP_BUILTINS.items() if name in self.uses}
        for number in range(facts.BUILTIN_COUNT):
            at = builtins + 8 * number
            if self.area.content[at - self.area.base : at - self.area.base + 8] == bytes(8):
                self.area.relocate(at, mine.get(number, BUILTIN_TRAP))


def _capacity(limits: Limits) -> int:
    wanted = limits.minimum + TABLE_GROWTH
    return wanted if limits.maximum is None else min(limits.maximum, wanted)
