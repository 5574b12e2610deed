"""What the kernel's drivers for SEV have in common: the mailbox, and the platform's state (Linux
``drivers/crypto/ccp/sev-dev.c``, ``arch/x86/kvm/svm/sev.c``).

`sev_device` is ``/dev/sev`` to its users, `sev_vm` a virtual machine; both talk to the firmware through here.
"""

from __future__ import annotations

import errno
import threading
from typing import TypeVar

from wasmkeep.hardware.psp_sev import FirmwareCommand, SevUserDataStatus
from wasmkeep.hardware.sev_commands import (
    INIT_FLAG_ES,
    NoBuffer,
    SevDataHandle,
    SevDataInit,
    SevPlatformState,
)
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.hardware.structures import Structure
from wasmkeep.simulator.kernel_memory import KernelMemory
from wasmkeep.simulator.key_slots import KeySlots
from wasmkeep.simulator.sev.processor import SevFirmware
from wasmkeep.simulator.status import Refused, require
from wasmkeep.simulator.system_memory import SystemMemory

S = TypeVar("S", bound=Structure)

_TMR_SIZE, _TMR_SIZE_SNP = 1 << 20, 2 << 20
_TMR_ADDRESS = 1 << 45  # above DRAM, aligned to its size; nobody but the firmware has it


class SevKernel:
    """The kernel's one connection to the firmware, and its table of ASIDs."""

    def __init__(self, firmware: SevFirmware, slots: KeySlots, *, snp: bool) -> None:
        self.slots = slots
        self._firmware = firmware
        self._tmr_size = _TMR_SIZE_SNP if snp else _TMR_SIZE
        self._lock = threading.Lock()  # the driver's mutex: nobody changes the platform's state meanwhile

    def command(
        self, command: FirmwareCommand, buffer: S, memory: SystemMemory | None = None
    ) -> tuple[SevStatus, S]:
        """The firmware's status, and the buffer as it left it: also after a refusal, for its lengths."""
        status, out = self._firmware.command(command, bytes(buffer), memory or KernelMemory())
        return status, type(buffer).from_buffer_copy(out)

    def issue(self, command: FirmwareCommand, buffer: S, memory: SystemMemory | None = None) -> S:
        """The buffer after a command that has to succeed. Raises `Refused`."""
        status, out = self.command(command, buffer, memory)
        require(status is SevStatus.SUCCESS, status)
        return out

    def status(self) -> SevUserDataStatus:
        return self.issue(FirmwareCommand.PLATFORM_STATUS, SevUserDataStatus())

    def initialise(self) -> None:
        """INIT, with SEV-ES, unless that was done. Raises `Refused`."""
        with self._lock:
            if self.status().state == SevPlatformState.UNINIT:
                start = SevDataInit(flags=INIT_FLAG_ES, tmr_address=_TMR_ADDRESS, tmr_len=self._tmr_size)
                self.issue(FirmwareCommand.INIT, start)

    def factory_reset(self) -> None:
        """PLATFORM_RESET, which shuts an idle platform down first. OSError EBUSY while guests live."""
        with self._lock:
            state = self.status().state
            if state == SevPlatformState.WORKING:
                raise OSError(errno.EBUSY, "guests are alive")
            if state == SevPlatformState.INIT:
                self.issue(FirmwareCommand.SHUTDOWN, NoBuffer())
            self.issue(FirmwareCommand.PLATFORM_RESET, NoBuffer())

    def reserve_asid(self, *, es: bool) -> int:
        """An ASID for a new VM, flushed if it was anybody's. OSError EBUSY where all are taken."""
        try:
            return self.slots.reserve(es=es)
        except Refused as refusal:
            raise OSError(errno.EBUSY, "every key slot is taken") from refusal

    def end_guest(self, handle: int) -> None:
        """DEACTIVATE and DECOMMISSION, as far as each has something to do."""
        for command in (FirmwareCommand.DEACTIVATE, FirmwareCommand.DECOMMISSION):
            self.command(command, SevDataHandle(handle=handle))
