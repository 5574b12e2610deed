"""The kernel's side of an SNP virtual machine: KVM_MEMORY_ENCRYPT_OP (Linux ``arch/x86/kvm/svm/sev.c``).

The kernel's own checks (EINVAL, EPERM) come first, then the firmware's (EIO with its status in `error`).
"""

from __future__ import annotations

import errno
import struct

from wasmkeep.hardware import ghcb
from wasmkeep.hardware.kvm_sev import (
    GHCB_VERSION,
    PAGE,
    KvmSevInit,
    SevCmdId,
)
from wasmkeep.hardware.kvm_snp import (
    ID_AUTH_SIZE,
    ID_BLOCK_SIZE,
    KvmSevSnpLaunchFinish,
    KvmSevSnpLaunchStart,
    KvmSevSnpLaunchUpdate,
    SnpPageType,
)
from wasmkeep.hardware.machine_calls import EXIT_PORT, WINDOW_GPA, ExitReason, RunState, View
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.cpu import GuestCpu, ended
from wasmkeep.simulator.guest import POLICY_DEBUG
from wasmkeep.simulator.secure_processor import SecureProcessor
from wasmkeep.simulator.states import GuestState
from wasmkeep.simulator.status import Refused, require
from wasmkeep.simulator.user_memory import UserMemory
from wasmkeep.simulator.virtual_machine import VirtualMachine, invalid

_FIRST_SNP_COMMAND = 100
_GHCB_EXIT = struct.Struct("<QQQ")  # SW_EXITCODE, SW_EXITINFO1, SW_EXITINFO2
_BY_IOCTL = frozenset(SnpPageType) - {SnpPageType.VMSA}
MAX_LAUNCH_UPDATE = 1 << 30  # bytes of one call
_SOURCED = frozenset((SnpPageType.NORMAL, SnpPageType.UNMEASURED, SnpPageType.CPUID))


