"""The host's window into a guest whose owner allowed it (SEV API 0.24, debugging API)."""

from __future__ import annotations

from wasmkeep.evidence.sev.bits import GuestPolicyBit
from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_commands import SevDataDbg
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.sev.context import FirmwareContext, SevGuest
from wasmkeep.simulator.sev.transfers import require_blocks, store
from wasmkeep.simulator.status import require
from wasmkeep.simulator.system_memory import ENCRYPTION_BLOCK, SystemMemory


def dbg_decrypt(firmware: FirmwareContext, buffer: SevDataDbg, memory: SystemMemory) -> None:
    """DBG_DECRYPT: private memory at `src`, in plaintext to `dst`."""
    guest = _debuggable(firmware, FirmwareCommand.DBG_DECRYPT, buffer)
    plain = memory.private_read(guest.memory_key, buffer.src_address, buffer.len)
    store(memory, (buffer.dst_address, plain))


def dbg_encrypt(firmware: FirmwareContext, buffer: SevDataDbg, memory: SystemMemory) -> None:
    """DBG_ENCRYPT: plaintext at `src`, into private memory at `dst`."""
    guest = _debuggable(firmware, FirmwareCommand.DBG_ENCRYPT, buffer)
    memory.private_write(guest.memory_key, buffer.dst_address, memory.read(buffer.src_address, buffer.len))


def _debuggable(firmware: FirmwareContext, command: FirmwareCommand, buffer: SevDataDbg) -> SevGuest:
    guest = firmware.guest(buffer.handle)
    guest.state = guest.after(command)
    guest.require_active()
    require(not guest.has(GuestPolicyBit.NODBG), SevStatus.POLICY_FAILURE)
    require_blocks(buffer.src_address, buffer.len)
    require(buffer.dst_address % ENCRYPTION_BLOCK == 0, SevStatus.INVALID_ADDRESS)
    return guest
