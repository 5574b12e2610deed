"""How an exception or interrupt reaches the guest's handler (architecture manual volume 2, chapter 8).

Long mode, 32-bit protected mode with interrupt and trap gates, and real mode. Task gates, 16-bit gates and
virtual-8086 mode are not here: whoever needs them ends in a shutdown, as after a double fault that cannot be
delivered.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

from wasmkeep.simulator.core.page_walk import PageFault
from wasmkeep.simulator.core.state import FLAGS_RESERVED, FLAGS_VM, State
from wasmkeep.simulator.save_area import Segment

DIVIDE, UNDEFINED, DOUBLE_FAULT, PROTECTION, PAGE_FAULT, VMM_COMMUNICATION = 0, 6, 8, 13, 14, 29
INVALID_TSS, NOT_PRESENT, STACK = 10, 11, 12
WITH_ERROR_CODE = frozenset((8, 10, 11, 12, 13, 14, 17, 21, 29, 30))
_CONTRIBUTORY = frozenset((DIVIDE, INVALID_TSS, NOT_PRESENT, STACK, PROTECTION))
_TF, _IF, _NT, _RF = 1 << 8, 1 << 9, 1 << 14, 1 << 16
_INTERRUPT_GATE, _TRAP_GATE = 0xE, 0xF
_PRESENT = 0x80
_LONG_CODE, _EFER_SCE = 1 << 9, 1 << 0
_FLAT_LONG_CODE, _FLAT_DATA = 0xA9B, 0xC93  # attributes, ring 0
_CODE = 0x18  # S and executable, of a descriptor's type byte


@dataclass(frozen=True, slots=True)
class Interruption:
    """`software`: by INT, whose gate must allow the privilege level it came from."""

    vector: int
    error: int = 0
    address: int | None = None  # CR2 of a page fault
    software: bool = False

    @property
    def has_error_code(self) -> bool:
        return self.vector in WITH_ERROR_CODE and not self.software


class Shutdown(Exception):
    """A fault while a double fault was to be delivered: the guest is over."""


class Memory(Protocol):
    """The guest's linear memory, as the processor itself accesses it. Raises `PageFault`, among others."""

    def read(self, linear: int, size: int) -> bytes: ...
    def write(self, linear: int, data: bytes) -> None: ...


class _Undeliverable(Exception):
    """The exception that delivering another one raises."""

    def __init__(self, vector: int, error: int = 0, address: int | None = None) -> None:
        super().__init__(vector)
        self.interruption = Interruption(vector, error, address)


def deliver(event: Interruption, state: State, memory: Memory) -> None:
    """Change `state` to the handler's entry. Raises `Shutdown`, and what `memory` raises but `PageFault`."""
    while True:
        try:
            _deliver(event, state, memory)
        except _Undeliverable as failed:
            event = _escalated(event, failed.interruption)
        else:
            return


def _escalated(first: Interruption, second: Interruption) -> Interruption:
    """Table 8-2: what two exceptions at once make."""
    if first.vector == DOUBLE_FAULT:
        raise Shutdown
    both = first.vector in _CONTRIBUTORY and second.vector in _CONTRIBUTORY
    in_paging = first.vector == PAGE_FAULT and (second.vector in _CONTRIBUTORY or second.vector == PAGE_FAULT)
    return Interruption(DOUBLE_FAULT) if both or in_paging else second


def _deliver(event: Interruption, state: State, memory: Memory) -> None:
    if event.address is not None:
        state["cr2"] = event.address
    try:
        if not state.is_protected:
            _deliver_real(event, state, memory)
        elif state.is_long:
            _deliver_long(event, state, memory)
        else:
            _deliver_protected(event, state, memory)
    except PageFault as fault:
        raise _Undeliverable(PAGE_FAULT, fault.error, state["cr2"]) from None


def _deliver_real(event: Interruption, state: State, memory: Memory) -> None:
    table, stack, code = (state.segment(name) for name in ("idtr", "ss", "cs"))
    if state.rflags & FLAGS_VM:
        raise Shutdown
    if event.vector * 4 + 3 > table.limit:
        raise _Undeliverable(DOUBLE_FAULT)
    ip, selector = struct.unpack("<HH", memory.read(table.base + 4 * event.vector, 4))
    pointer = state["rsp"] - 6 & 0xFFFF
    frame = struct.pack("<HHH", state["rip"] & 0xFFFF, code.selector, state.rflags & 0xFFFF)
    memory.write(stack.base + pointer, frame)
    state["rsp"] = state["rsp"] & ~0xFFFF | pointer
    state.set_segment("cs", Segment(selector, code.attributes, code.limit, selector << 4))
    state["rip"] = ip
    state.rflags &= ~(_IF | _TF)


def _gate(event: Interruption, state: State, memory: Memory, size: int) -> tuple[bytes, int]:
    """The gate's bytes and its type. #GP names the vector, as software or external event."""
    table = state.segment("idtr")
    error = event.vector << 3 | 2
    if (event.vector + 1) * size - 1 > table.limit:
        raise _Undeliverable(PROTECTION, error)
    gate = memory.read(table.base + size * event.vector, size)
    kind = gate[5]
    if kind & 0x1F not in (_INTERRUPT_GATE, _TRAP_GATE) or (event.software and kind >> 5 & 3 < state.cpl):
        raise _Undeliverable(PROTECTION, error)
    if not kind & _PRESENT:
        raise _Undeliverable(NOT_PRESENT, error)
    return gate, kind & 0xF


