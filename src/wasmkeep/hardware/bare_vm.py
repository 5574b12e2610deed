"""A bare virtual machine on this computer's own ``/dev/kvm``: memory, one vCPU, no QEMU; SEV where it can.

`BareVm.create` encrypts where processor, kernel and user allow it. Where they do not, `encrypted` is False
and `reason` says why: such a guest is in the open to everyone on the host. Whoever needs encryption asks for
it, and gets an error instead that tells a missing device, a missing permission and a missing feature apart.
"""

from __future__ import annotations

import asyncio
import errno
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum

from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware import devices, kvm_sev, kvm_sev_calls, psp_sev
from wasmkeep.hardware import kvm_structures as k
from wasmkeep.hardware.calls import Call, IoctlRefused, perform
from wasmkeep.hardware.devices import open_device
from wasmkeep.hardware.kvm import Kvm, Vcpu, VirtualMachine, prepare_signals
from wasmkeep.hardware.kvm_exits import BareVcpu
from wasmkeep.hardware.kvm_sev import KvmSevCmd, VmType
from wasmkeep.hardware.machine_calls import ExitReason, RunState, View
from wasmkeep.hardware.machine_guest import Exit, ExitKind, bare_exit
from wasmkeep.hardware.memory import Memory
from wasmkeep.hardware.reset_state import split_entry
from wasmkeep.hardware.sev_guest_commands import Registers, SevGuestCommands
from wasmkeep.hardware.sev_platform import SevPlatform
from wasmkeep.hardware.sev_status import FirmwareError

__all__ = ["BareVm", "Encryption", "RealSevPlatform"]


class Encryption(StrEnum):
    REQUIRED = "required"
    WHERE_POSSIBLE = "where possible"
    NONE = "none"


class RealSevPlatform(SevPlatform):
    """This computer's ``/dev/sev``."""

    def __init__(self) -> None:
        """Raises `PlatformUnavailable`: absent, not permitted, or not usable."""
        self.descriptor = open_device(devices.SEV)

    async def _issue(self, call: Call) -> tuple[bytes, ...]:
        return psp_sev.check(call, await asyncio.to_thread(perform, self.descriptor, call))

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class _Host:
    """A machine, and the open ``/dev/sev`` it is a SEV guest by; or `reason`, why it is none."""

    machine: VirtualMachine
    sev: int | None
    reason: str

    def perform(self, call: Call) -> tuple[bytes, ...]:
        """With ``/dev/sev``'s descriptor in it, as KVM wants. Raises `FirmwareError`, `IoctlRefused`."""
        if call.number == kvm_sev.KVM_MEMORY_ENCRYPT_OP and self.sev is not None:
            argument = KvmSevCmd.from_buffer_copy(call.memory[0])
            argument.sev_fd = self.sev
            call = replace(call, memory=(bytes(argument), *call.memory[1:]))
        return kvm_sev.check(call, perform(self.machine.descriptor, call))


