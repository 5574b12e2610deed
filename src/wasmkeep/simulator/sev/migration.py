"""Sending a guest to another platform, and receiving it there (SEV API 0.24, chapter 6).

Between the two, pages travel in packets under a TEK and a TIK that the sender draws for this journey and
wraps for the receiver's PDH, as an owner does for a launch. The last command says nothing about the whole:
this API has no measurement of what travelled, so the order, the place and the completeness of packets are
the hosts'.
"""

from __future__ import annotations

import os

from wasmkeep.evidence.sev.bits import GuestPolicyBit
from wasmkeep.evidence.sev.packet import Context, open_transport, seal_transport
from wasmkeep.evidence.sev.session import KEY_SIZE, NONCE_SIZE, LaunchKeys, create
from wasmkeep.hardware.machine_calls import VMSA_SIZE
from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_commands import (
    CERTIFICATE_CHAIN_SIZE,
    CERTIFICATE_SIZE,
    PACKET_HEADER_SIZE,
    SESSION_SIZE,
    SevDataHandle,
    SevDataPacket,
    SevDataReceiveStart,
    SevDataSendStart,
)
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.sev.admission import admit, agreed_keys
from wasmkeep.simulator.sev.context import FirmwareContext, SevGuest
from wasmkeep.simulator.sev.identity import read_dh_certificate
from wasmkeep.simulator.sev.receiver import AMD_CHAIN_SIZES, Receiver, require_receiver
from wasmkeep.simulator.sev.transfers import (
    open_packet,
    require_blocks,
    require_length,
    require_packet,
    require_packet_length,
    require_room,
    store,
)
from wasmkeep.simulator.status import require
from wasmkeep.simulator.system_memory import SystemMemory


def send_start(firmware: FirmwareContext, buffer: SevDataSendStart, memory: SystemMemory) -> None:
    """SEND_START: judge the receiver as the guest's policy asks, then draw and wrap the journey's keys."""
    guest = firmware.guest(buffer.handle)
    following = guest.after(FirmwareCommand.SEND_START)
    require(not guest.has(GuestPolicyBit.NOSEND), SevStatus.POLICY_FAILURE)
    require_room(buffer, session_len=SESSION_SIZE)
    receiver = _read_receiver(guest, buffer, memory)
    identity = firmware.identity
    require_receiver(receiver, guest.policy, identity.oca, firmware.amd_roots)
    keys = LaunchKeys(tek=os.urandom(KEY_SIZE), tik=os.urandom(KEY_SIZE))
    session = create(
        read_dh_certificate(receiver.pdh).public_key,
        guest.policy.encode(),
        identity.pdh_key,
        nonce=os.urandom(NONCE_SIZE),
        iv=os.urandom(KEY_SIZE),
        keys=keys,
    )
    store(memory, (buffer.session_address, session.encode()))
    buffer.policy = guest.policy.encode()
    buffer.session_len = SESSION_SIZE
    guest.keys = keys
    guest.state = following


def _read_receiver(guest: SevGuest, buffer: SevDataSendStart, memory: SystemMemory) -> Receiver:
    """PDH always; PEK ‖ OCA ‖ CEK where the policy has SEV or DOMAIN; ASK ‖ ARK where it has SEV."""
    require_length(buffer.pdh_cert_len, CERTIFICATE_SIZE)
    pdh = memory.read(buffer.pdh_cert_address, CERTIFICATE_SIZE)
    platform_chain = amd_chain = b""
    if guest.has(GuestPolicyBit.SEV | GuestPolicyBit.DOMAIN):
        require_length(buffer.plat_certs_len, CERTIFICATE_CHAIN_SIZE)
        platform_chain = memory.read(buffer.plat_certs_address, CERTIFICATE_CHAIN_SIZE)
    if guest.has(GuestPolicyBit.SEV):
        require_length(buffer.amd_certs_len, *AMD_CHAIN_SIZES)
        amd_chain = memory.read(buffer.amd_certs_address, buffer.amd_certs_len)
    return Receiver(pdh, platform_chain, amd_chain)


def send_update_data(firmware: FirmwareContext, buffer: SevDataPacket, memory: SystemMemory) -> None:
    """SEND_UPDATE_DATA: guest memory into a packet."""
    guest = firmware.guest(buffer.handle)
    following = guest.after(FirmwareCommand.SEND_UPDATE_DATA)
    _send(guest, buffer, memory, Context.UPDATE_DATA)
    guest.state = following


