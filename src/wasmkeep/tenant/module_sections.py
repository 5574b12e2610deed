"""The sections of a core module, one function each; every count and index is checked as it is read.

Source: WebAssembly core specification, "Modules" (binary format). What wasmkeep does not run is refused
here by the name its users know it by. Function bodies are only framed: what is inside them is validated
by wasmtime (`wasmkeep.tenant.compile`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from wasmkeep.tenant.binary import Reader, malformed, unsupported
from wasmkeep.tenant.constant_expressions import read_constant
from wasmkeep.tenant.wasm_types import (
    DataSegment,
    ElementSegment,
    Export,
    ExternalKind,
    FunctionImport,
    FunctionType,
    Global,
    Limits,
    SegmentMode,
    ValueType,
)

__all__ = ["READERS", "Parts"]

MAX_TYPES: Final = 100_000
MAX_TYPE_VALUES: Final = 1_000
"""Parameters or results of one function (the limit browsers and wasmtime share)."""
MAX_IMPORTS: Final = 1_000
MAX_FUNCTIONS: Final = 1_000_000
MAX_TABLES: Final = 100
MAX_TABLE_ELEMENTS: Final = 1_000_000
"""Elements of all tables at start, and of all element segments together."""
MAX_GLOBALS: Final = 100_000
MAX_EXPORTS: Final = 100_000
MAX_ELEMENT_SEGMENTS: Final = 100_000
MAX_DATA_SEGMENTS: Final = 100_000
MAX_PAGES: Final = 65_536
"""Pages of 64 KiB in a memory of 32-bit addresses: 4 GiB."""

_GC_FORMS: Final = (0x4E, 0x4F, 0x50, 0x5E, 0x5F)
_TYPES: Final = {int(x): x for x in ValueType}


@dataclass(slots=True)
class Parts:
    """What has been read so far; section readers fill it in the order of the format."""

    types: list[FunctionType] = field(default_factory=list)
    imports: list[FunctionImport] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    tables: list[Limits] = field(default_factory=list)
    memory: Limits | None = None
    globals: list[Global] = field(default_factory=list)
    exports: dict[str, Export] = field(default_factory=dict)
    start: int | None = None
    elements: list[ElementSegment] = field(default_factory=list)
    element_total: int = 0
    data_count: int | None = None
    bodies: int = 0
    data: list[DataSegment] = field(default_factory=list)

    def function_count(self) -> int:
        return len(self.imports) + len(self.functions)


def _value_type(reader: Reader) -> ValueType:
    code = reader.byte()
    known = _TYPES.get(code)
    if known is not None:
        return known
    if code == 0x6F:
        raise unsupported("externref (references to a host's objects)", found=f"in the {reader.what}")
    if code in (0x69, 0x74):
        raise unsupported("exceptions", found=f"exnref in the {reader.what}")
    if code in (0x63, 0x64):
        raise unsupported("typed function references", found=f"in the {reader.what}")
    if code in (0x6A, 0x6B, 0x6C, 0x6D, 0x6E, 0x71, 0x72, 0x73):
        raise unsupported("garbage collection (GC)", found=f"a GC reference type in the {reader.what}")
    raise malformed(f"0x{code:02x} is no value type, in the {reader.what}")


def _limits(reader: Reader, what: str, greatest: int) -> Limits:
    flags = reader.byte()
    if flags & 0x02 and flags < 0x10:
        raise unsupported("threads (shared memory)", found=f"a shared {what}", remedy="build without threads")
    if flags & 0x04 and flags < 0x10:
        raise unsupported("memory64 (64-bit addresses)", found=f"a {what} with 64-bit indices")
    if flags & 0x08 and flags < 0x10:
        raise unsupported("custom page sizes", found=f"in a {what}")
    if flags > 0x01:
        raise malformed(f"0x{flags:02x} is no kind of limits, in the {reader.what}")
    minimum = reader.u32()
    maximum = reader.u32() if flags else None
    if minimum > greatest:
        raise malformed(f"a {what} starts too large", found=str(minimum), required=f"at most {greatest}")
    if maximum is not None and maximum < minimum:
        raise malformed(f"a {what} has a maximum below its minimum")
    return Limits(minimum, maximum)


def _types(reader: Reader, parts: Parts) -> None:
    for _ in range(reader.count(MAX_TYPES, "types", each=2)):
        form = reader.byte()
        if form in _GC_FORMS:
            raise unsupported("garbage collection (GC)", found="a type that is no plain function type")
        if form == 0x5D:
            raise unsupported("stack switching", found="a continuation type")
        if form != 0x60:
            raise malformed(f"0x{form:02x} is no form of type")
        parameters = tuple(_value_type(reader) for _ in range(reader.count(MAX_TYPE_VALUES, "parameters")))
        results = tuple(_value_type(reader) for _ in range(reader.count(MAX_TYPE_VALUES, "results")))
        parts.types.append(FunctionType(parameters, results))


def _type_index(reader: Reader, parts: Parts) -> int:
    index = reader.u32()
    if index >= len(parts.types):
        raise malformed(f"the {reader.what} names type {index} of {len(parts.types)}")
    return index


_IMPORT_REMEDY: Final = "link the program statically, so that it defines its own"


def _imports(reader: Reader, parts: Parts) -> None:
    for _ in range(reader.count(MAX_IMPORTS, "imports", each=4)):
        module, name = reader.name(), reader.name()
        kind = reader.byte()
        what = f"{module}.{name}"
        match kind:
            case 0x00:
                parts.imports.append(FunctionImport(module, name, _type_index(reader, parts)))
            case 0x01:
                raise unsupported("an imported table", found=what, remedy=_IMPORT_REMEDY)
            case 0x02:
                raise unsupported("an imported memory", found=what, remedy=_IMPORT_REMEDY)
            case 0x03:
                raise unsupported("an imported global", found=what, remedy=_IMPORT_REMEDY)
            case 0x04:
                raise unsupported("exceptions", found=f"an imported tag, {what}")
            case _:
                raise malformed(f"0x{kind:02x} is no kind of import")


def _functions(reader: Reader, parts: Parts) -> None:
    for _ in range(reader.count(MAX_FUNCTIONS, "functions")):
        parts.functions.append(_type_index(reader, parts))


def _tables(reader: Reader, parts: Parts) -> None:
    for _ in range(reader.count(MAX_TABLES, "tables", each=3)):
        element = reader.byte()
        if element == 0x40:
            raise unsupported("typed function references", found="a table with an initial expression")
        reader.position -= 1
        if _value_type(reader) is not ValueType.FUNCREF:
            raise malformed("a table of something that is no reference")
        parts.tables.append(_limits(reader, "table", MAX_TABLE_ELEMENTS))
    total = sum(x.minimum for x in parts.tables)
    if total > MAX_TABLE_ELEMENTS:
        raise malformed("too many table elements in all", required=f"at most {MAX_TABLE_ELEMENTS}")


def _memories(reader: Reader, parts: Parts) -> None:
    count = reader.count(100, "memories", each=2)
    if count > 1:
        raise unsupported("more than one memory (multi-memory)", found=f"{count} memories")
    if count == 1:
        limits = _limits(reader, "memory", MAX_PAGES)
        if limits.maximum is not None and limits.maximum > MAX_PAGES:
            raise malformed("a memory of 32-bit addresses larger than 4 GiB")
        parts.memory = limits


def _tags(reader: Reader, _: Parts) -> None:
    if reader.count(MAX_TYPES, "tags", each=2):
        raise unsupported("exceptions", found="a tag section")


def _globals(reader: Reader, parts: Parts) -> None:
    for _ in range(reader.count(MAX_GLOBALS, "globals", each=4)):
        kind = _value_type(reader)
        mutable = reader.byte()
        if mutable & 0x02:
            raise unsupported("threads (shared globals)")
        if mutable > 1:
            raise malformed("a global is neither mutable nor immutable")
        value = read_constant(reader, kind, parts.globals, parts.function_count())
        parts.globals.append(Global(kind, mutable == 1, value))


def _exports(reader: Reader, parts: Parts) -> None:
    have = {
        ExternalKind.FUNCTION: parts.function_count(),
        ExternalKind.TABLE: len(parts.tables),
        ExternalKind.MEMORY: int(parts.memory is not None),
        ExternalKind.GLOBAL: len(parts.globals),
    }
    for _ in range(reader.count(MAX_EXPORTS, "exports", each=3)):
        name, code, index = reader.name(), reader.byte(), reader.u32()
        if code == 0x04:
            raise unsupported("exceptions", found=f"an exported tag, {name}")
        if code not in have:
            raise malformed(f"0x{code:02x} is no kind of export")
        kind = ExternalKind(code)
        if index >= have[kind]:
            raise malformed(f"the export {name!r} names {kind.name.lower()} {index}, which does not exist")
        if name in parts.exports:
            raise malformed(f"the name {name!r} is exported twice")
        parts.exports[name] = Export(kind, index)


def _start(reader: Reader, parts: Parts) -> None:
    index = reader.u32()
    imported = len(parts.imports)
    if index >= parts.function_count():
        raise malformed(f"the start function {index} does not exist")
    known = parts.imports[index].type_index if index < imported else parts.functions[index - imported]
    if parts.types[known] != FunctionType((), ()):
        raise malformed("the start function takes or gives values")
    parts.start = index


def _elements(reader: Reader, parts: Parts) -> None:
    for _ in range(reader.count(MAX_ELEMENT_SEGMENTS, "element segments", each=2)):
        flags = reader.u32()
        if flags > 7:
            raise malformed(f"{flags} is no kind of element segment")
        table = offset = 0
        if flags & 1:
            mode = SegmentMode.DECLARATIVE if flags & 2 else SegmentMode.PASSIVE
        else:
            mode = SegmentMode.ACTIVE
            table = reader.u32() if flags & 2 else 0
            if table >= len(parts.tables):
                raise malformed(f"an element segment names table {table}, which does not exist")
            offset = read_constant(reader, ValueType.I32, parts.globals, parts.function_count()).bits
        functions = _element_functions(reader, parts, flags)
        parts.elements.append(ElementSegment(mode, table, offset, functions))


def _element_functions(reader: Reader, parts: Parts, flags: int) -> tuple[int | None, ...]:
    count = parts.function_count()
    if flags & 4:
        if flags & 3 and _value_type(reader) is not ValueType.FUNCREF:
            raise malformed("an element segment of something that is no reference")
        size = reader.count(MAX_TABLE_ELEMENTS, "elements", each=2)
        parts.element_total += size
        found: tuple[int | None, ...] = tuple(
            read_constant(reader, ValueType.FUNCREF, parts.globals, count).function for _ in range(size)
        )
    else:
        if flags & 3 and reader.byte() != 0x00:
            raise malformed("an element segment of an unknown kind")
        size = reader.count(MAX_TABLE_ELEMENTS, "elements")
        parts.element_total += size
        found = tuple(reader.u32() for _ in range(size))
        if any(index is not None and index >= count for index in found):
            raise malformed("an element segment names a function that does not exist")
    if parts.element_total > MAX_TABLE_ELEMENTS:
        raise malformed("too many elements in all", required=f"at most {MAX_TABLE_ELEMENTS}")
    return found


def _data_count(reader: Reader, parts: Parts) -> None:
    parts.data_count = reader.u32()


def _code(reader: Reader, parts: Parts) -> None:
    parts.bodies = reader.count(MAX_FUNCTIONS, "function bodies", each=2)
    for _ in range(parts.bodies):
        size = reader.u32()
        if size < 2:
            raise malformed("an empty function body")
        end = reader.skip(size) + size
        if reader.data[end - 1] != 0x0B:
            raise malformed("a function body that does not end")


def _data(reader: Reader, parts: Parts) -> None:
    for _ in range(reader.count(MAX_DATA_SEGMENTS, "data segments", each=2)):
        flags = reader.u32()
        if flags > 2:
            raise malformed(f"{flags} is no kind of data segment")
        mode, offset = SegmentMode.PASSIVE, 0
        if flags != 1:
            memory = reader.u32() if flags == 2 else 0
            if memory or parts.memory is None:
                raise malformed(f"a data segment names memory {memory}, which does not exist")
            mode = SegmentMode.ACTIVE
            offset = read_constant(reader, ValueType.I32, parts.globals, parts.function_count()).bits
        size = reader.u32()
        parts.data.append(DataSegment(mode, offset, reader.skip(size), size))


READERS: Final = {
    1: ("type section", _types),
    2: ("import section", _imports),
    3: ("function section", _functions),
    4: ("table section", _tables),
    5: ("memory section", _memories),
    13: ("tag section", _tags),
    6: ("global section", _globals),
    7: ("export section", _exports),
    8: ("start section", _start),
    9: ("element section", _elements),
    12: ("data count section", _data_count),
    10: ("code section", _code),
    11: ("data section", _data),
}
"""Section number: its name and reader, in the order sections must come."""
