"""The host kernel's loop around VMRUN: exits it answers itself, exits that its user sees.

CPUID, MSRs and the GHCB's MSR protocol it answers; port accesses, MMIO, HLT and a guest's end go up as
``KVM_EXIT_*``. Of a guest without SEV-ES it reads and writes registers for that; of one with it the GHCB page
is all there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.machine_calls import ExitReason, RunState
from wasmkeep.simulator.core.events import PROTECTION, Interruption
from wasmkeep.simulator.core.exits import ControlBlock
from wasmkeep.simulator.hypervisor import ghcb as protocol
from wasmkeep.simulator.hypervisor import mmio
from wasmkeep.simulator.hypervisor.cpuid import Cpuid
from wasmkeep.simulator.hypervisor.ghcb import Ghcb, Malformed
from wasmkeep.simulator.memory_controller import C_BIT, MemoryController
from wasmkeep.simulator.nested_paging import NestedFault, NestedTable
from wasmkeep.simulator.save_area import SaveArea
from wasmkeep.simulator.vmexit import NPF_WRITE, ExitCode, Vmexit

_VMMCALL_ERROR = -1000  # KVM_ENOSYS
_MOST_ANSWERS = 1 << 15  # of one run: half a minute or so
_STRING = 1 << 2  # of IOIO in the GHCB: string instructions are not served
_NOT_THERE = Interruption(PROTECTION, 0)  # what KVM answers to an MSR it does not know


class Vmrun(Protocol):
    """The processor: run the guest until an exit."""

    def __call__(self) -> Vmexit: ...


@dataclass(slots=True)
class _Pending:
    """A guest waiting for its user: `finish` takes what was read and completes the guest's instruction."""

    finish: Callable[[bytes], None]
    size: int = 0
    port: bool = False