def send_update_vmsa(firmware: FirmwareContext, buffer: SevDataPacket, memory: SystemMemory) -> None:
    """SEND_UPDATE_VMSA: a vCPU's state into a packet, of an SEV-ES guest."""
    guest = firmware.guest(buffer.handle)
    following = guest.after(FirmwareCommand.SEND_UPDATE_VMSA)
    require(guest.es, SevStatus.UNSUPPORTED)
    _require_header(buffer)
    require_length(buffer.guest_len, VMSA_SIZE)
    _send(guest, buffer, memory, firmware.vmsa_context)
    guest.state = following


def _require_header(buffer: SevDataPacket) -> None:
    """The length query: how long header and packet will be."""
    require_room(buffer, hdr_len=PACKET_HEADER_SIZE, trans_len=buffer.guest_len)


def _send(guest: SevGuest, buffer: SevDataPacket, memory: SystemMemory, context: int) -> None:
    _require_header(buffer)
    require_packet_length(buffer.guest_len)
    guest.require_active()
    require_blocks(buffer.guest_address, buffer.guest_len)
    plain = memory.private_read(guest.memory_key, buffer.guest_address, buffer.guest_len)
    packet = seal_transport(guest.transport_keys(), os.urandom(KEY_SIZE), plain, context)
    store(memory, (buffer.hdr_address, packet.header), (buffer.trans_address, packet.data))
    buffer.hdr_len, buffer.trans_len = PACKET_HEADER_SIZE, len(packet.data)


def send_finish(firmware: FirmwareContext, buffer: SevDataHandle, _memory: SystemMemory) -> None:
    """SEND_FINISH: the guest lives elsewhere now."""
    guest = firmware.guest(buffer.handle)
    guest.state = guest.after(FirmwareCommand.SEND_FINISH)
    guest.keys = None


def send_cancel(firmware: FirmwareContext, buffer: SevDataHandle, _memory: SystemMemory) -> None:
    """SEND_CANCEL: the guest stays here, and the journey's keys are gone."""
    guest = firmware.guest(buffer.handle)
    guest.state = guest.after(FirmwareCommand.SEND_CANCEL)
    guest.keys = None


def receive_start(firmware: FirmwareContext, buffer: SevDataReceiveStart, memory: SystemMemory) -> None:
    """RECEIVE_START: checks as LAUNCH_START does, with the sender's PDH in the owner's place; never without
    it.
    """
    require_length(buffer.session_len, SESSION_SIZE)
    require_length(buffer.pdh_cert_len, CERTIFICATE_SIZE)
    keys = agreed_keys(
        firmware,
        memory.read(buffer.pdh_cert_address, CERTIFICATE_SIZE),
        memory.read(buffer.session_address, SESSION_SIZE),
        buffer.policy,
    )
    guest = admit(firmware, FirmwareCommand.RECEIVE_START, buffer.handle, buffer.policy, keys)
    buffer.handle = guest.handle


def receive_update_data(firmware: FirmwareContext, buffer: SevDataPacket, memory: SystemMemory) -> None:
    """RECEIVE_UPDATE_DATA: a packet into guest memory."""
    guest = firmware.guest(buffer.handle)
    require_packet(buffer)
    following = guest.after(FirmwareCommand.RECEIVE_UPDATE_DATA)
    _receive(guest, buffer, memory, Context.UPDATE_DATA)
    guest.state = following


def receive_update_vmsa(firmware: FirmwareContext, buffer: SevDataPacket, memory: SystemMemory) -> None:
    """RECEIVE_UPDATE_VMSA: a packet into a vCPU's state, of an SEV-ES guest."""
    guest = firmware.guest(buffer.handle)
    require_packet(buffer)
    following = guest.after(FirmwareCommand.RECEIVE_UPDATE_VMSA)
    require(guest.es, SevStatus.UNSUPPORTED)
    require_length(buffer.guest_len, VMSA_SIZE)
    _receive(guest, buffer, memory, firmware.vmsa_context)
    memory.seal_vmsa(guest.memory_key, buffer.guest_address)
    guest.state = following


def _receive(guest: SevGuest, buffer: SevDataPacket, memory: SystemMemory, context: int) -> None:
    guest.require_active()
    require_blocks(buffer.guest_address, buffer.guest_len)
    keys = guest.transport_keys()
    plain = open_packet(buffer, memory, lambda packet: open_transport(keys, packet, context))
    memory.private_write(guest.memory_key, buffer.guest_address, plain)


def receive_finish(firmware: FirmwareContext, buffer: SevDataHandle, _memory: SystemMemory) -> None:
    """RECEIVE_FINISH: the guest may run here."""
    guest = firmware.guest(buffer.handle)
    guest.state = guest.after(FirmwareCommand.RECEIVE_FINISH)
    guest.keys = None
