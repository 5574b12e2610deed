"""One host connection to the machine: its frames as ioctls on the devices it may open, and at most one guest.

`perform` takes one request and gives one reply; `run` is apart, because it blocks. Refusals are −errno, as
from a kernel. Nothing a host sends ends anything but its own connection.
"""

from __future__ import annotations

import errno
import json
import struct
from dataclasses import dataclass
from typing import Any

from wasmkeep.hardware.calls import File
from wasmkeep.hardware.frames import Reply, Request
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.machine_calls import (
    EXIT_PORT,
    KVM_RUN,
    MAX_READ,
    VMSA_SIZE,
    WINDOW_GPA,
    WINDOW_SIZE,
    ExitReason,
    GuestRequestBuffer,
    MachineOperation,
    RunState,
)
from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.cpu import CpuKind, GuestCpu, ended
from wasmkeep.simulator.guest import POLICY_DEBUG
from wasmkeep.simulator.secure_processor import SecureProcessor
from wasmkeep.simulator.sev_device import sev_ioctl
from wasmkeep.simulator.sev_vm import SnpVirtualMachine
from wasmkeep.simulator.user_memory import UserMemory

MIN_MEMORY = 4 << 20
MAX_MEMORY = 64 << 30
_MEMORY_STEP = 2 << 20
_GUEST_REQUEST = MachineOperation.FIRMWARE + FirmwareCommand.SNP_GUEST_REQUEST
_READ_ARGUMENT = struct.Struct("<QQQ")  # gpa, address, size


@dataclass(frozen=True, slots=True)
class Board:
    """What all connections share."""

    processor: SecureProcessor
    cpu: CpuKind
    description: dict[str, Any]  # of JSON


class HostConnection:
    def __init__(self, board: Board) -> None:
        self._board = board
        self._machine: SnpVirtualMachine | None = None

    @property
    def machine(self) -> SnpVirtualMachine:
        if self._machine is None:
            raise OSError(errno.EBADF, "this connection has no guest")
        return self._machine

    @property
    def cpu(self) -> GuestCpu | None:
        """What runs this connection's guest, if there is one."""
        return None if self._machine is None else self._machine.cpu

    def is_run(self, request: Request) -> bool:
        return request.file is File.VCPU and request.number == KVM_RUN

    def perform(self, request: Request) -> tuple[Reply, int | None]:
        """The reply, and a descriptor to pass with it, which stays the machine's."""
        memory = UserMemory(request.segments)
        argument = request.segments[0].address if request.segments else request.scalar
        descriptor = None
        try:
            if request.file is File.SEV:
                value = sev_ioctl(self._board.processor, request.number, argument, memory)
            elif request.file is File.VM:
                value = self.machine.encrypt_op(request.number, argument, memory)
            elif request.file is File.MACHINE:
                value, descriptor = self._operate(request.number, argument, memory)
            else:
                value = -errno.ENOTTY
        except OSError as error:
            value = -(error.errno or errno.EIO)
        return Reply(value, memory.written(), 0 if descriptor is None else 1), descriptor

    def _operate(self, number: int, argument: int, memory: UserMemory) -> tuple[int, int | None]:
        if number == MachineOperation.DESCRIBE:
            memory.write(argument, json.dumps(self._board.description).encode())
        elif number == MachineOperation.CREATE_GUEST:
            return 0, self._create_guest(argument)
        elif number == MachineOperation.SET_VMSA:
            (address,) = struct.unpack("<Q", memory.read(argument, 8))
            self.machine.set_vmsa(memory.read(address, VMSA_SIZE))
        elif number == MachineOperation.HOST_READ:
            gpa, address, size = _READ_ARGUMENT.unpack(memory.read(argument, _READ_ARGUMENT.size))
            memory.write(address, self._host_read(gpa, size))
        elif number == MachineOperation.PASS_GUEST_REQUESTS:
            self.machine.pass_guest_requests(argument)
        elif number == _GUEST_REQUEST:
            return self._guest_request(memory.structure(GuestRequestBuffer, argument)), None
        elif number >= MachineOperation.FIRMWARE:
            return SevStatus.INVALID_COMMAND, None
        else:
            raise OSError(errno.ENOTTY, "not an operation of this machine")
        return 0, None

    def _create_guest(self, size: int) -> int:
        if self._machine is not None:
            raise OSError(errno.EBUSY, "a connection has one guest")
        if size % _MEMORY_STEP or not MIN_MEMORY <= size <= MAX_MEMORY:
            raise OSError(errno.EINVAL, "guest memory is a multiple of 2 MiB, 4 MiB to 64 GiB")
        self._machine = SnpVirtualMachine(self._board.processor, self._board.cpu.create(size))
        return self._machine.cpu.window

    def _guest_request(self, buffer: GuestRequestBuffer) -> int:
        if buffer.gctx_paddr:
            return SevStatus.INVALID_GUEST
        return self.machine.guest_request(buffer.req_paddr, buffer.res_paddr)

    def _host_read(self, gpa: int, size: int) -> bytes:
        """What anybody but the guest reads from DRAM: ciphertext, and the window as it is."""
        machine = self.machine
        if not 0 < size <= MAX_READ or gpa + size > machine.cpu.size:
            raise OSError(errno.EINVAL, "outside the guest's memory")
        first = gpa - gpa % PAGE
        pages = []
        for address in range(first, gpa + size, PAGE):
            page = machine.cpu.read(address, PAGE)
            shared = WINDOW_GPA <= address < WINDOW_GPA + WINDOW_SIZE
            pages.append(page if shared else machine.guest.memory_key.encrypt_page(address, page))
        return b"".join(pages)[gpa - first :][:size]

    def run(self, request: Request) -> Reply:
        """KVM_RUN: blocks until the guest exits. Raises `Interrupted`."""
        memory = UserMemory(request.segments)
        try:
            machine = self.machine
            if not machine.running:
                raise OSError(errno.EPERM, "the guest is not launched")
            memory.write(request.segments[0].address if request.segments else 0, bytes(_seen(machine)))
        except OSError as error:
            return Reply(-(error.errno or errno.EIO))
        return Reply(0, memory.written())

    def close(self) -> None:
        """Destroy the guest, if there is one."""
        if self._machine is not None:
            self._machine.destroy()
            self._machine = None


def _seen(machine: SnpVirtualMachine) -> RunState:
    """An exit as a host sees it: registers only of a guest that its owner allowed to be debugged."""
    state = machine.run()
    asked = state.exit_reason == ExitReason.IO and state.port == EXIT_PORT
    if asked or machine.guest.policy & POLICY_DEBUG:
        return state
    return ended(state.exit_reason)
