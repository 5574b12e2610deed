"""KVM_CREATE_VM with memory and a vCPU: which guests this machine makes, of what type, on what CPU."""

from __future__ import annotations

import errno
import threading

from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware.kvm_sev import PAGE, VmType
from wasmkeep.hardware.machine_calls import CpuChoice, CreateGuest, GuestFlags
from wasmkeep.simulator.cpu import CpuKind, GuestPlan
from wasmkeep.simulator.dram import Dram
from wasmkeep.simulator.emulated_cpu import EmulatedCpuKind, EmulatedDram
from wasmkeep.simulator.guest_pages import GuestPages
from wasmkeep.simulator.hypervisor.cpuid import honest
from wasmkeep.simulator.memory_controller import MemoryController
from wasmkeep.simulator.page_allocator import PageAllocator
from wasmkeep.simulator.secure_processor import SecureProcessor
from wasmkeep.simulator.sev_kernel import SevKernel
from wasmkeep.simulator.sev_vm import SevVirtualMachine
from wasmkeep.simulator.snp_vm import SnpVirtualMachine
from wasmkeep.simulator.virtual_machine import VirtualMachine, invalid
from wasmkeep.simulator.vmsa import SEV_FEATURE_SNP_ACTIVE

MIN_KEEP_MEMORY = 4 << 20
MAX_MEMORY = 64 << 30
_KEEP_STEP = 2 << 20
_PHYSICAL_MEMORY = 1 << 44  # bytes; none of it is there until it is written
_OFFERED = frozenset((VmType.DEFAULT, VmType.SEV, VmType.SEV_ES, VmType.SNP))


class GuestFactory:
    """What KVM_CREATE_VM makes. All guests' memory has its place in one DRAM, behind one controller."""

    def __init__(self, processor: SecureProcessor, kernel: SevKernel, cpu: CpuKind) -> None:
        self._processor = processor
        self._kernel = kernel
        self._cpu = cpu
        dram = Dram(_PHYSICAL_MEMORY)
        self._pages = PageAllocator(dram)
        self._controller = MemoryController(dram, kernel.slots)
        self._emulated: EmulatedCpuKind | None = None
        self._lock = threading.Lock()

    def create(self, wanted: CreateGuest) -> VirtualMachine:
        """Raises OSError: EINVAL for what KVM_CREATE_VM would refuse, EOPNOTSUPP for what this CPU cannot."""
        vm_type = self._type(wanted.vm_type)
        plan = _plan(wanted, vm_type)
        if wanted.cpu == CpuChoice.EMULATED:
            return self._create_emulated(plan, vm_type)
        if wanted.cpu != CpuChoice.OWN:
            raise invalid("no such choice of CPU")
        if not plan.window and vm_type in (VmType.SEV_ES, VmType.SNP):
            # Its exits are #VC exceptions inside the guest, and this processor raises none.
            raise OSError(errno.EOPNOTSUPP, "a bare guest of this type needs the emulated CPU")
        cpu = self._cpu.create(plan)
        if vm_type is VmType.SNP:
            return SnpVirtualMachine(self._processor, cpu)
        base = self._pages.allocate(plan.memory)

        def give_back() -> None:
            self._pages.free(base, plan.memory)

        return SevVirtualMachine(self._kernel, vm_type, cpu, GuestPages(cpu, base), give_back)

    def _create_emulated(self, plan: GuestPlan, vm_type: VmType) -> VirtualMachine:
        if plan.window or vm_type is VmType.SNP:
            raise OSError(errno.EOPNOTSUPP, "the emulated CPU is for bare guests of SEV and SEV-ES")
        cpu = self._emulated_cpu().create(plan)
        return SevVirtualMachine(self._kernel, vm_type, cpu, EmulatedDram(cpu, self._controller))

    def _emulated_cpu(self) -> EmulatedCpuKind:
        """Loaded for the first guest that wants it. OSError EOPNOTSUPP where it is not installed."""
        with self._lock:
            if self._emulated is None:
                try:
                    slots = self._kernel.slots
                    cpuid = honest(slots=slots.count, min_sev_asid=slots.min_sev_asid)
                    self._emulated = EmulatedCpuKind(self._controller, self._pages, cpuid)
                except PlatformUnavailable as error:
                    raise OSError(errno.EOPNOTSUPP, error.message) from error
            return self._emulated

    def _type(self, number: int) -> VmType:
        has_snp = self._processor.configuration.product.has_snp
        if number not in _OFFERED or (number == VmType.SNP and not has_snp):
            raise invalid("this processor has no such type of VM")
        return VmType(number)


def _plan(wanted: CreateGuest, vm_type: VmType) -> GuestPlan:
    if wanted.flags & ~GuestFlags.WINDOW or wanted.zero:
        raise invalid("unknown flags")
    window = bool(wanted.flags & GuestFlags.WINDOW)
    least, step = (MIN_KEEP_MEMORY, _KEEP_STEP) if window else (PAGE, PAGE)
    if wanted.memory % step or not least <= wanted.memory <= MAX_MEMORY:
        raise invalid(f"guest memory is a multiple of {step} bytes, {least} to {MAX_MEMORY}")
    features = SEV_FEATURE_SNP_ACTIVE if vm_type is VmType.SNP else 0
    return GuestPlan(wanted.memory, window, features)
