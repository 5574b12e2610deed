"""A machine for testing the keep alone: it launches an image, answers its guest messages, shows every exit.

It is not a simulator: nothing is measured, and the secure processor is a stand-in that signs nothing. What a
launch gives a keep alone is a page that the test makes: a secrets page (snp), or a slot with the tenant's
packet, as LAUNCH_SECRET would leave it (sev, sev-es). Both kinds of machine look the same from outside:
`window`, `run`, `close`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wasmkeep.hardware import kvm_structures as k
from wasmkeep.hardware.kvm import Kvm, Vcpu
from wasmkeep.hardware.memory import Memory, create_window
from wasmkeep.image.elf import load_segments
from wasmkeep.image.vmsa import ImageHeader

WINDOW, WINDOW_SIZE = 0x20_0000, 1 << 20
LAUNCH_PAGE, CONFIGURATION, IMAGE = 0x1_3000, 0x1_4000, 0x10_0000
REQUEST, RESPONSE = 0x2000, 0x3000
MEASUREMENT = bytes(range(48))
MEMORY = 64 << 20

_EXIT_IO, _EXIT_SHUTDOWN = 2, 8
_IO_OUT = (1).to_bytes(1) + (1).to_bytes(1) + (0x10).to_bytes(2, "little") + (1).to_bytes(4, "little")


@dataclass(frozen=True, slots=True)
class Exited:
    """The keep left through its one exit."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The machine stopped by itself: a triple fault, or the process ended."""

    how: str


class Machine(Protocol):
    @property
    def window(self) -> memoryview: ...
    def run(self) -> Exited | Stopped: ...
    def close(self) -> None: ...


def configuration_page(memory: int = MEMORY) -> bytes:
    return struct.pack("<8sQI", b"WKCONF01", memory, 1).ljust(4096, b"\0")


def secrets_page(key: bytes) -> bytes:
    return (struct.pack("<I28x", 3) + key).ljust(4096, b"\0")


@dataclass
class StandInProcessor:
    """Answers MSG_REPORT_REQ; ``spoil`` may alter the answer, ``host_data`` is what the launch fixed."""

    host_data: bytes
    key: bytes = field(default_factory=lambda: os.urandom(32))
    measurement: bytes = MEASUREMENT
    spoil: Callable[[bytearray], None] | None = None
    status: int = 0
    requests: list[bytes] = field(default_factory=list)

    def answer(self, message: bytes) -> bytes:
        header = message[:0x60]
        sequence, algorithm, version, size, kind, _, length = (
            int.from_bytes(header[0x20:0x28], "little"),
            header[0x30],
            header[0x31],
            int.from_bytes(header[0x32:0x34], "little"),
            header[0x34],
            header[0x35],
            int.from_bytes(header[0x36:0x38], "little"),
        )
        assert (sequence, algorithm, version, size, kind, length) == (1, 1, 1, 0x60, 5, 96)
        payload = AESGCM(self.key).decrypt(
            struct.pack("<QI", sequence, 0), message[0x60:0xC0] + header[:16], header[0x30:]
        )
        self.requests.append(payload)
        report = bytearray(1184)
        struct.pack_into("<I", report, 0, 3)
        report[0x50:0x90] = payload[:64]
        report[0x90:0xC0] = self.measurement
        report[0xC0:0xE0] = self.host_data
        if self.spoil is not None:
            self.spoil(report)
        return self._seal(struct.pack("<II24x", self.status, len(report)) + bytes(report))

    def _seal(self, payload: bytes) -> bytes:
        header = bytearray(0x60)
        struct.pack_into("<Q", header, 0x20, 2)
        struct.pack_into("<BBHBBH", header, 0x30, 1, 1, 0x60, 6, 1, len(payload))
        sealed = AESGCM(self.key).encrypt(struct.pack("<QI", 2, 0), payload, bytes(header[0x30:]))
        header[:16] = sealed[-16:]
        return bytes(header) + sealed[:-16]


def slot_page(*packets: tuple[int, bytes]) -> bytes:
    """The launch slot, with packets at these offsets."""
    page = bytearray(4096)
    for at, packet in packets:
        page[at : at + len(packet)] = packet
    return bytes(page)