class Hypervisor:
    """Of one guest. `cpuid` is what it will say; a hostile one says what it likes."""

    def __init__(
        self, vmrun: Vmrun, block: ControlBlock, nested: NestedTable, memory: MemoryController, cpuid: Cpuid
    ) -> None:
        self.cpuid = cpuid
        self.port_data = b""  # of the port exit under way
        self.terminated: tuple[int, int] | None = None  # reason set and reason, of a guest that asked for it
        self._vmrun = vmrun
        self._block = block
        self._nested = nested
        self._memory = memory
        self._pending: _Pending | None = None
        self._over: RunState | None = None

    def run(self) -> RunState:
        """Until an exit that the user sees; INTR also where a guest asks and asks. Dead guests stay dead."""
        for _ in range(_MOST_ANSWERS):
            if self._over is not None:
                return self._over
            if self._pending is not None:
                self.answer(b"", b"")
            state = self._handle(self._vmrun())
            if state is not None:
                return state
        return RunState(exit_reason=ExitReason.INTR)

    def answer(self, mmio_data: bytes, port_data: bytes) -> None:
        """What the guest reads, where it came out for an input; zeros where nothing is given."""
        pending, self._pending = self._pending, None
        if pending is not None:
            data = port_data if pending.port else mmio_data
            pending.finish(data[: pending.size].ljust(pending.size, b"\0"))

    def _handle(self, vmexit: Vmexit) -> RunState | None:
        """What the user sees, or None where the guest goes on."""
        code = vmexit.code
        if code is ExitCode.INTR:
            return RunState(exit_reason=ExitReason.INTR)
        if code is ExitCode.INVALID:
            return self._end(ExitReason.FAIL_ENTRY)
        if code is ExitCode.SHUTDOWN:
            return self._end(ExitReason.SHUTDOWN)
        if code is ExitCode.HLT:
            self._skip(vmexit)
            return self._exit(ExitReason.HLT)
        if code is ExitCode.VMGEXIT:
            return self._vmgexit()
        if code is ExitCode.NPF:
            return self._nested_fault(vmexit)
        if code is ExitCode.IOIO:
            return self._port(vmexit)
        self._instruction(vmexit)
        return None

    def _exit(self, reason: ExitReason) -> RunState:
        state = RunState(exit_reason=reason)
        if not self._block.es:
            state.rip, state.cr2 = self._block.save["rip"], self._block.save["cr2"]
        return state

    def _end(self, reason: ExitReason) -> RunState:
        self._over = self._exit(reason)
        return self._over

    # Guests whose registers it has

    def _skip(self, vmexit: Vmexit) -> None:
        if not self._block.es:
            self._block.save["rip"] = vmexit.next_rip

    def _instruction(self, vmexit: Vmexit) -> None:
        """One that the kernel emulates, or leaves out."""
        area = self._block.save
        if vmexit.code is ExitCode.CPUID:
            leaf = self.cpuid(area["rax"] & 0xFFFF_FFFF, area["rcx"] & 0xFFFF_FFFF)
            for name, value in zip(("rax", "rbx", "rcx", "rdx"), leaf, strict=True):
                area[name] = value
        elif vmexit.code is ExitCode.VMMCALL:
            area["rax"] = _VMMCALL_ERROR
        elif vmexit.code in (ExitCode.MSR, ExitCode.RDPMC):
            self._block.inject = _NOT_THERE
            return
        self._skip(vmexit)

    def _port(self, vmexit: Vmexit) -> RunState:
        """An output is done when its user hears of it, as KVM does it; an input waits for its answer."""
        area = self._block.save
        if not vmexit.is_in:
            self._skip(vmexit)
            return self._port_exit(vmexit.port, vmexit.size, area["rax"].to_bytes(8, "little")[: vmexit.size])

        def finish(data: bytes) -> None:
            _set_low(area, data)
            self._skip(vmexit)

        self._pending = _Pending(finish, vmexit.size, port=True)
        return self._port_exit(vmexit.port, vmexit.size, None)

    def _port_exit(self, port: int, size: int, written: bytes | None) -> RunState:
        self.port_data = written or bytes(size)
        state = self._exit(ExitReason.IO)
        state.direction, state.size, state.port, state.count = int(written is not None), size, port, 1
        return state

    def _nested_fault(self, vmexit: Vmexit) -> RunState:
        """Memory it took away, or an access outside memory: MMIO, where it can tell what was accessed."""
        move = None if self._block.es else mmio.decode(vmexit.data, self._block.save)
        if move is None:
            return self._mmio_exit(vmexit.info2, 0, None if vmexit.info1 & NPF_WRITE else b"")
        area = self._block.save
        self._pending = _Pending(lambda data: move.finish(area, data), move.size)
        written = None if move.value is None else move.value.to_bytes(move.size, "little")
        return self._mmio_exit(vmexit.info2, move.size, written)

    def _mmio_exit(self, gpa: int, size: int, written: bytes | None) -> RunState:
        state = self._exit(ExitReason.MMIO)
        state.phys_addr, state.len, state.is_write = gpa, size, int(written is not None)
        for index, value in enumerate(written or b""):
            state.mmio_data[index] = value
        return state

    # Guests that speak through the GHCB

    def _vmgexit(self) -> RunState | None:
        request = self._block.ghcb
        if not request & protocol.MSR_CODE:
            return self._ghcb_event(request)
        ended = protocol.termination(request)
        if ended is not None:
            return self._terminate(*ended)
        answer = protocol.msr_answer(request, self.cpuid)
        if answer is None:
            return self._end(ExitReason.INTERNAL_ERROR)
        self._block.ghcb = answer
        return None

    def _terminate(self, reason_set: int, reason: int) -> RunState:
        self.terminated = reason_set, reason
        return self._end(ExitReason.SYSTEM_EVENT)

    def _ghcb_event(self, gpa: int) -> RunState | None:
        try:
            page = self._nested.lookup(gpa) & ~C_BIT
        except NestedFault:
            return self._end(ExitReason.INTERNAL_ERROR)
        ghcb = Ghcb(self._memory.read(page, PAGE))
        try:
            state = self._ghcb_answer(ghcb, gpa, page)
        except Malformed as bad:
            ghcb.malformed(bad.reason)
            state = None
        if self._pending is None and self._over is None:
            self._memory.write(page, ghcb.encode())
        return state

    def _ghcb_answer(self, ghcb: Ghcb, gpa: int, page: int) -> RunState | None:
        if not ghcb.is_standard:
            raise Malformed(protocol.BAD_USAGE)
        if not ghcb.has("sw_exitcode", "sw_exitinfo1", "sw_exitinfo2"):
            raise Malformed(protocol.MISSING_INPUT)
        code = ghcb["sw_exitcode"]
        if code == ExitCode.IOIO:
            return self._ghcb_port(ghcb, page)
        if code in (protocol.MMIO_READ, protocol.MMIO_WRITE):
            return self._ghcb_mmio(ghcb, gpa, page)
        if code == protocol.TERMINATION:
            return self._terminate(ghcb["sw_exitinfo1"] & 0xF, ghcb["sw_exitinfo1"] >> 4 & 0xFF)
        if code == ExitCode.HLT:
            self._pending = _Pending(lambda _: self._finish_ghcb(ghcb, page))
            return self._exit(ExitReason.HLT)
        self._ghcb_instruction(code, ghcb)
        return None

    def _ghcb_instruction(self, code: int, ghcb: Ghcb) -> None:
        if code == ExitCode.CPUID and ghcb.has("rax", "rcx"):
            leaf = self.cpuid(ghcb["rax"] & 0xFFFF_FFFF, ghcb["rcx"] & 0xFFFF_FFFF)
            ghcb.begin_answer()
            for name, value in zip(("rax", "rbx", "rcx", "rdx"), leaf, strict=True):
                ghcb[name] = value
        elif code == ExitCode.VMMCALL and ghcb.has("rax"):
            ghcb.begin_answer()
            ghcb["rax"] = _VMMCALL_ERROR
        elif code in (ExitCode.CPUID, ExitCode.VMMCALL):
            raise Malformed(protocol.MISSING_INPUT)
        elif code in (ExitCode.MSR, ExitCode.RDPMC):
            ghcb.raise_protection_fault()
        elif code in (ExitCode.INVD, ExitCode.WBINVD, protocol.HYPERVISOR_FEATURES):
            ghcb.begin_answer()
        else:
            raise Malformed(protocol.INVALID_EVENT)

    def _finish_ghcb(self, ghcb: Ghcb, page: int) -> None:
        ghcb.begin_answer()
        self._memory.write(page, ghcb.encode())

    def _ghcb_port(self, ghcb: Ghcb, page: int) -> RunState:
        info = Vmexit(ExitCode.IOIO, ghcb["sw_exitinfo1"])
        if info.size not in (1, 2, 4) or info.info1 & _STRING:
            raise Malformed(protocol.INVALID_INPUT)
        if not info.is_in and not ghcb.has("rax"):
            raise Malformed(protocol.MISSING_INPUT)
        written = ghcb["rax"].to_bytes(8, "little")[: info.size]

        def finish(data: bytes) -> None:
            ghcb.begin_answer()
            if info.is_in:
                ghcb["rax"] = int.from_bytes(data, "little")
            self._memory.write(page, ghcb.encode())

        self._pending = _Pending(finish, info.size if info.is_in else 0, port=True)
        return self._port_exit(info.port, info.size, None if info.is_in else written)

    def _ghcb_mmio(self, ghcb: Ghcb, gpa: int, page: int) -> RunState:
        writing = ghcb["sw_exitcode"] == protocol.MMIO_WRITE
        address, size = ghcb["sw_exitinfo1"], ghcb["sw_exitinfo2"]
        at = ghcb.scratch(gpa, size) if size in (1, 2, 4, 8) else None
        if at is None:
            raise Malformed(protocol.BAD_SCRATCH)

        def finish(data: bytes) -> None:
            ghcb.begin_answer()
            if not writing:
                ghcb.put(at, data)
            self._memory.write(page, ghcb.encode())

        self._pending = _Pending(finish, 0 if writing else size)
        return self._mmio_exit(address, size, ghcb.bytes_at(at, size) if writing else None)


def _set_low(area: SaveArea, data: bytes) -> None:
    """IN: AL, AX, or EAX, whose upper half becomes zero."""
    value = int.from_bytes(data, "little")
    mask = (1 << 8 * len(data)) - 1
    area["rax"] = value if len(data) == 4 else area["rax"] & ~mask | value
