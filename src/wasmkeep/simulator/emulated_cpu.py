"""Bare guests on the emulated CPU: their memory is DRAM behind the memory controller, ciphertext where the
guest has a key. Needs the optional extra `emulator`.

All guests of a machine share its DRAM and controller. `EmulatedGuest` is a guest's CPU, `EmulatedDram` its
memory as the kernel names it to the firmware.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.kvm_structures import Regs, Sregs
from wasmkeep.hardware.machine_calls import ExitReason, RunState
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.core.engine import load_library
from wasmkeep.simulator.core.exits import ControlBlock
from wasmkeep.simulator.core.vcpu import Vcpu
from wasmkeep.simulator.cpu import GuestPlan, Interrupted, ended
from wasmkeep.simulator.hypervisor import registers
from wasmkeep.simulator.hypervisor.cpuid import Cpuid, honest
from wasmkeep.simulator.hypervisor.hypervisor import Hypervisor
from wasmkeep.simulator.memory_controller import C_BIT, MemoryController
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.nested_paging import NestedTable
from wasmkeep.simulator.page_allocator import PageAllocator
from wasmkeep.simulator.save_area import SaveArea
from wasmkeep.simulator.status import require
from wasmkeep.simulator.vmexit import Vmexit
from wasmkeep.simulator.vmsa import parse_vmsa, require_runnable

RUN_LIMIT = 30.0
"""Seconds of one run, so that a looping guest ends even where nobody interrupts it."""

_MOST_LINES = (64 << 20) // PAGE
_SPARE_LINES = 8


class EmulatedCpuKind:
    name = "emulated"
    reason = ""

    def __init__(
        self, controller: MemoryController, pages: PageAllocator, cpuid: Cpuid | None = None
    ) -> None:
        """Raises `PlatformUnavailable` where the emulator is not installed."""
        load_library()
        self._controller = controller
        self._pages = pages
        self._cpuid = cpuid or honest()

    def create(self, plan: GuestPlan) -> EmulatedGuest:
        if plan.window:
            raise ValueError("the emulated CPU is for bare guests")
        return EmulatedGuest(self._controller, self._pages, plan.memory, self._cpuid)

    def close(self) -> None: ...


class EmulatedGuest:
    """All in one thread, but `interrupt`. Attributes are the hypervisor's to read and to change: `block`,
    `nested` and `hypervisor` are how a hostile one attacks.
    """

    window = None

    def __init__(self, controller: MemoryController, pages: PageAllocator, memory: int, cpuid: Cpuid) -> None:
        """`memory` bytes of zeros. Raises OSError."""
        self.size = memory
        self.limit = RUN_LIMIT
        self._controller = controller
        self._pages = pages
        self._base = pages.allocate(memory)
        self.nested = NestedTable(self._base, memory)
        self.block = ControlBlock(vmsa=pages.allocate(PAGE))
        self.hypervisor = Hypervisor(self.vmrun, self.block, self.nested, controller, cpuid)
        self._vcpu: Vcpu | None = None
        self._wanted = threading.Event()  # somebody wants the guest out

    # How it runs

    def protect(self, asid: int, *, es: bool) -> None:
        """From now on the guest is one of SEV, with the key in slot `asid`."""
        self.block.asid, self.block.sev, self.block.es = asid, True, es

    def load(self, vmsa: bytes) -> None:
        """Registers for VMRUN, and the page that LAUNCH_UPDATE_VMSA measures."""
        require_runnable(parse_vmsa(vmsa), sev_features=0)
        self.block.save = SaveArea(vmsa)
        self._controller.write(self.block.vmsa, vmsa)

    def vmrun(self) -> Vmexit:
        """One entry, to the very next exit. Raises `PlatformUnavailable`."""
        if self._vcpu is None:
            lines = min(2 * (self.size // PAGE), _MOST_LINES) + _SPARE_LINES
            self._vcpu = Vcpu(self._controller, self.nested, self._wanted, lines)
        return self._vcpu.run(self.block, self.limit)

    def run(self) -> RunState:
        state = None if self._wanted.is_set() else self.hypervisor.run()
        if state is not None and state.exit_reason != ExitReason.INTR:
            return state
        if self._wanted.is_set():
            self._wanted.clear()
            raise Interrupted
        return ended(ExitReason.INTERNAL_ERROR)  # it ran for as long as it may

    def exit_data(self) -> bytes:
        return self.hypervisor.port_data

    def answer(self, mmio: bytes, data: bytes) -> None:
        self.hypervisor.answer(mmio, data)

    def interrupt(self) -> None:
        self._wanted.set()

    def destroy(self) -> None:
        """Its memory stays as it is in DRAM until the next guest gets it. Twice is once."""
        if self._vcpu is not None:
            self._vcpu.close()
            self._vcpu = None
        if self._base:
            self._controller.forget_state(self.block.vmsa)
            self._pages.free(self._base, self.size)
            self._pages.free(self.block.vmsa, PAGE)
            self._base = 0

    # Registers as the hypervisor has them: without SEV-ES all, with it none

    def get_regs(self) -> Regs:
        return registers.get_regs(self.block.save)

    def set_regs(self, regs: Regs) -> None:
        registers.set_regs(self.block.save, regs)

    def get_sregs(self) -> Sregs:
        return registers.get_sregs(self.block.save)

    def set_sregs(self, sregs: Sregs) -> None:
        registers.set_sregs(self.block.save, sregs)

    def get_xsave(self) -> bytes:
        return registers.get_xsave(self.block.save)

    def set_xsave(self, area: bytes) -> None:
        registers.set_xsave(self.block.save, area)

    # Memory by guest-physical address, as its owner means it: through the key where the guest has one

    def read(self, gpa: int, size: int) -> bytes:
        parts = [self._controller.load(at, part, self.block.asid) for at, part in self._behind(gpa, size)]
        return b"".join(parts)

    def write(self, gpa: int, data: bytes | memoryview) -> None:
        done = 0
        for at, part in self._behind(gpa, len(data)):
            self._controller.store(at, bytes(data[done : done + part]), self.block.asid)
            done += part

    def zero(self, gpa: int, size: int) -> None:
        self.write(gpa, bytes(size))

    def is_shared(self, gpa: int, size: int) -> bool:  # noqa: ARG002 - only page tables know
        return False

    def _behind(self, gpa: int, size: int) -> Iterator[tuple[int, int]]:
        """Physical address, with C-bit where the guest has a key, and size of each piece in one page."""
        end = gpa + size
        while gpa < end:
            part = min(end - gpa, PAGE - gpa % PAGE)
            page = self.nested.lookup(gpa - gpa % PAGE)
            yield (page | C_BIT if self.block.sev else page) + gpa % PAGE, part
            gpa += part

    # Memory by system physical address, as everyone else means it

    def spa(self, gpa: int, size: int) -> int:
        """Raises `Refused` (INVALID_ADDRESS) outside the guest's memory."""
        require(0 <= gpa <= self.size - size, SevStatus.INVALID_ADDRESS)
        return self._base + gpa


class EmulatedDram:
    """The physical memory behind an emulated guest, as its kernel gives it to the firmware (`GuestDram`)."""

    def __init__(self, guest: EmulatedGuest, controller: MemoryController) -> None:
        self._guest = guest
        self._controller = controller
        self.vmsa_address: int | None = guest.block.vmsa
        self.read = controller.read
        self.write = controller.write
        self.encrypt_in_place = controller.encrypt_in_place
        self.private_read = controller.private_read
        self.private_write = controller.private_write
        self.seal_vmsa = controller.seal_vmsa

    def spa(self, gpa: int, size: int) -> int:
        return self._guest.spa(gpa, size)

    def start(self, key: MemoryKey, asid: int, *, es: bool) -> None:  # noqa: ARG002 - the controller has it
        self._guest.protect(asid, es=es)
