"""What stops the emulator is for the guest an exit to its hypervisor, an exception of its own, or nothing.

The control block is here because its settings decide that.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.simulator.core import events
from wasmkeep.simulator.core.address_space import AddressSpace, NestedTableFault
from wasmkeep.simulator.core.engine import (
    DEBUG_REGISTERS,
    Access,
    Event,
    Intercepted,
    PortAccess,
    Raised,
    SoftwareInterrupt,
    SystemCall,
)
from wasmkeep.simulator.core.events import Interruption
from wasmkeep.simulator.core.instructions import (
    MAX_INSTRUCTION,
    debug_register,
    is_string_port,
    is_vmgexit,
    is_vmmcall,
    length,
)
from wasmkeep.simulator.core.lines import Full
from wasmkeep.simulator.core.page_walk import PageFault, Paging
from wasmkeep.simulator.core.state import State
from wasmkeep.simulator.memory_controller import HOST_ASID
from wasmkeep.simulator.nested_paging import NestedFault
from wasmkeep.simulator.save_area import SaveArea
from wasmkeep.simulator.vmexit import (
    IOIO_IN,
    IOIO_PORT_SHIFT,
    IOIO_SIZE_SHIFT,
    NPF_FETCH,
    NPF_FINAL,
    NPF_RESERVED,
    NPF_TABLE,
    NPF_USER,
    NPF_WRITE,
    ExitCode,
    Vmexit,
)

MSR_GHCB, MSR_SEV_STATUS = 0xC001_0130, 0xC001_0131
SEV_STATUS_SEV, SEV_STATUS_ES = 1 << 0, 1 << 1
_LONG_CODE = 1 << 9


@dataclass(slots=True)
class ControlBlock:
    """What the hypervisor decides before VMRUN (the VMCB's control area), and reads after it.

    `save` holds the registers of a guest without SEV-ES; `vmsa` is the system physical address of the VMSA of
    one with it. `ghcb` is the guest's GHCB MSR. `inject` is delivered at the next entry.
    """

    asid: int = HOST_ASID
    sev: bool = False
    es: bool = False
    vmsa: int = 0
    ghcb: int = 0
    inject: Interruption | None = None
    save: SaveArea = field(default_factory=SaveArea, repr=False)


Outcome = Vmexit | Interruption | None


class Exits:
    """Of one entry. RIP in `state` is advanced where the instruction is done, or will not be repeated."""

    def __init__(self, block: ControlBlock, area: SaveArea, space: AddressSpace) -> None:
        """`area`: the registers at the entry, and all the time those that the emulator does not keep."""
        self._block = block
        self._area = area
        self._space = space

    def of(self, event: Event, state: State) -> Outcome:
        if isinstance(event, Intercepted):
            return self._intercepted(event.code, state)
        if isinstance(event, PortAccess):
            return self._port(event, state)
        if isinstance(event, Raised):
            return self._raised(event.vector, state)
        if isinstance(event, SoftwareInterrupt):
            return Interruption(event.vector, software=True)
        if isinstance(event, SystemCall):
            if event.is_syscall and events.system_call(state):
                return None
            state["rip"] = event.rip
            return Interruption(events.UNDEFINED)
        return Vmexit(ExitCode.SHUTDOWN)  # the emulator knows no way on

    def linear_rip(self, state: State) -> int:
        linear = state.segment("cs").base + state["rip"]
        return linear if self._is_long_code(state) else linear & 0xFFFF_FFFF

    # Instructions

    def _intercepted(self, code: int, state: State) -> Outcome:
        bytes_here = self._code(state)
        if code in DEBUG_REGISTERS:
            return self._debug_register(bytes_here, state)
        behind = state["rip"] + length(bytes_here, long_mode=self._is_long_code(state))
        if code == ExitCode.HLT:
            if self._block.es:  # automatic: nobody else could step over it
                state["rip"] = behind
            return Vmexit(ExitCode.HLT, next_rip=behind)
        if code == ExitCode.MSR:
            return self._msr(behind, state)
        return self._needs_hypervisor(Vmexit(ExitCode(code), next_rip=behind))

    def _debug_register(self, code: bytes, state: State) -> Outcome:
        """MOV from or to one; they are kept, and do nothing."""
        number, general, writes, size = debug_register(code, long_mode=self._is_long_code(state))
        if number in (4, 5):  # as without CR4.DE
            number += 2
        name = f"dr{number}"
        if writes:
            self._area[name] = state[general]
        else:
            state[general] = self._area[name]
        state["rip"] += size
        return None

    def _msr(self, behind: int, state: State) -> Outcome:
        index, writing = state["rcx"] & 0xFFFF_FFFF, state.error_code & 1
        block = self._block
        if index == MSR_GHCB and block.es:
            if writing:
                block.ghcb = state["rax"] & 0xFFFF_FFFF | (state["rdx"] & 0xFFFF_FFFF) << 32
            else:
                state["rax"], state["rdx"] = block.ghcb & 0xFFFF_FFFF, block.ghcb >> 32
        elif index == MSR_SEV_STATUS and block.sev and not writing:
            state["rax"], state["rdx"] = SEV_STATUS_SEV | (SEV_STATUS_ES if block.es else 0), 0
        else:
            return self._needs_hypervisor(Vmexit(ExitCode.MSR, info1=writing, next_rip=behind))
        state["rip"] = behind
        return None

    def _port(self, event: PortAccess, state: State) -> Outcome:
        behind, state["rip"] = state["rip"], event.rip
        if is_string_port(self._code(state), long_mode=self._is_long_code(state)):
            return Interruption(events.UNDEFINED)  # not simulated
        info = event.port << IOIO_PORT_SHIFT | event.size << IOIO_SIZE_SHIFT | (IOIO_IN if event.is_in else 0)
        return self._needs_hypervisor(Vmexit(ExitCode.IOIO, info, behind, next_rip=behind))

    def _raised(self, vector: int, state: State) -> Outcome:
        code, long_mode = self._code(state), self._is_long_code(state)
        if vector != events.UNDEFINED or not is_vmmcall(code, long_mode=long_mode):
            return Interruption(vector, state.error_code)
        behind = state["rip"] + length(code, long_mode=long_mode)
        if self._block.es and is_vmgexit(code, long_mode=long_mode):
            state["rip"] = behind
            return Vmexit(ExitCode.VMGEXIT)
        return self._needs_hypervisor(Vmexit(ExitCode.VMMCALL, next_rip=behind))

    def _needs_hypervisor(self, vmexit: Vmexit) -> Outcome:
        """Non-automatic exits: with SEV-ES the guest itself decides what to ask for."""
        if self._block.es:
            return Interruption(events.VMM_COMMUNICATION, vmexit.code)
        return vmexit

    # Nested page faults

    def nested(
        self, why: NestedFault | NestedTableFault, access: Access, linear: int, state: State
    ) -> Outcome:
        """Of an instruction's access to `linear`."""
        info = _WANTED[access]
        if isinstance(why, NestedTableFault):
            return self.nested_delivery(why)
        if self._block.es:
            if why.reserved:
                return Interruption(events.VMM_COMMUNICATION, ExitCode.NPF)
            return Vmexit(ExitCode.NPF, info | NPF_FINAL, why.gpa)
        data = b"" if access is Access.FETCH else self._code(state)
        info |= NPF_FINAL | (NPF_RESERVED if why.reserved else 0)
        return Vmexit(ExitCode.NPF, info, why.gpa + linear % PAGE, data)

    def nested_delivery(self, why: NestedFault | NestedTableFault) -> Vmexit:
        """Of an access that the processor made for itself."""
        if isinstance(why, NestedTableFault):
            return Vmexit(ExitCode.NPF, NPF_USER | NPF_TABLE, why.fault.gpa)
        return Vmexit(ExitCode.NPF, NPF_USER | NPF_FINAL, why.gpa)

    # The instruction at RIP

    def _is_long_code(self, state: State) -> bool:
        return state.is_long and bool(state.segment("cs").attributes & _LONG_CODE)

    def _paging(self, state: State) -> Paging:
        return Paging(state["cr0"], state["cr3"], state["cr4"], state["efer"], user=state.cpl == 3)

    def _code(self, state: State) -> bytes:
        """Up to 15 bytes, as far as there is memory."""
        paging = self._paging(state)
        linear = self.linear_rip(state)
        here = min(MAX_INSTRUCTION, PAGE - linear % PAGE)
        code = b""
        with suppress(PageFault, NestedFault, NestedTableFault, Full):
            code += self._space.read(linear, here, paging, Access.FETCH)
            code += self._space.read(linear + here, MAX_INSTRUCTION - here, paging, Access.FETCH)
        return code


_WANTED = {
    Access.READ: NPF_USER,
    Access.WRITE: NPF_USER | NPF_WRITE,
    Access.FETCH: NPF_USER | NPF_FETCH,
}
