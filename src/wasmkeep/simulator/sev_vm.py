"""The kernel's side of a SEV or SEV-ES virtual machine: KVM_MEMORY_ENCRYPT_OP and its regions (Linux
``arch/x86/kvm/svm/sev.c``).

The kernel's own checks (EINVAL, ENOTTY) come first, then the firmware's (EIO with its status in `error`). A
VM gets its ASID when it is initialised; LAUNCH_START or RECEIVE_START binds the firmware's guest to it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from wasmkeep.hardware.kvm_sev import (
    GHCB_VERSION,
    KVM_MEMORY_ENCRYPT_REG_REGION,
    KVM_MEMORY_ENCRYPT_UNREG_REGION,
    KvmEncRegion,
    KvmSevInit,
    SevCmdId,
    VmType,
)
from wasmkeep.hardware.machine_calls import EXIT_PORT, ExitReason, RunState, View
from wasmkeep.simulator import sev_launch, sev_transfer
from wasmkeep.simulator.cpu import GuestCpu, ended
from wasmkeep.simulator.sev_context import SevContext
from wasmkeep.simulator.sev_kernel import SevKernel
from wasmkeep.simulator.user_memory import UserMemory
from wasmkeep.simulator.virtual_machine import GuestDram, VirtualMachine, invalid

_Command = Callable[[SevContext, int, UserMemory], None]
_ = SevCmdId
_COMMANDS: Mapping[int, _Command] = {
    _.LAUNCH_START: sev_launch.launch_start,
    _.LAUNCH_UPDATE_DATA: sev_launch.launch_update_data,
    _.LAUNCH_MEASURE: sev_launch.launch_measure,
    _.LAUNCH_SECRET: sev_launch.launch_secret,
    _.LAUNCH_FINISH: sev_launch.launch_finish,
    _.GUEST_STATUS: sev_launch.guest_status,
    _.SEND_START: sev_transfer.send_start,
    _.SEND_UPDATE_DATA: sev_transfer.send_update_data,
    _.SEND_FINISH: sev_transfer.send_finish,
    _.SEND_CANCEL: sev_transfer.send_cancel,
    _.RECEIVE_START: sev_transfer.receive_start,
    _.RECEIVE_UPDATE_DATA: sev_transfer.receive_update_data,
    _.RECEIVE_FINISH: sev_transfer.receive_finish,
    _.GET_ATTESTATION_REPORT: sev_transfer.attestation_report,
    _.DBG_DECRYPT: sev_transfer.dbg_decrypt,
    _.DBG_ENCRYPT: sev_transfer.dbg_encrypt,
}


class SevVirtualMachine(VirtualMachine):
    """`vm_type` SEV, SEV_ES, or DEFAULT: that one becomes either by the older commands, and runs as it is
    until it does.
    """

    def __init__(
        self,
        kernel: SevKernel,
        vm_type: VmType,
        cpu: GuestCpu,
        dram: GuestDram,
        give_back: Callable[[], None] = lambda: None,
    ) -> None:
        """`give_back` is for the guest's physical memory, at its end, where the CPU does not see to that."""
        super().__init__(cpu)
        self._give_back = give_back
        self._type = vm_type
        self._vm = SevContext(kernel, dram, cpu.size)
        self._regions: list[tuple[int, int]] = []
        self._vmsa: bytes | None = None
        self._vmsa_measured = False
        self._vcpu_used = False  # it ran, or something was set in it

    @property
    def running(self) -> bool:
        return self._vm.runnable or self._plain

    @property
    def _plain(self) -> bool:
        """Neither encrypted nor about to be: what everything else here is compared with."""
        return self._type is VmType.DEFAULT and not self._vm.asid

    @property
    def shows_registers(self) -> bool:
        return not self._vm.es and self._type is not VmType.SEV_ES

    def set_vmsa(self, page: bytes) -> None:
        """SEV-ES: fixed once LAUNCH_UPDATE_VMSA has measured it. Plain SEV: the host's, as registers are."""
        if self._vmsa_measured:
            raise OSError(errno.EBUSY, "the VMSA is measured already")
        self._vcpu_used = True
        super().set_vmsa(page)
        self._vmsa = page

    def vcpu_ioctl(self, number: int, argument: int, memory: UserMemory) -> int:
        self._vcpu_used = True
        return super().vcpu_ioctl(number, argument, memory)

    def ioctl(self, number: int, argument: int, memory: UserMemory) -> int:
        if number == KVM_MEMORY_ENCRYPT_REG_REGION:
            self._register(memory.structure(KvmEncRegion, argument))
        elif number == KVM_MEMORY_ENCRYPT_UNREG_REGION:
            self._unregister(memory.structure(KvmEncRegion, argument))
        else:
            return super().ioctl(number, argument, memory)
        return 0

    def encrypt_op(self, identifier: int, data: int, memory: UserMemory) -> None:
        if identifier in (SevCmdId.INIT, SevCmdId.ES_INIT):
            self._init(es=identifier == SevCmdId.ES_INIT)
        elif identifier == SevCmdId.INIT2:
            self._init2(memory.structure(KvmSevInit, data))
        elif not self._vm.asid:
            raise OSError(errno.ENOTTY, "the VM is not a SEV guest yet")
        elif identifier == SevCmdId.LAUNCH_UPDATE_VMSA:
            self._launch_update_vmsa()
        else:
            perform = _COMMANDS.get(identifier)
            if perform is None:
                raise invalid("no command that KVM has for this guest")
            perform(self._vm, data, memory)

    def _init(self, *, es: bool) -> None:
        """The older way, for a VM of the default type. KVM refuses it once there is a vCPU: a host could have
        given that one registers which no LAUNCH_UPDATE_VMSA measures.
        """
        if self._type is not VmType.DEFAULT:
            raise invalid("a VM of this type is initialised by INIT2")
        if self._vcpu_used:
            raise invalid("the vCPU has a state already")
        self._activate(es=es)

    def _init2(self, init: KvmSevInit) -> None:
        es = self._type is VmType.SEV_ES
        if self._type is VmType.DEFAULT:
            raise invalid("a VM of the default type is no SEV guest")
        if init.flags or init.vmsa_features or init.pad1 or any(init.pad2):
            raise invalid("this CPU has no optional SEV features")
        if init.ghcb_version > (GHCB_VERSION if es else 0):
            raise invalid("no such GHCB version for this guest")
        self._activate(es=es)

    def _activate(self, *, es: bool) -> None:
        vm = self._vm
        if vm.asid:
            raise invalid("the VM is a SEV guest already")
        vm.kernel.initialise()
        vm.asid, vm.es = vm.kernel.reserve_asid(es=es), es

    def _launch_update_vmsa(self) -> None:
        """Of the one vCPU; its registers are fixed from here on."""
        if not self._vm.es:
            raise OSError(errno.ENOTTY, "not a SEV-ES guest")
        if self._vmsa is None:
            raise invalid("the vCPU has no initial state")
        sev_launch.launch_update_vmsa(self._vm, self._vmsa, self._vm.dram.vmsa_address)
        self._vmsa_measured = True

    def _register(self, region: KvmEncRegion) -> None:
        """Pinning: this kernel moves no pages anyway."""
        if not self._vm.asid:
            raise OSError(errno.ENOTTY, "the VM is not a SEV guest yet")
        self._vm.pinned(region.addr, region.size)
        self._regions.append((region.addr, region.size))

    def _unregister(self, region: KvmEncRegion) -> None:
        if not self._vm.asid:
            raise OSError(errno.ENOTTY, "the VM is not a SEV guest yet")
        try:
            self._regions.remove((region.addr, region.size))
        except ValueError as error:
            raise invalid("no such region") from error

    def look(self, gpa: int, size: int, view: View) -> bytes:  # noqa: ARG002 - DRAM is the same to all
        return self._vm.dram.read(self._vm.dram.spa(gpa, size), size)

    def store(self, gpa: int, data: bytes, view: View) -> None:  # noqa: ARG002
        self._vm.dram.write(self._vm.dram.spa(gpa, len(data)), data)

    def run(self) -> RunState:
        """With SEV-ES the hypervisor sees what the guest asks, and otherwise that it ended.

        A guest of the emulated CPU asks through its GHCB. A keep on the real one, which raises no #VC, by its
        port; anything else it does is an exception that its handler does not know.
        """
        self._vcpu_used = True
        if self._vm.asid:
            self._vm.start()
        if self._vm.es and not self._vmsa_measured:
            return ended(ExitReason.FAIL_ENTRY)
        state = super().run()
        if not self._vm.es or self.cpu.window is None:
            return state
        asked = state.exit_reason == ExitReason.IO and state.port == EXIT_PORT
        return state if asked else ended(state.exit_reason)

    def destroy(self) -> None:
        self.cpu.destroy()
        self._vm.end()
        self._give_back()
