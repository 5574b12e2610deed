"""KVM's commands for SEV guests that are there: migration, debugging, attestation (Linux
``arch/x86/kvm/svm/sev.c``; SEV API 0.24, 6.8 to 6.18, 7).

KVM has numbers for the VMSA of a guest that moves, and no code: such a guest cannot.
"""

from __future__ import annotations

from itertools import pairwise

from wasmkeep.hardware.kvm_sev import (
    PAGE,
    KvmSevAttestationReport,
    KvmSevDbg,
    KvmSevPacket,
    KvmSevReceiveStart,
    KvmSevSendStart,
)
from wasmkeep.hardware.psp_sev import MAX_BLOB, FirmwareCommand
from wasmkeep.hardware.sev_commands import (
    SevDataAttestation,
    SevDataDbg,
    SevDataPacket,
    SevDataReceiveStart,
    SevDataSendStart,
)
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.sev_context import SevContext, answered
from wasmkeep.simulator.system_memory import ENCRYPTION_BLOCK
from wasmkeep.simulator.user_memory import UserMemory
from wasmkeep.simulator.virtual_machine import invalid


def send_start(vm: SevContext, data: int, memory: UserMemory) -> None:
    """A query where the session's length is 0."""
    request = memory.structure(KvmSevSendStart, data)
    own = vm.beside()
    start = SevDataSendStart(handle=vm.handle)
    if request.session_len:
        if not request.session_uaddr or request.session_len > MAX_BLOB:
            raise invalid("no room for the session")
        start.pdh_cert_address = own.place(memory.blob(request.pdh_cert_uaddr, request.pdh_cert_len))
        start.pdh_cert_len = request.pdh_cert_len
        start.plat_certs_address = own.place(memory.blob(request.plat_certs_uaddr, request.plat_certs_len))
        start.plat_certs_len = request.plat_certs_len
        start.amd_certs_address = own.place(memory.blob(request.amd_certs_uaddr, request.amd_certs_len))
        start.amd_certs_len = request.amd_certs_len
        start.session_address, start.session_len = own.room(request.session_len), request.session_len
    status, after = vm.kernel.command(FirmwareCommand.SEND_START, start, own)
    if status is SevStatus.SUCCESS:
        memory.write(request.session_uaddr, own.taken(start.session_address))
    request.policy, request.session_len = after.policy, after.session_len
    memory.write(data, bytes(request))
    answered(status)


def send_update_data(vm: SevContext, data: int, memory: UserMemory) -> None:
    """A query where the header's or the ciphertext's length is 0."""
    request = memory.structure(KvmSevPacket, data)
    own = vm.beside()
    packet = SevDataPacket(handle=vm.handle)
    if request.hdr_len and request.trans_len:
        if (
            not request.trans_uaddr
            or not request.guest_uaddr
            or not request.guest_len
            or not request.hdr_uaddr
        ):
            raise invalid("an address or a length is missing")
        if request.hdr_len > MAX_BLOB or request.trans_len > MAX_BLOB:
            raise invalid("larger than any blob")
        packet.guest_address = vm.pinned_in_page(request.guest_uaddr, request.guest_len)
        packet.guest_len = request.guest_len
        packet.hdr_address, packet.hdr_len = own.room(request.hdr_len), request.hdr_len
        packet.trans_address, packet.trans_len = own.room(request.trans_len), request.trans_len
    status, after = vm.kernel.command(FirmwareCommand.SEND_UPDATE_DATA, packet, own)
    if status is SevStatus.SUCCESS:
        memory.write(request.trans_uaddr, own.taken(packet.trans_address))
        memory.write(request.hdr_uaddr, own.taken(packet.hdr_address))
    else:
        request.hdr_len, request.trans_len = after.hdr_len, after.trans_len
        memory.write(data, bytes(request))
    answered(status)


def send_finish(vm: SevContext, _data: int, _memory: UserMemory) -> None:
    vm.by_handle(FirmwareCommand.SEND_FINISH)
    vm.runnable = False


def send_cancel(vm: SevContext, _data: int, _memory: UserMemory) -> None:
    vm.by_handle(FirmwareCommand.SEND_CANCEL)


def receive_start(vm: SevContext, data: int, memory: UserMemory) -> None:
    """RECEIVE_START, then ACTIVATE in the VM's slot."""
    request = memory.structure(KvmSevReceiveStart, data)
    own = vm.beside()
    start = SevDataReceiveStart(handle=request.handle, policy=request.policy)
    start.pdh_cert_address = own.place(memory.blob(request.pdh_uaddr, request.pdh_len))
    start.pdh_cert_len = request.pdh_len
    start.session_address = own.place(memory.blob(request.session_uaddr, request.session_len))
    start.session_len = request.session_len
    started = vm.issue(FirmwareCommand.RECEIVE_START, start, own)
    vm.bind(started.handle)
    request.handle = started.handle
    memory.write(data, bytes(request))