def _code_segment(selector: int, state: State, memory: Memory) -> Segment:
    """The handler's, from the GDT. LDTs hold no handlers here."""
    table = state.segment("gdtr")
    error = selector & 0xFFFC
    if not error or selector & 4 or error + 7 > table.limit:
        raise _Undeliverable(PROTECTION, error)
    segment = descriptor(selector, memory.read(table.base + error, 8))
    if segment.attributes & _CODE != _CODE or segment.attributes >> 5 & 3 > state.cpl:
        raise _Undeliverable(PROTECTION, error)
    if not segment.attributes & _PRESENT:
        raise _Undeliverable(NOT_PRESENT, error)
    return segment


def system_call(state: State) -> bool:
    """SYSCALL in 64-bit code, RIP already behind it; False where it is undefined."""
    code, star = state.segment("cs"), state["star"] >> 32 & 0xFFFC
    if not (state.is_long and code.attributes & _LONG_CODE and state["efer"] & _EFER_SCE):
        return False
    state["rcx"], state["r11"] = state["rip"], state.rflags
    state["rip"] = state["lstar"]
    state.rflags = state.rflags & ~state["sfmask"] & ~_RF | FLAGS_RESERVED
    state.set_segment("cs", Segment(star, _FLAT_LONG_CODE, 0xFFFF_FFFF, 0))
    state.set_segment("ss", Segment(star + 8, _FLAT_DATA, 0xFFFF_FFFF, 0))
    return True


def descriptor(selector: int, entry: bytes) -> Segment:
    """Eight bytes of a descriptor table as the hidden part of a segment register."""
    (raw,) = struct.unpack("<Q", entry)
    attributes = raw >> 40 & 0xFF | raw >> 44 & 0xF00
    limit = raw & 0xFFFF | raw >> 32 & 0xF_0000
    if attributes & 1 << 11:
        limit = limit << 12 | 0xFFF
    return Segment(selector, attributes, limit, raw >> 16 & 0xFF_FFFF | raw >> 32 & 0xFF00_0000)


def _deliver_long(event: Interruption, state: State, memory: Memory) -> None:
    gate, kind = _gate(event, state, memory, 16)
    low, selector, stack_table, middle, high = struct.unpack_from("<HHBxHI", gate)
    code = _code_segment(selector, state, memory)
    level = code.attributes >> 5 & 3 if not code.attributes & 4 else state.cpl  # bit 2: conforming
    old_stack, old_code = state.segment("ss"), state.segment("cs")
    task, pointer = state.segment("tr"), state["rsp"]
    if stack_table & 7:
        (pointer,) = struct.unpack("<Q", memory.read(task.base + 0x1C + 8 * (stack_table & 7), 8))
    elif level < state.cpl:
        (pointer,) = struct.unpack("<Q", memory.read(task.base + 4 + 8 * level, 8))
    frame = [state["rip"], old_code.selector, state.rflags, state["rsp"], old_stack.selector]
    if event.has_error_code:
        frame.insert(0, event.error)
    pointer = (pointer & ~0xF) - 8 * len(frame) & 0xFFFF_FFFF_FFFF_FFFF
    memory.write(pointer, struct.pack(f"<{len(frame)}Q", *frame))
    if level < state.cpl:
        state.set_segment("ss", Segment(level, level << 5, 0, 0))
    state["rsp"], state["rip"] = pointer, low | middle << 16 | high << 32
    state.set_segment("cs", Segment(selector & ~3 | level, code.attributes, code.limit, code.base))
    _enter_handler(state, kind)


def _deliver_protected(event: Interruption, state: State, memory: Memory) -> None:
    gate, kind = _gate(event, state, memory, 8)
    low, selector, high = struct.unpack("<HHxxH", gate)
    code = _code_segment(selector, state, memory)
    level = code.attributes >> 5 & 3 if not code.attributes & 4 else state.cpl
    old_stack, old_code = state.segment("ss"), state.segment("cs")
    stack, pointer = old_stack, state["rsp"] & 0xFFFF_FFFF
    frame = [state["rip"], old_code.selector, state.rflags]
    if level < state.cpl:
        inner = memory.read(state.segment("tr").base + 4 + 8 * level, 8)
        frame += [pointer, old_stack.selector]
        pointer, inner_selector = struct.unpack("<IHxx", inner)
        table = state.segment("gdtr")
        stack = descriptor(inner_selector, memory.read(table.base + (inner_selector & 0xFFF8), 8))
    if event.has_error_code:
        frame.insert(0, event.error)
    pointer = pointer - 4 * len(frame) & 0xFFFF_FFFF
    memory.write(stack.base + pointer & 0xFFFF_FFFF, struct.pack(f"<{len(frame)}I", *frame))
    state.set_segment("ss", stack)
    state["rsp"], state["rip"] = pointer, low | high << 16
    state.set_segment("cs", Segment(selector & ~3 | level, code.attributes, code.limit, code.base))
    _enter_handler(state, kind)


def _enter_handler(state: State, kind: int) -> None:
    cleared = _TF | _NT | _RF | (_IF if kind == _INTERRUPT_GATE else 0)
    state.rflags = state.rflags & ~cleared | FLAGS_RESERVED
