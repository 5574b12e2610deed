"""A virtual machine as its host's kernel has it: memory, one vCPU, and how much of both the hypervisor sees.

`snp_vm` is an SNP guest's, `sev_vm` that of SEV and SEV-ES guests, and of those that are not encrypted.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from typing import Protocol

from wasmkeep.hardware import kvm_structures as k
from wasmkeep.hardware.kvm_sev import KVM_MEMORY_ENCRYPT_OP, KvmSevCmd
from wasmkeep.hardware.machine_calls import VMSA_SIZE, ExitReason, RunState, View
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.cpu import GuestCpu, ended
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.status import Refused
from wasmkeep.simulator.system_memory import SystemMemory
from wasmkeep.simulator.user_memory import UserMemory
from wasmkeep.simulator.vmsa import InvalidVmsa

_REGISTER_CALLS = frozenset((k.GET_REGS, k.SET_REGS, k.GET_SREGS, k.SET_SREGS, k.GET_XSAVE, k.SET_XSAVE))


def invalid(what: str) -> OSError:
    return OSError(errno.EINVAL, what)


class GuestDram(SystemMemory, Protocol):
    """The physical memory behind one guest."""

    vmsa_address: int | None  # of its one vCPU, where that has a VMSA in this memory

    def spa(self, gpa: int, size: int) -> int:
        """Where a guest-physical range lies. Raises `Refused` (INVALID_ADDRESS) outside it."""

    def start(self, key: MemoryKey, asid: int, *, es: bool) -> None:
        """The guest is about to run, and `key` is in its slot, `asid`."""


class VirtualMachine(ABC):
    """At most one a connection, used by that connection's thread."""

    def __init__(self, cpu: GuestCpu) -> None:
        self.cpu = cpu
        self._unrunnable = False

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it may run now."""

    @property
    @abstractmethod
    def shows_registers(self) -> bool:
        """Whether the hypervisor may see and set the vCPU's registers."""

    def set_vmsa(self, page: bytes) -> None:
        """The vCPU's initial state. Raises OSError."""
        if len(page) != VMSA_SIZE:
            raise invalid("a VMSA is one page")
        try:
            self.cpu.load(page)
            self._unrunnable = False
        except InvalidVmsa:
            self._unrunnable = True

    def ioctl(self, number: int, argument: int, memory: UserMemory) -> int:
        """An ioctl of the VM: 0, or −EIO with the firmware's status in `error`. Raises OSError."""
        if number != KVM_MEMORY_ENCRYPT_OP:
            raise OSError(errno.ENOTTY, "not an ioctl of this machine's VMs")
        command = memory.structure(KvmSevCmd, argument)
        if command.pad0:
            raise invalid("padding is not zero")
        try:
            self.encrypt_op(command.id, command.data, memory)
        except Refused as refusal:
            command.error = refusal.status
            memory.write(argument, bytes(command))
            return -errno.EIO
        return 0

    def encrypt_op(self, identifier: int, data: int, memory: UserMemory) -> None:  # noqa: ARG002
        """A command of KVM_MEMORY_ENCRYPT_OP. Raises OSError as KVM, `Refused` as the firmware."""
        raise OSError(errno.ENOTTY, "not a VM that is encrypted")

    def vcpu_ioctl(self, number: int, argument: int, memory: UserMemory) -> int:
        """Registers. Raises OSError EINVAL where the guest's state is protected, as KVM does."""
        if number not in _REGISTER_CALLS:
            raise OSError(errno.ENOTTY, "not an ioctl of this machine's vCPUs")
        if not self.shows_registers:
            raise invalid("the guest's registers are protected")
        cpu = self.cpu
        if number == k.GET_REGS:
            memory.write(argument, bytes(cpu.get_regs()))
        elif number == k.GET_SREGS:
            memory.write(argument, bytes(cpu.get_sregs()))
        elif number == k.GET_XSAVE:
            memory.write(argument, cpu.get_xsave())
        elif number == k.SET_REGS:
            cpu.set_regs(memory.structure(k.Regs, argument))
        elif number == k.SET_SREGS:
            cpu.set_sregs(memory.structure(k.Sregs, argument))
        else:
            cpu.set_xsave(memory.read(argument, k.XSAVE_SIZE))
        return 0

    @abstractmethod
    def look(self, gpa: int, size: int, view: View) -> bytes:
        """What somebody other than the guest reads, inside its memory."""

    @abstractmethod
    def store(self, gpa: int, data: bytes, view: View) -> None:
        """What somebody other than the guest writes, inside its memory. Raises OSError."""

    def pass_guest_requests(self, count: int) -> None:  # noqa: ARG002
        raise OSError(errno.ENOTTY, "no guest of SNP")

    def guest_request(self, request_gpa: int, response_gpa: int) -> int:  # noqa: ARG002
        return SevStatus.INVALID_GUEST

    def run(self) -> RunState:
        """Until an exit; a state that VMRUN refuses is KVM_EXIT_FAIL_ENTRY. Raises `Interrupted`."""
        return ended(ExitReason.FAIL_ENTRY) if self._unrunnable else self.cpu.run()

    @abstractmethod
    def destroy(self) -> None:
        """Stop the CPU, then give the key slot back: nothing of the guest runs any more."""
