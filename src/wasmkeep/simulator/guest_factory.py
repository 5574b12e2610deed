"""KVM_CREATE_VM with memory and a vCPU: which guests this machine makes, of what type, on what CPU."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from wasmkeep.hardware.kvm_sev import PAGE, VmType
from wasmkeep.hardware.machine_calls import CpuChoice, CreateGuest, GuestFlags
from wasmkeep.simulator.cpu import CpuKind, GuestPlan
from wasmkeep.simulator.guest_pages import GuestPages
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
_OFFERED = frozenset((VmType.DEFAULT, VmType.SEV, VmType.SEV_ES, VmType.SNP))


@dataclass(frozen=True, slots=True)
class GuestFactory:
    processor: SecureProcessor
    kernel: SevKernel
    cpu: CpuKind
    pages: PageAllocator

    def create(self, wanted: CreateGuest) -> VirtualMachine:
        """Raises OSError: EINVAL for what KVM_CREATE_VM would refuse, EOPNOTSUPP for what this CPU cannot."""
        vm_type = self._type(wanted.vm_type)
        if wanted.cpu != CpuChoice.OWN:
            raise OSError(errno.EOPNOTSUPP, "this machine has no such CPU")
        plan = _plan(wanted, vm_type)
        if not plan.window and vm_type in (VmType.SEV_ES, VmType.SNP):
            # Its exits are #VC exceptions inside the guest, and this processor raises none.
            raise OSError(errno.EOPNOTSUPP, "a bare guest of this type needs the emulated CPU")
        cpu = self.cpu.create(plan)
        if vm_type is VmType.SNP:
            return SnpVirtualMachine(self.processor, cpu)
        base = self.pages.allocate(plan.memory)
        dram = GuestPages(cpu, base)
        return SevVirtualMachine(self.kernel, vm_type, cpu, dram, lambda: self.pages.free(base, plan.memory))

    def _type(self, number: int) -> VmType:
        has_snp = self.processor.configuration.product.has_snp
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
