"""Bare virtual machines on ``/dev/kvm``: no BIOS, no devices; memory, one vCPU and its exits.

A vCPU is run by one thread at a time; `Vcpu.interrupt` may be called from any other and makes the run under
way, or the next one, return at once (``immediate_exit`` and a signal). The signal needs a handler, which
`prepare_signals` installs once in the main thread.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import struct
import threading
from collections.abc import Sequence
from types import FrameType

from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware import kvm_structures as k
from wasmkeep.hardware.devices import KVM as KVM_DEVICE
from wasmkeep.hardware.devices import open_device
from wasmkeep.hardware.memory import Memory

__all__ = ["INTERRUPT_SIGNAL", "Kvm", "Vcpu", "VirtualMachine", "prepare_signals"]

INTERRUPT_SIGNAL = signal.SIGUSR1
_INTERRUPTED = 10  # KVM_EXIT_INTR


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: delivering the signal is what ends KVM_RUN."""


def prepare_signals() -> None:
    """Install the handler that lets `Vcpu.interrupt` end a run. In the main thread, once."""
    signal.signal(INTERRUPT_SIGNAL, _ignore)


class Kvm:
    """An open ``/dev/kvm``. Raises `PlatformUnavailable`: absent, not permitted, or not version 12."""

    def __init__(self) -> None:
        self.descriptor = open_device(KVM_DEVICE)
        try:
            self._check_version()
            self.run_size = fcntl.ioctl(self.descriptor, k.GET_VCPU_MMAP_SIZE, 0)
            self.cpuid = self._supported_cpuid()
        except OSError as error:
            self.close()
            raise PlatformUnavailable(
                "platform.kvm.unusable", "/dev/kvm does not answer", found=os.strerror(error.errno or 0)
            ) from error
        except PlatformUnavailable:
            self.close()
            raise

    def _check_version(self) -> None:
        version = fcntl.ioctl(self.descriptor, k.GET_API_VERSION, 0)
        if version != k.API_VERSION:
            raise PlatformUnavailable(
                "platform.kvm.version",
                "this kernel's KVM speaks another version",
                found=str(version),
                required=str(k.API_VERSION),
            )

    def _supported_cpuid(self) -> bytes:
        """``struct kvm_cpuid2`` with every entry that KVM can give a guest here."""
        room = k.MAX_CPUID_ENTRIES * ctypes.sizeof(k.CpuidEntry2)
        buffer = bytearray(bytes(k.Cpuid2(nent=k.MAX_CPUID_ENTRIES)) + bytes(room))
        fcntl.ioctl(self.descriptor, k.GET_SUPPORTED_CPUID, buffer)
        count = k.Cpuid2.from_buffer_copy(buffer).nent
        return bytes(buffer[: ctypes.sizeof(k.Cpuid2) + count * ctypes.sizeof(k.CpuidEntry2)])

    def vm_types(self) -> int:
        """KVM_CAP_VM_TYPES: bit n stands for VM type n. A kernel without it has the default type only."""
        return int(fcntl.ioctl(self.descriptor, k.CHECK_EXTENSION, k.CAP_VM_TYPES)) or 1

    def create_vm(self, vm_type: int = 0) -> VirtualMachine:
        """A virtual machine without memory or vCPU. Raises OSError."""
        return VirtualMachine(self, fcntl.ioctl(self.descriptor, k.CREATE_VM, vm_type))

    def close(self) -> None:
        os.close(self.descriptor)


class VirtualMachine:
    def __init__(self, kvm: Kvm, descriptor: int) -> None:
        self._kvm = kvm
        self.descriptor = descriptor

    def add_memory(self, slot: int, guest_address: int, memory: Memory) -> None:
        """Give the guest all of `memory` at `guest_address`. It must outlive the machine."""
        region = k.UserspaceMemoryRegion(slot, 0, guest_address, memory.size, memory.address)
        fcntl.ioctl(self.descriptor, k.SET_USER_MEMORY_REGION, bytes(region))

    def create_vcpu(self) -> Vcpu:
        """The one vCPU, with every CPUID feature that KVM offers."""
        vcpu = Vcpu(fcntl.ioctl(self.descriptor, k.CREATE_VCPU, 0), self._kvm.run_size)
        try:
            # Larger than ioctl's 1024-byte limit for read-only buffers: hand over a mutable one.
            fcntl.ioctl(vcpu.descriptor, k.SET_CPUID2, bytearray(self._kvm.cpuid))
        except OSError:
            vcpu.close()
            raise
        return vcpu

    def close(self) -> None:
        os.close(self.descriptor)


