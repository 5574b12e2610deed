"""Guests as sandboxed processes, for computers without ``/dev/kvm``: slower, and another image.

The guest's program is the ELF file made of its measured NORMAL pages from 0x10_0000 up. It gets the window as
descriptor 3, the exit socket as 4 (write a byte = exit, read a byte = resume), and as 5 a private file with
its configuration page and then its secrets page; no other descriptor, no environment, its own session, and
limits.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import select
import signal
import socket
from contextlib import suppress

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.kvm_structures import Regs, Sregs
from wasmkeep.hardware.machine_calls import WINDOW_GPA, WINDOW_SIZE, ExitReason, RunState
from wasmkeep.hardware.memory import create_window
from wasmkeep.simulator.cpu import GuestPlan, Interrupted, ended, no_registers, port_exit
from wasmkeep.simulator.nursery import Nursery
from wasmkeep.simulator.vmsa import parse_vmsa, require_runnable

PROGRAM_GPA = 0x10_0000
CONFIGURATION_GPA = 0x1_4000
SECRETS_GPA = 0x1_3000
_ADDRESS_SPACE = 64 << 30  # the keep reserves 4 GiB and as much again as guards; reserving costs nothing
_MFD_EXEC = 0x10  # linux/memfd.h; Python 3.11 does not name it
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class ProcessCpuKind:
    name = "process"

    def __init__(self, reason: str, nursery: Nursery) -> None:
        self.reason = reason
        self._nursery = nursery

    def create(self, plan: GuestPlan) -> ProcessGuest:
        """Raises OSError (EOPNOTSUPP) for a bare guest: a process is a keep's."""
        if not plan.window:
            raise OSError(errno.EOPNOTSUPP, "a process is no bare machine")
        return ProcessGuest(self._nursery, plan)

    def close(self) -> None:
        self._nursery.close()


class ProcessGuest:
    """Until it starts, its memory is a table of pages; what the process does with its own is its own."""

    def __init__(self, nursery: Nursery, plan: GuestPlan) -> None:
        self.size = plan.memory
        self._features = plan.sev_features
        self._nursery = nursery
        self._pages: dict[int, bytes] = {}
        self._process: int | None = None  # pidfd
        self._exits: socket.socket | None = None
        self._resume = False
        self._over: RunState | None = None
        window = create_window(WINDOW_SIZE)
        self.window: int | None = window
        self._shared = mmap.mmap(window, WINDOW_SIZE)
        self._descriptor = window
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def read(self, gpa: int, size: int) -> bytes:
        if self.is_shared(gpa, size):
            return self._shared[gpa - WINDOW_GPA : gpa - WINDOW_GPA + size]
        first, last = gpa // PAGE, (gpa + size - 1) // PAGE
        joined = b"".join(self._pages.get(page, bytes(PAGE)) for page in range(first, last + 1))
        return joined[gpa - first * PAGE :][:size]

    def write(self, gpa: int, data: bytes | memoryview) -> None:
        """Whole pages, as the firmware writes them."""
        if self.is_shared(gpa, len(data)):
            self._shared[gpa - WINDOW_GPA : gpa - WINDOW_GPA + len(data)] = data
            return
        for offset in range(0, len(data), PAGE):
            self._pages[(gpa + offset) // PAGE] = bytes(data[offset : offset + PAGE])

    def is_shared(self, gpa: int, size: int) -> bool:
        return gpa < WINDOW_GPA + WINDOW_SIZE and gpa + size > WINDOW_GPA

    def zero(self, gpa: int, size: int) -> None:
        pass  # what is in no table is zero

    def load(self, vmsa: bytes) -> None:
        """The process itself begins with the first run: before that a host still prepares the window."""
        require_runnable(parse_vmsa(vmsa), sev_features=self._features)

    def _spawn(self) -> socket.socket:
        self._exits, theirs = socket.socketpair()
        program = private = None
        try:
            program = _sealed_file("keep", self._program())
            pages = (self._pages.get(gpa // PAGE, bytes(PAGE)) for gpa in (CONFIGURATION_GPA, SECRETS_GPA))
            private = _sealed_file("private", b"".join(pages))
            descriptors = (self._descriptor, theirs.fileno(), private)
            self._process = self._nursery.spawn(program, descriptors, _ADDRESS_SPACE + self.size)
        except OSError as error:
            # Not an executable this CPU can start: as a guest whose first instruction faults.
            if error.errno not in (errno.ENOEXEC, errno.EINVAL, errno.ENOENT, errno.EACCES, errno.ENOMEM):
                raise
            self._over = ended(ExitReason.SHUTDOWN)
        finally:
            theirs.close()
            for descriptor in (program, private):
                if descriptor is not None:
                    os.close(descriptor)
        return self._exits

    def _program(self) -> bytes:
        pages = []
        number = PROGRAM_GPA // PAGE
        while number in self._pages:
            pages.append(self._pages[number])
            number += 1
        return b"".join(pages)

    def run(self) -> RunState:
        exits = self._exits or self._spawn()
        if self._over is not None:
            return self._over
        if self._resume:
            with suppress(BrokenPipeError, ConnectionResetError):
                exits.send(b"\1", socket.MSG_NOSIGNAL)
            self._resume = False
        if self._wake in _wait(exits.fileno(), self._wake):
            os.eventfd_read(self._wake)
            raise Interrupted
        try:
            said = exits.recv(1)
        except ConnectionResetError:
            said = b""
        if said:
            self._resume = True
            return port_exit()
        self._over = ended(ExitReason.SHUTDOWN)
        return self._over

    def exit_data(self) -> bytes:
        return b""  # its one exit carries nothing

    def answer(self, mmio: bytes, data: bytes) -> None:
        pass

    def get_regs(self) -> Regs:
        raise no_registers()

    def set_regs(self, _regs: Regs) -> None:
        raise no_registers()

    def get_sregs(self) -> Sregs:
        raise no_registers()

    def set_sregs(self, _sregs: Sregs) -> None:
        raise no_registers()

    def get_xsave(self) -> bytes:
        raise no_registers()

    def set_xsave(self, _area: bytes) -> None:
        raise no_registers()

    def interrupt(self) -> None:
        os.eventfd_write(self._wake, 1)

    def destroy(self) -> None:
        """Kill the process and wait until it is gone, so that nothing of it is left when its slot is free."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            _wait(self._process)
            os.close(self._process)
            self._process = None
        if self._exits is not None:
            self._exits.close()
        self._shared.close()
        os.close(self._descriptor)
        os.close(self._wake)


def _wait(*descriptors: int) -> list[int]:
    """The descriptors that have something to read; waits for one. (`select` ends at descriptor 1024.)"""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll()]


def _sealed_file(name: str, content: bytes) -> int:
    """An anonymous file with `content` that nobody can change any more."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        descriptor = os.memfd_create(f"wasmkeep-{name}", flags | _MFD_EXEC)
    except OSError:  # a kernel before 6.3 does not know the flag, and does not need it
        descriptor = os.memfd_create(f"wasmkeep-{name}", flags)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