def receive_update_data(vm: SevContext, data: int, memory: UserMemory) -> None:
    request = memory.structure(KvmSevPacket, data)
    own = vm.beside()
    packet = SevDataPacket(
        handle=vm.handle,
        hdr_len=request.hdr_len,
        guest_address=vm.pinned_in_page(request.guest_uaddr, request.guest_len),
        guest_len=request.guest_len,
        trans_len=request.trans_len,
    )
    packet.hdr_address = own.place(memory.blob(request.hdr_uaddr, request.hdr_len))
    packet.trans_address = own.place(memory.blob(request.trans_uaddr, request.trans_len))
    vm.issue(FirmwareCommand.RECEIVE_UPDATE_DATA, packet, own)


def receive_finish(vm: SevContext, _data: int, _memory: UserMemory) -> None:
    vm.by_handle(FirmwareCommand.RECEIVE_FINISH)
    vm.runnable = True


def attestation_report(vm: SevContext, data: int, memory: UserMemory) -> None:
    """A query where the length is 0."""
    request = memory.structure(KvmSevAttestationReport, data)
    if request.len > MAX_BLOB:
        raise invalid("larger than any blob")
    own = vm.beside()
    room = own.room(request.len) if request.uaddr else 0
    report = SevDataAttestation(
        handle=vm.handle, address=room, mnonce=request.mnonce, len=request.len if room else 0
    )
    status, after = vm.kernel.command(FirmwareCommand.ATTESTATION, report, own)
    if room:
        answered(status)
        memory.write(request.uaddr, own.taken(room))
    request.len = after.len
    memory.write(data, bytes(request))
    answered(status)


def dbg_decrypt(vm: SevContext, data: int, memory: UserMemory) -> None:
    """Whole encryption blocks are decrypted, page by page, and what was asked for is cut out of them."""
    request = _dbg_request(data, memory)
    memory.view(request.dst_uaddr, request.len)  # before any work: the user has that much room
    plain = b"".join(
        _decrypted(vm, request.src_uaddr + at, size) for at, size in _by_page(request.src_uaddr, request.len)
    )
    memory.write(request.dst_uaddr, plain)


def dbg_encrypt(vm: SevContext, data: int, memory: UserMemory) -> None:
    """Blocks that are written in part are decrypted first, as KVM does it."""
    request = _dbg_request(data, memory)
    given = memory.read(request.src_uaddr, request.len)
    for at, size in _by_page(request.dst_uaddr, request.len):
        uaddr = request.dst_uaddr + at
        before = uaddr % ENCRYPTION_BLOCK
        whole = _whole_blocks(before + size)
        blocks = given[at : at + size]
        if whole != size:
            held = _decrypted(vm, uaddr - before, whole)
            blocks = held[:before] + blocks + held[before + size :]
        own = vm.beside()
        buffer = SevDataDbg(handle=vm.handle, src_address=own.place(blocks), len=whole)
        buffer.dst_address = vm.pinned(uaddr - before, whole)
        vm.issue(FirmwareCommand.DBG_ENCRYPT, buffer, own)


def _dbg_request(data: int, memory: UserMemory) -> KvmSevDbg:
    request = memory.structure(KvmSevDbg, data)
    if not request.len or request.src_uaddr + request.len >= 1 << 64 or not request.dst_uaddr:
        raise invalid("an empty range, or no destination")
    return request


def _decrypted(vm: SevContext, uaddr: int, size: int) -> bytes:
    before = uaddr % ENCRYPTION_BLOCK
    whole = _whole_blocks(before + size)
    own = vm.beside()
    buffer = SevDataDbg(handle=vm.handle, dst_address=own.room(whole), len=whole)
    buffer.src_address = vm.pinned(uaddr - before, whole)
    vm.issue(FirmwareCommand.DBG_DECRYPT, buffer, own)
    return own.taken(buffer.dst_address)[before : before + size]


def _whole_blocks(size: int) -> int:
    return -(-size // ENCRYPTION_BLOCK) * ENCRYPTION_BLOCK


def _by_page(uaddr: int, size: int) -> list[tuple[int, int]]:
    """Offset and size of the parts of a range that each lie in one page."""
    cuts = [0, *range(PAGE - uaddr % PAGE, size, PAGE), size]
    return [(start, end - start) for start, end in pairwise(cuts)]