class Vcpu:
    def __init__(self, descriptor: int, run_size: int) -> None:
        self.descriptor = descriptor
        self._run = mmap.mmap(descriptor, run_size, mmap.MAP_SHARED)
        self._lock = threading.Lock()  # between a run and whoever interrupts it
        self._runner: int | None = None
        self._interrupted = False
        self._closed = False

    def get_regs(self) -> k.Regs:
        buffer = bytearray(ctypes.sizeof(k.Regs))
        fcntl.ioctl(self.descriptor, k.GET_REGS, buffer)
        return k.Regs.from_buffer_copy(buffer)

    def set_regs(self, regs: k.Regs) -> None:
        fcntl.ioctl(self.descriptor, k.SET_REGS, bytes(regs))

    def get_sregs(self) -> k.Sregs:
        buffer = bytearray(ctypes.sizeof(k.Sregs))
        fcntl.ioctl(self.descriptor, k.GET_SREGS, buffer)
        return k.Sregs.from_buffer_copy(buffer)

    def set_sregs(self, sregs: k.Sregs) -> None:
        fcntl.ioctl(self.descriptor, k.SET_SREGS, bytes(sregs))

    def set_xcr0(self, value: int) -> None:
        xcrs = k.Xcrs(nr_xcrs=1)
        xcrs.xcrs[0] = k.Xcr(0, 0, value)
        fcntl.ioctl(self.descriptor, k.SET_XCRS, bytes(xcrs))

    def set_fpu(self, fcw: int, mxcsr: int) -> None:
        fcntl.ioctl(self.descriptor, k.SET_FPU, bytes(k.Fpu(fcw=fcw, mxcsr=mxcsr)))

    def set_msrs(self, values: Sequence[tuple[int, int]]) -> None:
        """Write (index, value) pairs. Raises OSError EINVAL when KVM took fewer than all."""
        entries = b"".join(bytes(k.MsrEntry(index, 0, value)) for index, value in values)
        buffer = bytearray(bytes(k.MsrsHeader(len(values), 0)) + entries)
        if fcntl.ioctl(self.descriptor, k.SET_MSRS, buffer) != len(values):
            raise OSError(errno.EINVAL, "KVM refused a model-specific register")

    def get_xsave(self) -> bytes:
        """x87 and vector registers, `XSAVE_SIZE` bytes."""
        buffer = bytearray(k.XSAVE_SIZE)
        fcntl.ioctl(self.descriptor, k.GET_XSAVE, buffer)
        return bytes(buffer)

    def set_xsave(self, area: bytes) -> None:
        """Raises ValueError for another size."""
        if len(area) != k.XSAVE_SIZE:
            raise ValueError("an XSAVE area is one page")
        fcntl.ioctl(self.descriptor, k.SET_XSAVE, bytearray(area))

    def tsc_khz(self) -> int:
        return int(fcntl.ioctl(self.descriptor, k.GET_TSC_KHZ, 0))

    def run(self) -> int:
        """Run until the next exit; its ``KVM_EXIT_*`` reason. KVM_EXIT_INTR after `interrupt`."""
        with self._lock:
            if self._interrupted or self._closed:
                self._interrupted = False
                return _INTERRUPTED
            self._run[k.RUN_IMMEDIATE_EXIT] = 0
            self._runner = threading.get_ident()
        try:
            fcntl.ioctl(self.descriptor, k.RUN, 0)
        except InterruptedError:
            with self._lock:
                self._interrupted = False
            return _INTERRUPTED
        finally:
            with self._lock:
                self._runner = None
        return int(struct.unpack_from("<I", self._run, k.RUN_EXIT_REASON)[0])

    def exit_data(self, size: int = 32) -> bytes:
        """The exit's own part of ``kvm_run``, from offset 32."""
        return self._run[k.RUN_EXIT_DATA : k.RUN_EXIT_DATA + size]

    def run_page(self, offset: int, size: int) -> bytes:
        """A part of ``kvm_run`` and what follows it: where a port exit's `data_offset` leads."""
        return self._run[offset : offset + size]

    def fill_run_page(self, offset: int, data: bytes) -> None:
        """Answer an input before the next run."""
        self._run[offset : offset + len(data)] = data

    def interrupt(self) -> None:
        """Make the run under way return, or the next one when none is."""
        with self._lock:
            if self._closed:
                return
            self._interrupted = True
            self._run[k.RUN_IMMEDIATE_EXIT] = 1
            if self._runner is not None:
                signal.pthread_kill(self._runner, INTERRUPT_SIGNAL)

    def close(self) -> None:
        """Only when no thread runs it any more."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._run.close()
                os.close(self.descriptor)
