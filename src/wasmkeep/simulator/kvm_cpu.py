"""Guests on the real processor: one KVM virtual machine each, entered where its VMSA says."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from wasmkeep.hardware.kvm import Kvm, Vcpu
from wasmkeep.hardware.kvm_exits import BareVcpu, died
from wasmkeep.hardware.kvm_structures import Dtable, Regs, Sregs
from wasmkeep.hardware.kvm_structures import Segment as KvmSegment
from wasmkeep.hardware.machine_calls import EXIT_PORT, WINDOW_GPA, WINDOW_SIZE, ExitReason, RunState
from wasmkeep.hardware.memory import Memory, create_window
from wasmkeep.simulator.cpu import GuestPlan, Interrupted, port_exit
from wasmkeep.simulator.save_area import Segment
from wasmkeep.simulator.vmsa import EFER_SVME, MSR_RESET, InvalidVmsa, parse_vmsa, require_runnable

_IO_EXIT = struct.Struct("<BBHI")  # direction, size, port, count
_OUT = 1
_FCW_RESET, _MXCSR_RESET = 0x37F, 0x1F80


def _kvm_segment(segment: Segment) -> KvmSegment:
    bits = segment.attributes
    return KvmSegment(
        base=segment.base,
        limit=segment.limit,
        selector=segment.selector,
        type=bits & 0xF,
        s=bits >> 4 & 1,
        dpl=bits >> 5 & 3,
        present=bits >> 7 & 1,
        avl=bits >> 8 & 1,
        l=bits >> 9 & 1,
        db=bits >> 10 & 1,
        g=bits >> 11 & 1,
        unusable=not bits >> 7 & 1,
    )


@dataclass(frozen=True, slots=True)
class _Registers:
    """A VMSA in KVM's structures."""

    sregs: Sregs
    regs: Regs
    msrs: tuple[tuple[int, int], ...]
    xcr0: int
    fcw: int
    mxcsr: int


@functools.lru_cache(maxsize=16)  # hosts launch the same few images
def _registers(vmsa: bytes, apic_base: int, sev_features: int) -> _Registers:
    """Raises `InvalidVmsa`."""
    state = parse_vmsa(vmsa)
    require_runnable(state, sev_features=sev_features)
    segments, control = state.segments, state.control
    named = ("cs", "ds", "es", "fs", "gs", "ss", "tr")
    sregs = Sregs(
        **{name: _kvm_segment(segments[name]) for name in named},
        ldt=_kvm_segment(segments["ldtr"]),
        gdt=Dtable(base=segments["gdtr"].base, limit=segments["gdtr"].limit),
        idt=Dtable(base=segments["idtr"].base, limit=segments["idtr"].limit),
        **{name: control[name] for name in ("cr0", "cr2", "cr3", "cr4")},
        efer=control["efer"] & ~EFER_SVME,
        apic_base=apic_base,
    )
    return _Registers(sregs, Regs(**state.general), state.msrs, control["xcr0"], state.fcw, state.mxcsr)


_BULK = 18 << 20
"""Guests that touch memory beyond this use much of it: a fault for each 4 KiB would cost more than the room
that a large page may waste."""


class KvmCpuKind:
    name = "kvm"
    reason = ""

    def __init__(self) -> None:
        """Raises `PlatformUnavailable` where /dev/kvm is absent, not permitted or does not work."""
        self._kvm = Kvm()
        self._apic_base: int | None = None

    def create(self, plan: GuestPlan) -> KvmGuest:
        guest = KvmGuest(self._kvm, plan) if plan.window else BareKvmGuest(self._kvm, plan)
        if self._apic_base is None:
            self._apic_base = guest.vcpu.get_sregs().apic_base
        guest.apic_base = self._apic_base
        return guest

    def close(self) -> None:
        self._kvm.close()


