"""From a module and its compiled code to an instance at fixed addresses: the program part of a package.

What wasmtime's runtime would do at instantiation is done here, ahead of time, on the tenant's side: the
VMContext with memory, imports, tables and globals; tables filled; initial data as runs. The keep only
places segments, fills in the addresses of its own functions (relocations) and enters. A wrong layout hurts
only its sender: the keep bounds what it places, and the program runs in its own address space.

::

    0x4000_0000  text: compiled functions, then the stubs      read-execute
    next 2 MiB   bytes of passive data segments, if any        read
    next 2 MiB   instance data (`wasmkeep.tenant.instance`)    read-write

Two segments are at least 64 KiB apart, so that nothing runs off one into the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wasmkeep.errors import ProgramError
from wasmkeep.tenant import wasmtime_facts as facts
from wasmkeep.tenant.elf import FactsChanged, ObjectFile, Symbol
from wasmkeep.tenant.instance import Code, build_instance
from wasmkeep.tenant.module import ENTRY
from wasmkeep.tenant.program import (
    MAX_SEGMENT_BYTES,
    SEGMENT_ALIGNMENT,
    WINDOW_START,
    Fixed,
    Program,
    Protection,
    Run,
    Segment,
    TrapTables,
    encode_part,
)
from wasmkeep.tenant.trap_symbols import encode_symbols, function_bodies
from wasmkeep.tenant.wasm_types import Module, SegmentMode

__all__ = ["lay_out"]

GAP: Final = 64 << 10
"""Least distance of two segments, in bytes."""
STUB_ROOM: Final = 4096
"""Text kept free for the stubs, in bytes; their addresses must be known before the data's are."""
MERGE_GAP: Final = 64
"""Runs of initial data closer than this become one, with zeros between: a run's header costs 8 bytes."""


def lay_out(module: Module, wasm: bytes, compiled: ObjectFile, target: str) -> Program:
    """Everything the keep needs to run ``module``, and what the tenant needs to read its traps.

    :param wasm: the bytes ``module`` was parsed from.
    :raises ProgramError: ``program.size`` or ``program.unsupported``.
    :raises FactsChanged: ``compiled`` is not what wasmtime 50.0.1 makes.
    """
    text = _text(module, compiled)
    stubs_at = WINDOW_START + len(text)
    passive = _passive(module, wasm, _next_segment(stubs_at + STUB_ROOM))
    after = passive[0].address + passive[0].memory_size if passive else stubs_at + STUB_ROOM
    bodies = function_bodies(compiled)
    code = Code(compiled, bodies, stubs_at, _addresses_of_passive(module, passive))
    instance = build_instance(module, code, _next_segment(after))
    if len(instance.stubs) > STUB_ROOM:
        raise ValueError("stubs larger than the room kept for them")
    content = text + instance.stubs
    segments = [
        Segment(WINDOW_START, len(content), Protection.READ_EXECUTE, content),
        *passive,
        instance.data,
    ]
    fixed = Fixed(
        vmctx=instance.vmctx,
        start=code.text(facts.SYMBOL_STARTUP_ARRAY) if module.start is not None else 0,
        entry=code.text(f"{facts.SYMBOL_ARRAY_TO_WASM}{module.exports[ENTRY].index}]"),
        memory_definition=instance.memory_definition,
        memory_minimum=module.memory.minimum if module.memory else 0,
        memory_maximum=_maximum(module),
    )
    part, digest = encode_part(target, fixed, segments, instance.relocations, list(_runs(module, wasm)))
    symbols, names = encode_symbols(module, compiled, bodies)
    traps = TrapTables(len(text), symbols, names, compiled.traps)
    return Program(target, part, digest, fixed.memory_minimum, fixed.memory_maximum, traps)


def _maximum(module: Module) -> int:
    if module.memory is None:
        return 0
    return 65_536 if module.memory.maximum is None else module.memory.maximum


def _next_segment(end: int) -> int:
    return -(-(end + GAP) // SEGMENT_ALIGNMENT) * SEGMENT_ALIGNMENT


def _text(module: Module, compiled: ObjectFile) -> bytes:
    """The compiled text without its padding, and without the startup function where nothing calls it.

    The startup function evaluates initializers that the layout has evaluated already; it is wanted only for
    the module's own start function. It comes last, and can be a tenth of the whole.
    """
    needed: list[Symbol] = list(compiled.symbols.values())
    if module.start is None:
        unwanted = (facts.SYMBOL_STARTUP_WASM, facts.SYMBOL_STARTUP_ARRAY)
        needed = [symbol for name, symbol in compiled.symbols.items() if name not in unwanted]
    if not needed:
        raise FactsChanged("the compiled module has no functions")
    end = max(symbol.offset + symbol.size for symbol in needed)
    text = compiled.text[:end]
    if len(text) > MAX_SEGMENT_BYTES - STUB_ROOM:
        raise ProgramError(
            "program.size", "the compiled program is too large for a keep", found=f"{end} bytes"
        )
    return text + b"\xcc" * (-end % 16)


def _passive(module: Module, wasm: bytes, address: int) -> list[Segment]:
    """Bytes of all passive data segments, one after the other, or no segment at all."""
    passive = [x for x in module.data if x.mode is SegmentMode.PASSIVE]
    content = b"".join(wasm[x.start : x.start + x.size] for x in passive)
    return [Segment(address, len(content), Protection.READ, content)] if content else []


def _addresses_of_passive(module: Module, segments: list[Segment]) -> list[tuple[int, int]]:
    """{address, size} of the runtime data, in wasmtime's order: all active segments, then the passive.

    The active ones are empty: their bytes are runs, placed before anything runs, and the startup function's
    copy of them copies nothing.
    """
    result = [(0, 0) for x in module.data if x.mode is SegmentMode.ACTIVE]
    at = segments[0].address if segments else 0
    for data in module.data:
        if data.mode is SegmentMode.PASSIVE:
            result.append((at, data.size))
            at += data.size
    return result


def _runs(module: Module, wasm: bytes) -> Iterator[Run]:
    """Active data segments as runs: in order, neighbours merged, zeros not sent at either end.

    A later segment may lie over an earlier one. Runs are placed in order, so only a segment that begins at or
    after the end of the run before it is merged into it.
    """
    start, content = 0, bytearray()
    for data in module.data:
        if data.mode is not SegmentMode.ACTIVE or data.size == 0:
            continue
        gap = data.offset - (start + len(content))
        if content and 0 <= gap <= MERGE_GAP:
            content += bytes(gap)
        else:
            if content:
                yield Run(start, bytes(content))
            start, content = data.offset, bytearray()
        content += wasm[data.start : data.start + data.size]
    if content:
        yield Run(start, bytes(content))
