"""The kernel's side of an SNP virtual machine: KVM_MEMORY_ENCRYPT_OP (Linux ``arch/x86/kvm/svm/sev.c``).

The kernel's own checks (EINVAL, EPERM) come first, then the firmware's (EIO with its status in `error`).
"""

from __future__ import annotations

import errno
import struct

from wasmkeep.hardware import ghcb
from wasmkeep.hardware.kvm_sev import (
    GHCB_VERSION,
    KVM_MEMORY_ENCRYPT_OP,
    PAGE,
    KvmSevCmd,
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
from wasmkeep.hardware.machine_calls import VMSA_SIZE, WINDOW_GPA, ExitReason, RunState
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.cpu import GuestCpu, ended
from wasmkeep.simulator.secure_processor import SecureProcessor
from wasmkeep.simulator.states import GuestState
from wasmkeep.simulator.status import Refused, require
from wasmkeep.simulator.user_memory import UserMemory
from wasmkeep.simulator.vmsa import InvalidVmsa

_FIRST_SNP_COMMAND = 100
_GHCB_EXIT = struct.Struct("<QQQ")  # SW_EXITCODE, SW_EXITINFO1, SW_EXITINFO2
_BY_IOCTL = frozenset(SnpPageType) - {SnpPageType.VMSA}
MAX_LAUNCH_UPDATE = 1 << 30  # bytes of one call
_SOURCED = frozenset((SnpPageType.NORMAL, SnpPageType.UNMEASURED, SnpPageType.CPUID))


def _invalid(what: str) -> OSError:
    return OSError(errno.EINVAL, what)


class SnpVirtualMachine:
    """One guest: its context in the secure processor and the CPU that will run it."""

    def __init__(self, processor: SecureProcessor, cpu: GuestCpu) -> None:
        self.cpu = cpu
        self.guest = processor.gctx_create(cpu)
        self._processor = processor
        self._initialised = False
        self._vmsa: bytes | None = None
        self._vmsa_measured = False
        self._unrunnable = False
        self._passing = 0

    @property
    def running(self) -> bool:
        return self.guest.state is GuestState.RUNNING

    def set_vmsa(self, page: bytes) -> None:
        """The vCPU's initial state; fixed once LAUNCH_FINISH has measured it. Raises OSError."""
        if len(page) != VMSA_SIZE:
            raise _invalid("a VMSA is one page")
        if self._vmsa_measured:
            raise OSError(errno.EBUSY, "the VMSA is measured already")
        self._vmsa = page
        try:
            self.cpu.load(page)
            self._unrunnable = False
        except InvalidVmsa:
            self._unrunnable = True

    def encrypt_op(self, number: int, argument: int, memory: UserMemory) -> int:
        """0, or −EIO with the firmware's status in `error`. Raises OSError for what KVM itself refuses."""
        if number != KVM_MEMORY_ENCRYPT_OP:
            raise OSError(errno.ENOTTY, "not an ioctl of this machine's VMs")
        command = memory.structure(KvmSevCmd, argument)
        if command.pad0:
            raise _invalid("padding is not zero")
        try:
            self._perform(command.id, command.data, memory)
        except Refused as refusal:
            command.error = refusal.status
            memory.write(argument, bytes(command))
            return -errno.EIO
        return 0

    def _perform(self, identifier: int, data: int, memory: UserMemory) -> None:
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
            raise _invalid("no such command")

    def _init2(self, data: int, memory: UserMemory) -> None:
        init = memory.structure(KvmSevInit, data)
        if self._initialised:
            raise _invalid("the VM is an SNP guest already")
        if init.flags or init.vmsa_features or init.pad1 or any(init.pad2):
            raise _invalid("this CPU has no optional SEV features")
        if init.ghcb_version not in (0, GHCB_VERSION):
            raise _invalid("GHCB versions 1 and above 2 are not for SNP")
        self._initialised = True

    def _launch_start(self, data: int, memory: UserMemory) -> None:
        start = memory.structure(KvmSevSnpLaunchStart, data)
        if start.flags or any(start.pad0) or any(start.pad1):
            raise _invalid("flags and padding are zero")
        self._processor.launch_start(self.guest, start.policy, bytes(start.gosvw))

    def _launch_update(self, data: int, memory: UserMemory) -> None:
        update = memory.structure(KvmSevSnpLaunchUpdate, data)
        if update.flags or update.pad0 or update.pad1 or any(update.pad2):
            raise _invalid("flags and padding are zero")
        if update.type not in _BY_IOCTL:
            raise _invalid("not a page type that KVM takes")
        gpa, size = update.gfn_start * PAGE, update.len
        if not 0 < size <= MAX_LAUNCH_UPDATE or size % PAGE or gpa + size > self.cpu.size:
            raise _invalid("whole pages of the guest's memory")
        if self.cpu.is_shared(gpa, size):
            raise _invalid("the window is shared, not private memory")
        sourced = update.type in _SOURCED
        if sourced and update.uaddr % PAGE:
            raise _invalid("the source begins at a page")
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
            raise _invalid("flags and padding are zero")
        if max(finish.id_block_en, finish.auth_key_en, finish.vcek_disabled) > 1:
            raise _invalid("a switch is 0 or 1")
        require(self.guest.state is GuestState.LAUNCH, SevStatus.INVALID_GUEST_STATE)
        if self._vmsa is None:
            raise _invalid("the vCPU has no initial state")
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

    def run(self) -> RunState:
        """Until the guest exits; a state that VMRUN refuses is KVM_EXIT_FAIL_ENTRY. Raises `Interrupted`."""
        if self._unrunnable:
            return ended(ExitReason.FAIL_ENTRY)
        while True:
            state = self.cpu.run()
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
        """Stop the CPU first: the slot is free only when nothing of the guest runs."""
        self.cpu.destroy()
        self._processor.decommission(self.guest)
