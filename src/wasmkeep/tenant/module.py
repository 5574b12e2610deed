"""A WebAssembly program, read and checked: what it is made of, and that wasmkeep can run it.

Nothing here trusts the file, and nothing here trusts wasmtime: this parser is complete for everything
the instance's layout needs, and wasmtime validates the same bytes again, function bodies included, before
it compiles them. A module is refused with a `ProgramError` (exit code 65) whose ``check`` says why:

- ``program.malformed``: not valid WebAssembly;
- ``program.component``: a component, not a core module;
- ``program.unsupported``: a feature that the keep does not run, by name;
- ``program.import``: an import that is not WASI preview 1's, or not of its type;
- ``program.export``: no ``_start``, no exported memory, or an export of the wrong kind;
- ``program.initial``: a segment outside the initial memory or table, so that it would trap at once.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from wasmkeep.errors import ProgramError
from wasmkeep.tenant import wasi_imports
from wasmkeep.tenant.binary import MAX_NAME_BYTES, Reader, malformed, unsupported
from wasmkeep.tenant.module_sections import READERS, Parts
from wasmkeep.tenant.wasm_types import ExternalKind, FunctionType, Module, SegmentMode

__all__ = ["ENTRY", "MAX_MODULE_BYTES", "parse"]

MAX_MODULE_BYTES: Final = 256 << 20
"""Largest program, in bytes."""
ENTRY: Final = "_start"
"""The export that a WASI command is entered by."""

_MAGIC: Final = b"\0asm"
_CORE: Final = bytes((1, 0, 0, 0))
_COMPONENT: Final = bytes((13, 0, 1, 0))
_ORDER: Final = {number: position for position, number in enumerate(READERS)}
_MAX_NAMES: Final = 1_000_000
_COMMAND_REMEDY: Final = "build it as a WASI command (with a main function), not as a library"


def parse(wasm: bytes) -> Module:
    """Read ``wasm`` and check that wasmkeep can run it.

    :param wasm: a core module in the binary format, at most `MAX_MODULE_BYTES`.
    :raises ProgramError: it is malformed, or something wasmkeep does not run; nothing else escapes.
    """
    _check_header(wasm)
    parts = Parts()
    names: dict[int, str] = {}
    reader = Reader(wasm, 8, len(wasm), "module")
    last = -1
    while not reader.at_end():
        number = reader.byte()
        size = reader.u32()
        if number == 0:
            _custom(reader.part(size, "custom section"), names)
            continue
        if number not in READERS:
            raise malformed(f"section number {number} does not exist")
        title, read = READERS[number]
        if _ORDER[number] <= last:
            raise malformed(f"the {title} is there twice or out of order")
        last = _ORDER[number]
        section = reader.part(size, title)
        read(section, parts)
        section.finish()
    _check_counts(parts)
    module = _freeze(parts, names)
    _check_imports(module)
    _check_exports(module)
    _check_segments(module)
    return module


def _check_header(wasm: bytes) -> None:
    if len(wasm) > MAX_MODULE_BYTES:
        raise malformed("it is too large", found=f"{len(wasm)} bytes", required=f"at most {MAX_MODULE_BYTES}")
    if wasm[:4] != _MAGIC:
        raise malformed("it does not begin with the bytes 00 61 73 6d", found=wasm[:4].hex(" ") or "no bytes")
    version = wasm[4:8]
    if version == _COMPONENT:
        raise ProgramError(
            "program.component",
            "a component; wasmkeep runs core modules with WASI preview 1",
            found="the component model's version field, 0d 00 01 00",
            required="a core module, 01 00 00 00",
            meaning="nothing was sent",
            remedy=wasi_imports.BEFORE_COMPONENT,
        )
    if version != _CORE:
        raise malformed("its version is unknown", found=version.hex(" "), required="01 00 00 00")


def _custom(reader: Reader, names: dict[int, str]) -> None:
    """Custom sections say nothing that runs; two of them say that this is no program at all."""
    name = reader.name()
    if name in ("dylink", "dylink.0"):
        raise unsupported("dynamic linking", found=f"the custom section {name}", remedy="link it statically")
    if name == "linking":
        raise unsupported("linking", found="an object file (custom section linking)", remedy="link it first")
    if name == "name" and not names:
        try:
            names.update(_function_names(reader))
        except ProgramError:
            # The specification: a malformed name section is ignored. Names serve backtraces only.
            names.clear()


def _function_names(reader: Reader) -> dict[int, str]:
    names: dict[int, str] = {}
    while not reader.at_end():
        number = reader.byte()
        part = reader.part(reader.u32(), "name section")
        if number != 1:
            continue
        for _ in range(part.count(_MAX_NAMES, "function names", each=2)):
            index = part.u32()
            size = part.count(MAX_NAME_BYTES, "bytes in a name")
            names[index] = part.take(size).decode("utf-8", "replace")
    return names


def _check_counts(parts: Parts) -> None:
    if parts.bodies != len(parts.functions):
        raise malformed(f"{len(parts.functions)} functions but {parts.bodies} function bodies")
    if parts.data_count is not None and parts.data_count != len(parts.data):
        raise malformed(f"{len(parts.data)} data segments, announced as {parts.data_count}")


def _freeze(parts: Parts, names: dict[int, str]) -> Module:
    return Module(
        types=tuple(parts.types),
        imports=tuple(parts.imports),
        functions=tuple(parts.functions),
        tables=tuple(parts.tables),
        memory=parts.memory,
        globals=tuple(parts.globals),
        exports=MappingProxyType(parts.exports),
        start=parts.start,
        elements=tuple(parts.elements),
        data=tuple(parts.data),
        names=MappingProxyType(names),
    )


def _check_imports(module: Module) -> None:
    foreign = [x for x in module.imports if x.module != wasi_imports.MODULE]
    if foreign:
        listed = ", ".join(f"{x.module}.{x.name}" for x in foreign[:5])
        more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
        known = next(filter(None, (wasi_imports.foreign_import(x.module, x.name) for x in foreign)), None)
        raise ProgramError(
            "program.import",
            f"the program needs {known[0]}; wasmkeep runs WASI preview 1"
            if known
            else "the program needs functions that are not WASI preview 1",
            found=f"imports {listed}{more}",
            required=f"imports from {wasi_imports.MODULE} only",
            meaning="nothing was sent",
            remedy=known[1] if known else "build it for WASI preview 1, with nothing else to import",
        )
    for imported in module.imports:
        expected = wasi_imports.FUNCTIONS.get(imported.name)
        found = module.types[imported.type_index]
        if expected != found:
            raise ProgramError(
                "program.import",
                f"{imported.name} is not a function of WASI preview 1"
                if expected is None
                else f"{imported.name} is imported with another type than WASI preview 1 gives it",
                found=f"{wasi_imports.MODULE}.{imported.name} {found}",
                required=str(expected) if expected else "one of its 46 functions",
                meaning="nothing was sent",
                remedy="rebuild it with a toolchain for WASI preview 1",
            )


def _check_exports(module: Module) -> None:
    entry = module.exports.get(ENTRY)
    if entry is None:
        reactor = "_initialize" in module.exports
        raise ProgramError(
            "program.export",
            "a reactor (a library that others call), not a command" if reactor else "no _start to run",
            found="the export _initialize" if reactor else _some_exports(module),
            required=f"an exported function {ENTRY}",
            meaning="nothing was sent",
            remedy=_COMMAND_REMEDY,
        )
    imported = entry.kind is ExternalKind.FUNCTION and entry.index < len(module.imports)
    if entry.kind is not ExternalKind.FUNCTION or imported:
        raise _bad_entry("an imported function" if imported else f"a {entry.kind.name.lower()}")
    kind = module.types[module.function_type_index(entry.index)]
    if kind != FunctionType((), ()):
        raise _bad_entry(f"a function {kind}")
    if module.imports:
        memory = module.exports.get("memory")
        if memory is None or memory.kind is not ExternalKind.MEMORY:
            raise ProgramError(
                "program.export",
                "the program does not export its memory, so WASI cannot reach it",
                found=_some_exports(module),
                required="an export of its memory under the name memory",
                meaning="nothing was sent",
                remedy="link it without hiding its memory",
            )


def _bad_entry(found: str) -> ProgramError:
    return ProgramError(
        "program.export",
        f"{ENTRY} is not something to run",
        found=found,
        required="a function of the program's own, () -> ()",
        meaning="nothing was sent",
        remedy=_COMMAND_REMEDY,
    )


def _some_exports(module: Module) -> str:
    listed = ", ".join(list(module.exports)[:5])
    return f"exports {listed}{' …' if len(module.exports) > 5 else ''}" if listed else "no exports"


def _check_segments(module: Module) -> None:
    """An active segment that does not fit traps before the program starts; say so instead of sending it."""
    size = module.memory.minimum << 16 if module.memory else 0
    for number, data in enumerate(module.data):
        if data.mode is SegmentMode.ACTIVE and data.offset + data.size > size:
            raise _outside(f"data segment {number}", data.offset + data.size, size, "memory")
    for number, segment in enumerate(module.elements):
        if segment.mode is SegmentMode.ACTIVE:
            room = module.tables[segment.table].minimum
            if segment.offset + len(segment.functions) > room:
                found = segment.offset + len(segment.functions)
                raise _outside(f"element segment {number}", found, room, "table")


def _outside(what: str, found: int, required: int, where: str) -> ProgramError:
    return ProgramError(
        "program.initial",
        f"{what} does not fit the initial {where}: the program would trap before it starts",
        found=f"an end of {found}",
        required=f"at most {required}",
        meaning="nothing was sent",
        remedy=f"link it with a larger initial {where}",
    )