class SnpVirtualMachine(VirtualMachine):
    """One guest: its context in the secure processor and the CPU that will run it."""

    def __init__(self, processor: SecureProcessor, cpu: GuestCpu) -> None:
        super().__init__(cpu)
        self.guest = processor.gctx_create(cpu)
        self._processor = processor
        self._initialised = False
        self._vmsa: bytes | None = None
        self._vmsa_measured = False
        self._passing = 0

    @property
    def running(self) -> bool:
        return self.guest.state is GuestState.RUNNING

    @property
    def shows_registers(self) -> bool:
        return False

    def set_vmsa(self, page: bytes) -> None:
        """The vCPU's initial state; fixed once LAUNCH_FINISH has measured it. Raises OSError."""
        if self._vmsa_measured:
            raise OSError(errno.EBUSY, "the VMSA is measured already")
        super().set_vmsa(page)
        self._vmsa = page

    def encrypt_op(self, identifier: int, data: int, memory: UserMemory) -> None:
        if identifier == SevCmdId.INIT2:
            self._init2(data, memory)
        elif not self._initialised:
            raise OSError(errno.ENOTTY, "the VM is not an SNP guest yet")
        elif identifier < _FIRST_SNP_COMMAND:
            raise OSError(errno.EPERM, "an SNP guest takes SNP commands only")
        elif identifier == SevCmdId.SNP_LAUNCH_START:
            self._launch_start(data, memory)
        elif identifier == SevCmdId.SNP_LAUNCH_UPDATE:
            self._launch_update(data, memory)
        elif identifier == SevCmdId.SNP_LAUNCH_FINISH:
            self._launch_finish(data, memory)
        else:
            raise invalid("no such command")

    def _init2(self, data: int, memory: UserMemory) -> None:
        init = memory.structure(KvmSevInit, data)
        if self._initialised:
            raise invalid("the VM is an SNP guest already")
        if init.flags or init.vmsa_features or init.pad1 or any(init.pad2):
            raise invalid("this CPU has no optional SEV features")
        if init.ghcb_version not in (0, GHCB_VERSION):
            raise invalid("GHCB versions 1 and above 2 are not for SNP")
        self._initialised = True

    def _launch_start(self, data: int, memory: UserMemory) -> None:
        start = memory.structure(KvmSevSnpLaunchStart, data)
        if start.flags or any(start.pad0) or any(start.pad1):
            raise invalid("flags and padding are zero")
        self._processor.launch_start(self.guest, start.policy, bytes(start.gosvw))

    def _launch_update(self, data: int, memory: UserMemory) -> None:
        update = memory.structure(KvmSevSnpLaunchUpdate, data)
        if update.flags or update.pad0 or update.pad1 or any(update.pad2):
            raise invalid("flags and padding are zero")
        if update.type not in _BY_IOCTL:
            raise invalid("not a page type that KVM takes")
        gpa, size = update.gfn_start * PAGE, update.len
        if not 0 < size <= MAX_LAUNCH_UPDATE or size % PAGE or gpa + size > self.cpu.size:
            raise invalid("whole pages of the guest's memory")
        if self.cpu.is_shared(gpa, size):
            raise invalid("the window is shared, not private memory")
        sourced = update.type in _SOURCED
        if sourced and update.uaddr % PAGE:
            raise invalid("the source begins at a page")
        contents = memory.view(update.uaddr, size) if sourced else b""
        try:
            self._processor.launch_update(self.guest, update.type, gpa, size, contents)
        except Refused:
            if update.type == SnpPageType.CPUID:
                memory.write(update.uaddr, self._processor.correct_cpuid(contents))
            raise
        update.gfn_start += size // PAGE
        update.uaddr += size if sourced else 0
        update.len = 0
        memory.write(data, bytes(update))

    def _launch_finish(self, data: int, memory: UserMemory) -> None:
        finish = memory.structure(KvmSevSnpLaunchFinish, data)
        if finish.flags or any(finish.pad0) or any(finish.pad1):
            raise invalid("flags and padding are zero")
        if max(finish.id_block_en, finish.auth_key_en, finish.vcek_disabled) > 1:
            raise invalid("a switch is 0 or 1")
        require(self.guest.state is GuestState.LAUNCH, SevStatus.INVALID_GUEST_STATE)
        if self._vmsa is None:
            raise invalid("the vCPU has no initial state")
        block = auth = None
        if finish.id_block_en:
            block = memory.read(finish.id_block_uaddr, ID_BLOCK_SIZE)
            auth = memory.read(finish.id_auth_uaddr, ID_AUTH_SIZE)
        if not self._vmsa_measured:
            self._processor.launch_vmsa(self.guest, self._vmsa)
            self._vmsa_measured = True
        self._processor.launch_finish(
            self.guest,
            id_block=block,
            id_auth=auth,
            auth_key_en=bool(finish.auth_key_en),
            vcek_disabled=bool(finish.vcek_disabled),
            host_data=bytes(finish.host_data),
        )

    def pass_guest_requests(self, count: int) -> None:
        """The next `count` guest requests do not end a run: the kernel passes them on by itself."""
        self._passing = count

    def guest_request(self, request_gpa: int, response_gpa: int) -> int:
        """SNP_GUEST_REQUEST: the firmware's status."""
        try:
            self._processor.guest_request(self.guest, request_gpa, response_gpa)
        except Refused as refusal:
            return refusal.status
        return SevStatus.SUCCESS

    def look(self, gpa: int, size: int, view: View) -> bytes:  # noqa: ARG002 - all see the same
        """Ciphertext, and the window as it is."""
        first = gpa - gpa % PAGE
        pages = []
        for address in range(first, gpa + size, PAGE):
            page = self.cpu.read(address, PAGE)
            shared = self.cpu.is_shared(address, PAGE)
            pages.append(page if shared else self.guest.memory_key.encrypt_page(address, page))
        return b"".join(pages)[gpa - first :][:size]

    def store(self, gpa: int, data: bytes, view: View) -> None:  # noqa: ARG002
        """The RMP lets nobody but the guest write its private pages."""
        for address in range(gpa - gpa % PAGE, gpa + len(data), PAGE):
            if not self.cpu.is_shared(address, PAGE):
                raise OSError(errno.EFAULT, "a private page of an SNP guest")
        self.cpu.write(gpa, data)

    def run(self) -> RunState:
        """As the hypervisor sees it: registers only of a guest that its owner allowed to be debugged."""
        state = self._run()
        asked = state.exit_reason == ExitReason.IO and state.port == EXIT_PORT
        if asked or self.guest.policy & POLICY_DEBUG:
            return state
        return ended(state.exit_reason)

    def _run(self) -> RunState:
        while True:
            state = super().run()
            if not self._passing or state.exit_reason != ExitReason.IO or not self._pass_on():
                return state

    def _pass_on(self) -> bool:
        """Answer the guest request that the GHCB page holds. False where it holds none."""
        page = self.cpu.read(WINDOW_GPA, PAGE)
        code, request_gpa, response_gpa = _GHCB_EXIT.unpack_from(page, ghcb.SW_EXITCODE)
        if code != ghcb.EXIT_GUEST_REQUEST:
            return False
        self._passing -= 1
        status = self.guest_request(request_gpa, response_gpa)
        # EXITINFO1 0: done, no exception to raise; EXITINFO2: the firmware's status (AMD 56421, 4.1.7).
        self.cpu.write(WINDOW_GPA + ghcb.SW_EXITINFO1, struct.pack("<QQ", 0, status))
        return True

    def destroy(self) -> None:
        self.cpu.destroy()
        self._processor.decommission(self.guest)
