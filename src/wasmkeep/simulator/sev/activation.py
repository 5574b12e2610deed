"""A guest and its key slot, its status, its report and its end (SEV API 0.24, chapter 6)."""

from __future__ import annotations

from wasmkeep.evidence.sev import report
from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_commands import (
    ATTESTATION_SIZE,
    SevDataActivate,
    SevDataAttestation,
    SevDataGuestStatus,
    SevDataHandle,
    SevGuestState,
)
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.sev.context import FirmwareContext
from wasmkeep.simulator.sev.transfers import require_room, store
from wasmkeep.simulator.status import require
from wasmkeep.simulator.system_memory import SystemMemory


def activate(firmware: FirmwareContext, buffer: SevDataActivate, _memory: SystemMemory) -> None:
    """ACTIVATE: the guest's key into slot `asid`, of the range for its kind."""
    guest = firmware.guest(buffer.handle)
    guest.state = guest.after(FirmwareCommand.ACTIVATE)
    firmware.slots.require_usable(buffer.asid, es=guest.es)
    require(guest.asid == 0, SevStatus.ACTIVE)
    firmware.slots.activate(buffer.asid, guest.memory_key, es=guest.es)
    guest.asid = buffer.asid


def deactivate(firmware: FirmwareContext, buffer: SevDataHandle, _memory: SystemMemory) -> None:
    """DEACTIVATE: the key out of its slot, which is dirty until DF_FLUSH."""
    guest = firmware.guest(buffer.handle)
    guest.require_active()
    firmware.slots.deactivate(guest.asid)
    guest.asid = 0


def decommission(firmware: FirmwareContext, buffer: SevDataHandle, _memory: SystemMemory) -> None:
    """DECOMMISSION: the guest's context is erased. ACTIVE while it has a slot."""
    guest = firmware.guest(buffer.handle)
    require(guest.asid == 0, SevStatus.ACTIVE)
    firmware.remove(guest)


def guest_status(firmware: FirmwareContext, buffer: SevDataGuestStatus, _memory: SystemMemory) -> None:
    """GUEST_STATUS: a handle that is none has state UNINIT (SEV.md A.2, one source)."""
    guest = firmware.guests.get(buffer.handle)
    if guest is None:
        buffer.policy, buffer.asid, buffer.state = 0, 0, SevGuestState.UNINIT
    else:
        buffer.policy, buffer.asid, buffer.state = guest.policy.encode(), guest.asid, guest.state


def attestation(firmware: FirmwareContext, buffer: SevDataAttestation, memory: SystemMemory) -> None:
    """ATTESTATION: the launch digest and the policy, signed by the PEK for the caller's MNONCE."""
    guest = firmware.guest(buffer.handle)
    guest.state = guest.after(FirmwareCommand.ATTESTATION)
    require_room(buffer, len=ATTESTATION_SIZE)
    made = report.create(
        firmware.identity.pek_key,
        mnonce=bytes(buffer.mnonce),
        digest=guest.launch_digest,
        policy=guest.policy.encode(),
    )
    store(memory, (buffer.address, made.encode()))
    buffer.len = ATTESTATION_SIZE