class KvmGuest:
    """A keep's guest: it exits by its one port, and everything else is its end."""

    vcpu: Vcpu
    apic_base = 0

    def __init__(self, kvm: Kvm, plan: GuestPlan) -> None:
        """Raises OSError."""
        self.size = plan.memory
        self.window: int | None = None
        self._features = plan.sev_features
        self._closers: list[Callable[[], None]] = []
        self._over: RunState | None = None
        self._loaded: _Registers | None = None
        try:
            self._memory = Memory(plan.memory)
            self._closers.append(self._memory.close)
            if plan.window:
                self._open_window()
            machine = kvm.create_vm()
            self._closers.append(machine.close)
            machine.add_memory(0, 0, self._memory)
            self.vcpu = machine.create_vcpu()
            self._closers.append(self.vcpu.close)
        except OSError:
            self.destroy()
            raise

    def _open_window(self) -> None:
        self.window = window = create_window(WINDOW_SIZE)
        self._closers.append(lambda: os.close(window))
        self._memory.share(WINDOW_GPA, WINDOW_SIZE, window)
        if self.size > _BULK:
            self._memory.prefer_large_pages(_BULK)

    def read(self, gpa: int, size: int) -> bytes:
        return bytes(self._memory.view[gpa : gpa + size])

    def write(self, gpa: int, data: bytes | memoryview) -> None:
        self._memory.populate(gpa, len(data))
        self._memory.view[gpa : gpa + len(data)] = data

    def zero(self, gpa: int, size: int) -> None:
        self._memory.populate(gpa, size)  # fresh pages are zero

    def is_shared(self, gpa: int, size: int) -> bool:
        return self.window is not None and gpa < WINDOW_GPA + WINDOW_SIZE and gpa + size > WINDOW_GPA

    def load(self, vmsa: bytes) -> None:
        state = _registers(vmsa, self.apic_base, self._features)
        try:
            self._load(state)
        except OSError as error:
            raise InvalidVmsa(f"KVM refuses this state: {error.strerror}") from error

    def _load(self, state: _Registers) -> None:
        """A fresh vCPU is at reset, and what stays so is not set again. One that had another state loaded is
        given everything: nothing of a state that was not measured may be left."""
        before, self._loaded = self._loaded, state
        msrs = dict(state.msrs)
        if before is not None:
            msrs = {index: MSR_RESET.get(index, 0) for index, _ in before.msrs} | msrs
        self.vcpu.set_sregs(state.sregs)
        if state.xcr0 > 1 or before is not None:
            self.vcpu.set_xcr0(max(state.xcr0, 1))
        if msrs:
            self.vcpu.set_msrs(tuple(msrs.items()))
        if (state.fcw, state.mxcsr) != (_FCW_RESET, _MXCSR_RESET) or before is not None:
            self.vcpu.set_fpu(state.fcw, state.mxcsr)
        self.vcpu.set_regs(state.regs)

    def run(self) -> RunState:
        """A dead guest stays dead: asking again gives the same exit."""
        if self._over is not None:
            return self._over
        reason = self.vcpu.run()
        if reason == ExitReason.INTR:
            raise Interrupted
        if reason == ExitReason.IO:
            direction, size, port, count = _IO_EXIT.unpack(self.vcpu.exit_data(_IO_EXIT.size))
            if (direction, size, port, count) == (_OUT, 1, EXIT_PORT, 1):
                return port_exit()
        self._over = died(self.vcpu, reason)
        return self._over

    def exit_data(self) -> bytes:
        return b""  # its one exit carries nothing

    def answer(self, mmio: bytes, data: bytes) -> None:
        pass

    def interrupt(self) -> None:
        self.vcpu.interrupt()

    def get_regs(self) -> Regs:
        return self.vcpu.get_regs()

    def set_regs(self, regs: Regs) -> None:
        self.vcpu.set_regs(regs)

    def get_sregs(self) -> Sregs:
        return self.vcpu.get_sregs()

    def set_sregs(self, sregs: Sregs) -> None:
        self.vcpu.set_sregs(sregs)

    def get_xsave(self) -> bytes:
        return self.vcpu.get_xsave()

    def set_xsave(self, area: bytes) -> None:
        self.vcpu.set_xsave(area)

    def destroy(self) -> None:
        while self._closers:
            self._closers.pop()()


class BareKvmGuest(KvmGuest):
    """A guest with memory and nothing else: it exits for whatever it does beyond that, and goes on."""

    def __init__(self, kvm: Kvm, plan: GuestPlan) -> None:
        super().__init__(kvm, plan)
        self._bare = BareVcpu(self.vcpu)

    def run(self) -> RunState:
        state = self._bare.run()
        if state.exit_reason == ExitReason.INTR:
            raise Interrupted
        return state

    def exit_data(self) -> bytes:
        return self._bare.exit_data()

    def answer(self, mmio: bytes, data: bytes) -> None:
        self._bare.answer(mmio, data)
