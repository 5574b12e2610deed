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

from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware import kvm_structures
from wasmkeep.hardware.calls import File
from wasmkeep.hardware.frames import Reply, Request
from wasmkeep.hardware.machine_calls import (
    MAX_READ,
    RUN_STATE_SIZE,
    VMSA_SIZE,
    CreateGuest,
    ExitReason,
    GuestRequestBuffer,
    HostAccess,
    MachineOperation,
    RunState,
    View,
)
from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.cpu import GuestCpu
from wasmkeep.simulator.guest_factory import GuestFactory
from wasmkeep.simulator.sev_device import SevDevice
from wasmkeep.simulator.status import Refused
from wasmkeep.simulator.user_memory import UserMemory
from wasmkeep.simulator.virtual_machine import VirtualMachine, invalid

_GUEST_REQUEST = MachineOperation.FIRMWARE + FirmwareCommand.SNP_GUEST_REQUEST
_VIEWS = frozenset(View)


@dataclass(frozen=True, slots=True)
class Board:
    """What all connections share."""

    device: SevDevice
    factory: GuestFactory
    description: dict[str, Any]  # of JSON


class HostConnection:
    def __init__(self, board: Board) -> None:
        self._board = board
        self._machine: VirtualMachine | None = None

    @property
    def machine(self) -> VirtualMachine:
        if self._machine is None:
            raise OSError(errno.EBADF, "this connection has no guest")
        return self._machine

    @property
    def cpu(self) -> GuestCpu | None:
        """What runs this connection's guest, if there is one."""
        return None if self._machine is None else self._machine.cpu

    def is_run(self, request: Request) -> bool:
        return request.file is File.VCPU and request.number == kvm_structures.RUN

    def perform(self, request: Request) -> tuple[Reply, int | None]:
        """The reply, and a descriptor to pass with it, which stays the machine's."""
        memory = UserMemory(request.segments)
        argument = request.segments[0].address if request.segments else request.scalar
        descriptor = None
        try:
            if request.file is File.SEV:
                value = self._board.device.ioctl(request.number, argument, memory)
            elif request.file is File.VM:
                value = self.machine.ioctl(request.number, argument, memory)
            elif request.file is File.VCPU:
                value = self.machine.vcpu_ioctl(request.number, argument, memory)
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
            return 0, self._create_guest(memory.structure(CreateGuest, argument))
        elif number == MachineOperation.SET_VMSA:
            (address,) = struct.unpack("<Q", memory.read(argument, 8))
            self.machine.set_vmsa(memory.read(address, VMSA_SIZE))
        elif number in (MachineOperation.HOST_READ, MachineOperation.HOST_WRITE):
            self._access(number, memory.structure(HostAccess, argument), memory)
        elif number == MachineOperation.PASS_GUEST_REQUESTS:
            self.machine.pass_guest_requests(argument)
        elif number == _GUEST_REQUEST:
            return self._guest_request(memory.structure(GuestRequestBuffer, argument)), None
        elif number >= MachineOperation.FIRMWARE:
            return SevStatus.INVALID_COMMAND, None
        else:
            raise OSError(errno.ENOTTY, "not an operation of this machine")
        return 0, None

    def _create_guest(self, wanted: CreateGuest) -> int | None:
        if self._machine is not None:
            raise OSError(errno.EBUSY, "a connection has one guest")
        self._machine = self._board.factory.create(wanted)
        return self._machine.cpu.window

    def _guest_request(self, buffer: GuestRequestBuffer) -> int:
        if buffer.gctx_paddr:
            return SevStatus.INVALID_GUEST
        return self.machine.guest_request(buffer.req_paddr, buffer.res_paddr)

    def _access(self, number: int, access: HostAccess, memory: UserMemory) -> None:
        """What anybody but the guest reads from its memory, or writes there."""
        machine = self.machine
        if not 0 < access.size <= MAX_READ or access.gpa + access.size > machine.cpu.size:
            raise invalid("outside the guest's memory")
        if access.view not in _VIEWS or access.zero:
            raise invalid("nobody looks at memory like that")
        view = View(access.view)
        try:
            if number == MachineOperation.HOST_READ:
                memory.write(access.address, machine.look(access.gpa, access.size, view))
            else:
                machine.store(access.gpa, memory.read(access.address, access.size), view)
        except Refused as refusal:
            raise invalid("outside the guest's memory") from refusal

    def run(self, request: Request) -> Reply:
        """KVM_RUN: blocks until the guest exits. Raises `Interrupted`."""
        memory = UserMemory(request.segments)
        try:
            machine = self.machine
            if not machine.running:
                raise OSError(errno.EPERM, "the guest is not launched")
            if not request.segments:
                raise OSError(errno.EFAULT, "no room for the exit")
            address, held = request.segments[0]
            _answer(machine.cpu, held)
            memory.write(address, _with_data(machine.run(), machine.cpu, len(held) - RUN_STATE_SIZE))
        except OSError as error:
            return Reply(-(error.errno or errno.EIO))
        except PlatformUnavailable:  # an emulator that is another than the one this machine knows
            return Reply(-errno.EOPNOTSUPP)
        return Reply(0, memory.written())

    def close(self) -> None:
        """Destroy the guest, if there is one."""
        if self._machine is not None:
            self._machine.destroy()
            self._machine = None


def _answer(cpu: GuestCpu, held: bytes | memoryview) -> None:
    """What the host filled in for a guest that came out to read something."""
    if len(held) > RUN_STATE_SIZE:
        state = RunState.from_buffer_copy(held)
        cpu.answer(bytes(state.mmio_data), bytes(held[RUN_STATE_SIZE:]))


def _with_data(state: RunState, cpu: GuestCpu, room: int) -> bytes:
    """The exit, with a port's values behind it where the host left room."""
    data = cpu.exit_data() if room > 0 and state.exit_reason == ExitReason.IO else b""
    if data and len(data) <= room:
        state.data_offset = RUN_STATE_SIZE
        return bytes(state) + data
    return bytes(state)