class BareVm(SevGuestCommands):
    """Made by `create`. `encrypted` says whether it is a SEV guest, `reason` why it is not. `close` it."""

    def __init__(self, host: _Host, memory: Memory, vcpu: Vcpu, parts: ExitStack) -> None:
        """`parts` gives everything back."""
        self.encrypted = host.sev is not None
        self.reason = host.reason
        self._host, self._memory, self._vcpu, self._parts = host, memory, vcpu, parts
        self._bare = BareVcpu(vcpu)
        self._thread = ThreadPoolExecutor(1, "vcpu")  # KVM wants one thread a vCPU
        self._closing = False

    @classmethod
    async def create(cls, memory: int, encryption: Encryption = Encryption.WHERE_POSSIBLE) -> BareVm:
        """An empty machine of `memory` bytes, whole pages. From the main thread.

        Raises `PlatformUnavailable`, with what is missing; where SEV is required, also `FirmwareError` or
        `IoctlRefused` where it is there and refuses.
        """
        prepare_signals()
        with ExitStack() as parts:
            kvm = Kvm()
            parts.callback(kvm.close)
            host = _host(kvm, encryption, parts)
            mapped = Memory(memory)
            parts.callback(mapped.close)
            try:
                host.machine.add_memory(0, 0, mapped)
                vcpu = host.machine.create_vcpu()
            except OSError as error:
                raise PlatformUnavailable(
                    "platform.kvm.unusable", "/dev/kvm makes no machine", found=os.strerror(error.errno or 0)
                ) from error
            parts.callback(vcpu.close)
            vm = cls(host, mapped, vcpu, parts.pop_all())
        if vm.encrypted:
            await vm._pin()
        return vm

    async def _pin(self) -> None:
        """Ciphertext cannot move: its address is in it."""
        try:
            await self._perform(kvm_sev_calls.register_region(self._uaddr(0), self._memory.size))
        except BaseException:
            await self.close()
            raise

    async def _perform(self, *calls: Call) -> tuple[bytes, ...]:
        if not self.encrypted:
            raise PlatformUnavailable(
                "platform.vm.unencrypted",
                f"this machine is not encrypted: it takes no {calls[0].name}",
                found=self.reason,
                remedy="run it on a processor with SEV, or on the simulated machine",
            )
        memory: tuple[bytes, ...] = ()
        for call in calls:
            memory = await self._in_thread(call)
        return memory

    async def _in_thread(self, call: Call) -> tuple[bytes, ...]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._host.perform, call)

    def _uaddr(self, gpa: int) -> int:
        return self._memory.address + gpa

    async def host_read(self, gpa: int, size: int, view: View = View.HYPERVISOR) -> bytes:
        """What this process, the hypervisor's user, finds there: ciphertext where the guest is encrypted."""
        self._require(gpa, size, view)
        return bytes(self._memory.view[gpa : gpa + size])

    async def host_write(self, gpa: int, data: bytes, view: View = View.HYPERVISOR) -> None:
        self._require(gpa, len(data), view)
        self._memory.view[gpa : gpa + len(data)] = data

    def _require(self, gpa: int, size: int, view: View) -> None:
        if not 0 <= gpa <= self._memory.size - size:
            raise IoctlRefused("HOST_READ", errno.EINVAL)
        if view is not View.HYPERVISOR:
            raise PlatformUnavailable(
                "platform.vm.view",
                "a program on this computer sees memory as its hypervisor does, and no other way",
                found=view.name,
                remedy="the simulated machine shows what a device and a cold-boot dump see",
            )

    async def set_entry(self, address: int) -> None:
        """The vCPU begins at `address`, below 1 MiB, in real mode."""
        selector, offset = split_entry(address)
        sregs = self._vcpu.get_sregs()
        sregs.cs.base, sregs.cs.selector = selector << 4, selector
        self._vcpu.set_sregs(sregs)
        self._vcpu.set_regs(k.Regs(rip=offset, rflags=2))

    async def run(self, answer: bytes = b"") -> Exit:
        """Run until the guest exits. `answer` is what it reads that came out for an input."""
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._thread, self._run, answer)
        try:
            state, data = await asyncio.shield(running)
        except asyncio.CancelledError:
            self._vcpu.interrupt()
            raise
        if state.exit_reason == ExitReason.INTR:
            return Exit(ExitKind.ENDED if self._closing else ExitKind.INTERRUPTED)
        return bare_exit(state, data)

    def _run(self, answer: bytes) -> tuple[RunState, bytes]:
        self._bare.answer(answer.ljust(8, b"\0")[:8], answer)
        state = self._bare.run()
        return state, self._bare.exit_data()

    async def interrupt(self) -> None:
        """End the run under way, or the next."""
        self._vcpu.interrupt()

    async def registers(self) -> Registers:
        """What the hypervisor sees: of plain SEV guests all, as of unencrypted ones."""
        return Registers.of(self._vcpu.get_regs(), self._vcpu.get_xsave())

    async def __aenter__(self) -> BareVm:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Destroy the machine. At any time, also while it runs. Twice is once."""
        if self._closing:
            return
        self._closing = True
        self._vcpu.interrupt()
        await asyncio.to_thread(self._thread.shutdown)
        self._parts.close()


def _host(kvm: Kvm, encryption: Encryption, parts: ExitStack) -> _Host:
    """A SEV machine where that is wanted and possible, else one in the open. `parts` closes it."""
    reason = "encryption was not asked for"
    if encryption is not Encryption.NONE:
        try:
            return _sev_host(kvm, parts)
        except (PlatformUnavailable, FirmwareError, IoctlRefused) as error:
            if encryption is Encryption.REQUIRED:
                raise
            reason = f"{error.message} ({error.found})" if error.found else error.message
    machine = _created(kvm, VmType.DEFAULT, parts)
    return _Host(machine, None, reason)


def _sev_host(kvm: Kvm, parts: ExitStack) -> _Host:
    """INIT2 where KVM knows VM types, the older INIT where it does not."""
    sev = open_device(devices.SEV)
    parts.callback(os.close, sev)
    types = kvm.vm_types()
    modern = bool(types >> VmType.SEV & 1)
    machine = _created(kvm, VmType.SEV if modern else VmType.DEFAULT, parts)
    host = _Host(machine, sev, "")
    try:
        host.perform(kvm_sev_calls.init2(ghcb_version=0) if modern else kvm_sev_calls.init())
    except IoctlRefused as error:
        if error.number not in (errno.ENOTTY, errno.EINVAL):
            raise
        raise PlatformUnavailable(
            "platform.kvm.sev",
            "this kernel's KVM makes no SEV guests",
            found=f"VM types {types:#x}; {error.found}",
            required=f"VM type {VmType.SEV:d}, or the older SEV_INIT",
            remedy="switch SEV on in firmware, and boot with kvm_amd.sev=1",
        ) from error
    return host


def _created(kvm: Kvm, vm_type: VmType, parts: ExitStack) -> VirtualMachine:
    try:
        machine = kvm.create_vm(vm_type)
    except OSError as error:
        raise PlatformUnavailable(
            "platform.kvm.unusable", "/dev/kvm makes no machine", found=os.strerror(error.errno or 0)
        ) from error
    parts.callback(machine.close)
    return machine
