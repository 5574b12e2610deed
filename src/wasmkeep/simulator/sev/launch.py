"""Launching a guest for its owner (SEV API 0.24, chapter 6)."""

from __future__ import annotations

import hashlib
import os

from wasmkeep.evidence.sev.measurement import measure
from wasmkeep.evidence.sev.packet import open_secret
from wasmkeep.evidence.sev.session import KEY_SIZE, LaunchKeys
from wasmkeep.hardware.machine_calls import VMSA_SIZE
from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_commands import (
    CERTIFICATE_SIZE,
    MEASUREMENT_SIZE,
    MNONCE_SIZE,
    SESSION_SIZE,
    SevDataHandle,
    SevDataLaunchStart,
    SevDataPacket,
    SevDataRegion,
)
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.sev.admission import admit, agreed_keys
from wasmkeep.simulator.sev.context import FirmwareContext, SevGuest
from wasmkeep.simulator.sev.transfers import (
    open_packet,
    require_blocks,
    require_length,
    require_packet,
    require_room,
    store,
)
from wasmkeep.simulator.status import require
from wasmkeep.simulator.system_memory import SystemMemory

_NO_OWNER = LaunchKeys(tek=bytes(KEY_SIZE), tik=bytes(KEY_SIZE))


def launch_start(firmware: FirmwareContext, buffer: SevDataLaunchStart, memory: SystemMemory) -> None:
    """LAUNCH_START. Without an owner's certificate TEK and TIK are zeros: the measurement proves nothing."""
    keys = _NO_OWNER
    if buffer.dh_cert_address:
        require_length(buffer.session_len, SESSION_SIZE)
        require_length(buffer.dh_cert_len, CERTIFICATE_SIZE)
        keys = agreed_keys(
            firmware,
            memory.read(buffer.dh_cert_address, CERTIFICATE_SIZE),
            memory.read(buffer.session_address, SESSION_SIZE),
            buffer.policy,
        )
    guest = admit(firmware, FirmwareCommand.LAUNCH_START, buffer.handle, buffer.policy, keys)
    guest.measured = hashlib.sha256()
    buffer.handle = guest.handle


def launch_update_data(firmware: FirmwareContext, buffer: SevDataRegion, memory: SystemMemory) -> None:
    """LAUNCH_UPDATE_DATA: plaintext is measured, and ciphertext is in its place."""
    guest = firmware.guest(buffer.handle)
    following = guest.after(FirmwareCommand.LAUNCH_UPDATE_DATA)
    _encrypt_and_measure(guest, buffer, memory)
    guest.state = following


def launch_update_vmsa(firmware: FirmwareContext, buffer: SevDataRegion, memory: SystemMemory) -> None:
    """LAUNCH_UPDATE_VMSA: the same for a vCPU's initial state, of an SEV-ES guest."""
    guest = firmware.guest(buffer.handle)
    following = guest.after(FirmwareCommand.LAUNCH_UPDATE_VMSA)
    require(guest.es, SevStatus.UNSUPPORTED)
    require_length(buffer.len, VMSA_SIZE)
    _encrypt_and_measure(guest, buffer, memory)
    memory.seal_vmsa(guest.memory_key, buffer.address)
    guest.state = following


def _encrypt_and_measure(guest: SevGuest, buffer: SevDataRegion, memory: SystemMemory) -> None:
    guest.require_active()
    require_blocks(buffer.address, buffer.len)
    plain = memory.encrypt_in_place(guest.memory_key, buffer.address, buffer.len)
    if guest.measured is not None:
        guest.measured.update(plain)


def launch_measure(firmware: FirmwareContext, buffer: SevDataRegion, memory: SystemMemory) -> None:
    """LAUNCH_MEASURE (6.5): MEASURE under the owner's TIK, and the MNONCE drawn for it."""
    guest = firmware.guest(buffer.handle)
    following = guest.after(FirmwareCommand.LAUNCH_MEASURE)
    require_room(buffer, len=MEASUREMENT_SIZE)
    mnonce = os.urandom(MNONCE_SIZE)
    version = firmware.version
    made = measure(
        guest.transport_keys().tik,
        version.major,
        version.minor,
        version.build,
        guest.policy.encode(),
        guest.launch_digest,
        mnonce,
    )
    store(memory, (buffer.address, made + mnonce))
    buffer.len = MEASUREMENT_SIZE
    guest.measure = made
    guest.state = following


def launch_secret(firmware: FirmwareContext, buffer: SevDataPacket, memory: SystemMemory) -> None:
    """LAUNCH_SECRET (6.6): an owner's packet into guest memory, wherever the host says."""
    guest = firmware.guest(buffer.handle)
    require_packet(buffer)
    following = guest.after(FirmwareCommand.LAUNCH_SECRET)
    guest.require_active()
    require_blocks(buffer.guest_address, buffer.guest_len)
    keys, measured = guest.transport_keys(), guest.measure
    plain = open_packet(buffer, memory, lambda packet: open_secret(keys, packet, measured))
    memory.private_write(guest.memory_key, buffer.guest_address, plain)
    guest.state = following


def launch_finish(firmware: FirmwareContext, buffer: SevDataHandle, _memory: SystemMemory) -> None:
    """LAUNCH_FINISH: the guest may run, and no packet can be opened any more."""
    guest = firmware.guest(buffer.handle)
    guest.state = guest.after(FirmwareCommand.LAUNCH_FINISH)
    guest.keys = None