class KvmMachine:
    """A guest kind's image on the real processor, entered as its VMSA would have it.

    ``garbage`` is what memory holds that is not part of the launch, as on SEV and SEV-ES; none means zeros.
    """

    def __init__(
        self,
        kvm: Kvm,
        elf: bytes,
        launch_page: bytes,
        configuration: bytes,
        memory: int = MEMORY,
        *,
        garbage: bytes = b"",
    ) -> None:
        self.memory = Memory(memory)
        descriptor = create_window(WINDOW_SIZE)
        self.memory.share(WINDOW, WINDOW_SIZE, descriptor)
        os.close(descriptor)
        self.window = self.memory.view[WINDOW : WINDOW + WINDOW_SIZE]
        if garbage:
            self.memory.view[WINDOW + WINDOW_SIZE :] = garbage * (
                (memory - WINDOW - WINDOW_SIZE) // len(garbage)
            )
            self.memory.view[:WINDOW] = garbage * (WINDOW // len(garbage))
        for segment in load_segments(elf):
            whole = segment.data.ljust(-(-segment.size // 4096) * 4096, b"\0")
            self.memory.view[segment.address : segment.address + len(whole)] = whole
        self.memory.view[LAUNCH_PAGE : LAUNCH_PAGE + 4096] = launch_page
        self.memory.view[CONFIGURATION : CONFIGURATION + 4096] = configuration
        self._vm = kvm.create_vm()
        self._vm.add_memory(0, 0, self.memory)
        self._vcpu = self._vm.create_vcpu()
        self.cycles_khz = self._vcpu.tsc_khz()
        header = ImageHeader.decode(bytes(self.memory.view[IMAGE : IMAGE + 64]))
        _enter_ring3(self._vcpu, header, mce=bool(garbage))

    def run(self) -> Exited | Stopped:
        while True:
            reason = self._vcpu.run()
            if reason == _EXIT_IO:
                data = self._vcpu.exit_data(8)
                return Exited() if data == _IO_OUT else Stopped(f"port access {data.hex()}")
            if reason == _EXIT_SHUTDOWN:
                return Stopped(f"shutdown at {self._vcpu.get_regs().rip:#x}")
            if reason != 10:
                regs = self._vcpu.get_regs()
                return Stopped(f"KVM exit {reason} at {regs.rip:#x}, {self._vcpu.exit_data(16).hex()}")

    def registers(self) -> k.Regs:
        """As a host sees them at an exit where they are not encrypted."""
        return self._vcpu.get_regs()

    def vector_registers(self) -> bytes:
        """YMM0 to YMM15: their low halves, then their high halves, 512 bytes."""
        area = self._vcpu.get_xsave()
        return area[160:416] + area[576:832]

    def interrupt(self) -> None:
        self._vcpu.interrupt()

    def close(self) -> None:
        self._vcpu.close()
        self._vm.close()
        self.window.release()
        self.memory.close()


def _enter_ring3(vcpu: Vcpu, header: ImageHeader, *, mce: bool) -> None:
    sregs = vcpu.get_sregs()
    flat = {"limit": 0xFFFF_FFFF, "present": 1, "dpl": 3, "s": 1, "g": 1}
    sregs.cs = k.Segment(selector=0x1B, type=11, l=1, **flat)
    for name in ("ds", "es", "fs", "gs", "ss"):
        setattr(sregs, name, k.Segment(selector=0x23, type=3, db=1, **flat))
    sregs.tr = k.Segment(base=header.tss, limit=header.tss_limit, selector=0x28, type=11, present=1)
    sregs.gdt = k.Dtable(base=header.gdt, limit=header.gdt_limit)
    sregs.idt = k.Dtable(base=header.idt, limit=header.idt_limit)
    sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer = 0x8005_0033, header.cr3, 0x4_0620 | mce << 6, 0xD00
    vcpu.set_sregs(sregs)
    vcpu.set_xcr0(7)
    vcpu.set_fpu(0x37F, 0x1F80)
    vcpu.set_regs(k.Regs(rip=header.entry, rsp=header.stack_pointer, rflags=2))


class ProcessMachine:
    """A process kind's image in its sandbox."""

    def __init__(self, elf: bytes, launch_page: bytes, configuration: bytes) -> None:
        window = create_window(WINDOW_SIZE)
        self._mapping = mmap.mmap(window, WINDOW_SIZE)
        self.window = memoryview(self._mapping)
        self._exits, theirs = socket.socketpair()
        pages = os.memfd_create("pages")
        os.pwrite(pages, configuration + launch_page, 0)
        program = os.memfd_create("keep")
        os.pwrite(program, elf, 0)
        self._program = program
        self._inherited = {3: window, 4: theirs.detach(), 5: pages}
        self._started = self._ended = False

    def _start(self) -> None:
        """Not before the first run: the keep reads the host's hints as soon as it is there."""
        self.pid = _spawn(self._program, self._inherited)
        self._started = True
        for descriptor in (self._program, *self._inherited.values()):
            os.close(descriptor)

    def run(self) -> Exited | Stopped:
        try:
            if self._started:
                self._exits.send(b"\0", socket.MSG_NOSIGNAL)
            else:
                self._start()
            if self._exits.recv(1):
                return Exited()
        except (BrokenPipeError, ConnectionResetError):
            pass
        return Stopped(self._reap())

    def _reap(self) -> str:
        _, status = os.waitpid(self.pid, 0)
        self._ended = True
        code = os.waitstatus_to_exitcode(status)
        return signal.Signals(-code).name if code < 0 else f"status {code}"

    def interrupt(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        if not self._started:
            for descriptor in (self._program, *self._inherited.values()):
                os.close(descriptor)
        elif not self._ended:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()
        self._exits.close()
        self.window.release()
        self._mapping.close()


def _spawn(program: int, descriptors: dict[int, int]) -> int:
    """Start an executable with exactly these descriptors."""
    # First out of the way of each other, then into place; everything else closes on exec.
    aside = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for number, fd in descriptors.items()}
    actions: list[tuple[int, int, int] | tuple[int, int]] = [(os.POSIX_SPAWN_CLOSE, n) for n in (0, 1, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in aside.items()]
    try:
        return os.posix_spawn(f"/proc/self/fd/{program}", ["keep"], {}, file_actions=actions)
    finally:
        for fd in aside.values():
            os.close(fd)
