"""A SEV or SEV-ES virtual machine as KVM keeps it: its handle in the firmware, its ASID, its memory (Linux
``struct kvm_sev_info``).
"""

from __future__ import annotations

import errno
from typing import TypeVar

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.machine_calls import GUEST_HVA
from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_commands import SevDataActivate, SevDataHandle
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.hardware.structures import Structure
from wasmkeep.simulator.kernel_memory import KernelMemory
from wasmkeep.simulator.sev_kernel import SevKernel
from wasmkeep.simulator.status import Refused, require
from wasmkeep.simulator.virtual_machine import GuestDram, invalid

S = TypeVar("S", bound=Structure)


class SevContext:
    """`handle` is the firmware's, 0 before a launch or an arrival; `asid` 0 before INIT."""

    def __init__(self, kernel: SevKernel, dram: GuestDram, size: int) -> None:
        self.kernel = kernel
        self.dram = dram
        self.size = size
        self.es = False
        self.asid = 0
        self.handle = 0
        self.runnable = False  # LAUNCH_FINISH or RECEIVE_FINISH was, and SEND_FINISH was not

    def beside(self) -> KernelMemory:
        """Kernel memory for one command's buffers, with the guest's memory behind it."""
        return KernelMemory(self.dram)

    def pinned(self, uaddr: int, size: int) -> int:
        """The physical address of a range of the host's mapping of guest memory. Raises OSError."""
        gpa = uaddr - GUEST_HVA
        if not size or uaddr + size >= 1 << 64:
            raise invalid("an empty range, or one around the end of the address space")
        if not 0 <= gpa <= self.size - size:
            raise OSError(errno.EFAULT, "not the guest's memory")
        return self.dram.spa(gpa, size)

    def pinned_in_page(self, uaddr: int, size: int) -> int:
        """The same for a packet of a migration, which lies inside one page."""
        if uaddr % PAGE + size > PAGE:
            raise invalid("a packet lies inside one page")
        return self.pinned(uaddr, size)

    def issue(self, command: FirmwareCommand, buffer: S, memory: KernelMemory | None = None) -> S:
        return self.kernel.issue(command, buffer, memory or self.beside())

    def by_handle(self, command: FirmwareCommand) -> None:
        """A command that takes nothing but the handle."""
        self.issue(command, SevDataHandle(handle=self.handle))

    def bind(self, handle: int) -> None:
        """ACTIVATE the new guest in this VM's slot, or decommission it again. Raises `Refused`."""
        status, _ = self.kernel.command(
            FirmwareCommand.ACTIVATE, SevDataActivate(handle=handle, asid=self.asid)
        )
        if status is not SevStatus.SUCCESS:
            self.kernel.command(FirmwareCommand.DECOMMISSION, SevDataHandle(handle=handle))
            raise Refused(status)
        self.handle = handle

    def start(self) -> None:
        """The vCPU is about to run in the guest's slot. OSError EPERM where there is no key in it."""
        key = self.kernel.slots.key(self.asid)
        if key is None:
            raise OSError(errno.EPERM, "no key is active in the guest's slot")
        self.dram.start(key, self.asid, es=self.es)

    def end(self) -> None:
        """The guest and its slot go. Twice is once."""
        if self.handle:
            self.kernel.end_guest(self.handle)
            self.handle = 0
        if self.asid:
            self.kernel.slots.release(self.asid)
            self.asid = 0


def answered(status: SevStatus) -> None:
    """Raise what the firmware said, once its answer was copied out."""
    require(status is SevStatus.SUCCESS, status)
