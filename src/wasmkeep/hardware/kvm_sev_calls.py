"""KVM's calls for SEV and SEV-ES guests: launch, migration, debugging, attestation (Linux
``Documentation/virt/kvm/x86/amd-memory-encryption.rst``; SEV API 0.24, AMD 55766, chapter 6).

Guest memory is named by the address at which the host has it mapped: `uaddr`, a plain number. What the host
hands over or wants filled travels as a segment of the call. Too little room for what comes back is refused
with INVALID_LENGTH; `needed_length` says how much it takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.hardware.calls import Call, File, Pointer, Result
from wasmkeep.hardware.kvm_sev import (
    GHCB_VERSION,
    KVM_MEMORY_ENCRYPT_REG_REGION,
    KVM_MEMORY_ENCRYPT_UNREG_REGION,
    KvmEncRegion,
    KvmSevAttestationReport,
    KvmSevBlob,
    KvmSevDbg,
    KvmSevGuestStatus,
    KvmSevInit,
    KvmSevLaunchStart,
    KvmSevPacket,
    KvmSevReceiveStart,
    KvmSevSendStart,
    SevCmdId,
    command,
    u8,
)
from wasmkeep.hardware.sev_commands import (
    ATTESTATION_SIZE,
    MEASUREMENT_SIZE,
    MNONCE_SIZE,
    PACKET_HEADER_SIZE,
    SESSION_SIZE,
)
from wasmkeep.hardware.structures import Structure, offset_of


@dataclass(frozen=True, slots=True)
class GuestStatus:
    """GUEST_STATUS; `state` as the firmware counts guest states (SEV API 6.1.1)."""

    handle: int
    policy: int
    state: int


def _reaching(identifier: SevCmdId, structure: Structure, sev_fd: int, **reached: bytes) -> Call:
    """A command whose structure's fields point at `reached`; an empty one is a null pointer."""
    memory = [bytes(structure)]
    pointers = []
    for field, data in reached.items():
        if data:
            memory.append(data)
            pointers.append(Pointer(1, offset_of(type(structure), field), len(memory)))
    return command(identifier, *memory, pointers=tuple(pointers), sev_fd=sev_fd)


# The virtual machine


def init(*, sev_fd: int = 0) -> Call:
    """The older way: a VM of the default type becomes an SEV guest."""
    return command(SevCmdId.INIT, sev_fd=sev_fd)


def es_init(*, sev_fd: int = 0) -> Call:
    """The older way to SEV-ES: GHCB version 1, and a VMSA without FPU state."""
    return command(SevCmdId.ES_INIT, sev_fd=sev_fd)


def init2(*, vmsa_features: int = 0, ghcb_version: int = GHCB_VERSION, sev_fd: int = 0) -> Call:
    """Make the VM what its type says. A plain SEV guest has no GHCB: version 0. KVM adds SNP's feature."""
    structure = KvmSevInit(vmsa_features=vmsa_features, ghcb_version=ghcb_version)
    return command(SevCmdId.INIT2, bytes(structure), sev_fd=sev_fd)


def register_region(uaddr: int, size: int) -> Call:
    """KVM_MEMORY_ENCRYPT_REG_REGION: pin guest memory. Ciphertext cannot move, its address is in it."""
    region = bytes(KvmEncRegion(uaddr, size))
    return Call("REG_REGION", File.VM, KVM_MEMORY_ENCRYPT_REG_REGION, (region,))


def unregister_region(uaddr: int, size: int) -> Call:
    """A region exactly as it was registered."""
    region = bytes(KvmEncRegion(uaddr, size))
    return Call("UNREG_REGION", File.VM, KVM_MEMORY_ENCRYPT_UNREG_REGION, (region,))


def guest_status(*, sev_fd: int = 0) -> Call:
    return command(SevCmdId.GUEST_STATUS, bytes(KvmSevGuestStatus()), sev_fd=sev_fd)


def decode_guest_status(memory: tuple[bytes, ...]) -> GuestStatus:
    raw = KvmSevGuestStatus.from_buffer_copy(memory[1])
    return GuestStatus(raw.handle, raw.policy, raw.state)


# Launch (SEV API 6.2 to 6.7)


def launch_start(
    policy: int, owner_certificate: bytes = b"", session: bytes = b"", *, handle: int = 0, sev_fd: int = 0
) -> Call:
    """`owner_certificate` 2084 and `session` 128 bytes; without them the guest has no owner, and its
    measurement is under a key of zeros. `handle` names a guest to share the memory key with.
    """
    structure = KvmSevLaunchStart(
        handle=handle, policy=policy, dh_len=len(owner_certificate), session_len=len(session)
    )
    reached = {"dh_uaddr": owner_certificate, "session_uaddr": session}
    return _reaching(SevCmdId.LAUNCH_START, structure, sev_fd, **reached)


def decode_handle(memory: tuple[bytes, ...]) -> int:
    """The firmware's handle of a guest, after LAUNCH_START or RECEIVE_START."""
    return KvmSevLaunchStart.from_buffer_copy(memory[1]).handle  # it stands first in both


def launch_update_data(uaddr: int, size: int, *, sev_fd: int = 0) -> Call:
    """Measure and encrypt in place what the host has put there; 16-byte units."""
    structure = KvmSevBlob(uaddr=uaddr, len=size)
    return command(SevCmdId.LAUNCH_UPDATE_DATA, bytes(structure), sev_fd=sev_fd)


def launch_update_vmsa(*, sev_fd: int = 0) -> Call:
    """The same with every vCPU's VMSA (SEV-ES)."""
    return command(SevCmdId.LAUNCH_UPDATE_VMSA, sev_fd=sev_fd)


def launch_measure(room: int = MEASUREMENT_SIZE, *, sev_fd: int = 0) -> Call:
    """`room` 0 asks how much it takes."""
    return _reaching(SevCmdId.LAUNCH_MEASURE, KvmSevBlob(len=room), sev_fd, uaddr=bytes(room))


def decode_measurement(memory: tuple[bytes, ...]) -> bytes:
    """MEASURE ‖ MNONCE, 48 bytes."""
    return memory[2][: KvmSevBlob.from_buffer_copy(memory[1]).len]


def launch_secret(header: bytes, uaddr: int, data: bytes, *, sev_fd: int = 0) -> Call:
    """`header` 52 bytes, `data` the packet's ciphertext, as long as its plaintext."""
    return _packet(SevCmdId.LAUNCH_SECRET, header, uaddr, data, sev_fd)


def launch_finish(*, sev_fd: int = 0) -> Call:
    return command(SevCmdId.LAUNCH_FINISH, sev_fd=sev_fd)


def _packet(identifier: SevCmdId, header: bytes, uaddr: int, data: bytes, sev_fd: int) -> Call:
    size = len(data)
    structure = KvmSevPacket(hdr_len=len(header), guest_uaddr=uaddr, guest_len=size, trans_len=size)
    return _reaching(identifier, structure, sev_fd, hdr_uaddr=header, trans_uaddr=data)


# Migration (SEV API 6.8 to 6.17)


def send_start(
    pdh: bytes,
    platform_certificates: bytes,
    amd_certificates: bytes,
    room: int = SESSION_SIZE,
    *,
    sev_fd: int = 0,
) -> Call:
    """To the platform with this PDH, PEK ‖ OCA ‖ CEK and ASK ‖ ARK; `room` is the session's, 0 a query."""
    structure = KvmSevSendStart(
        pdh_cert_len=len(pdh),
        plat_certs_len=len(platform_certificates),
        amd_certs_len=len(amd_certificates),
        session_len=room,
    )
    reached = {
        "pdh_cert_uaddr": pdh,
        "plat_certs_uaddr": platform_certificates,
        "amd_certs_uaddr": amd_certificates,
        "session_uaddr": bytes(room),
    }
    return _reaching(SevCmdId.SEND_START, structure, sev_fd, **reached)


def decode_send_start(memory: tuple[bytes, ...]) -> tuple[int, bytes]:
    """The guest's policy, and the session for the receiver."""
    raw = KvmSevSendStart.from_buffer_copy(memory[1])
    return raw.policy, memory[-1][: raw.session_len]


def send_update_data(uaddr: int, size: int, room: int = PACKET_HEADER_SIZE, *, sev_fd: int = 0) -> Call:
    """At most one page, inside one page; `room` for the header, 0 asks how much."""
    structure = KvmSevPacket(hdr_len=room, guest_uaddr=uaddr, guest_len=size, trans_len=size)
    reached = {"hdr_uaddr": bytes(room), "trans_uaddr": bytes(size)}
    return _reaching(SevCmdId.SEND_UPDATE_DATA, structure, sev_fd, **reached)


def decode_packet(memory: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Header and ciphertext, after SEND_UPDATE_DATA."""
    raw = KvmSevPacket.from_buffer_copy(memory[1])
    return memory[2][: raw.hdr_len], memory[3][: raw.trans_len]


def send_finish(*, sev_fd: int = 0) -> Call:
    return command(SevCmdId.SEND_FINISH, sev_fd=sev_fd)


def send_cancel(*, sev_fd: int = 0) -> Call:
    """The guest stays here, and runs on."""
    return command(SevCmdId.SEND_CANCEL, sev_fd=sev_fd)


def receive_start(policy: int, pdh: bytes, session: bytes, *, handle: int = 0, sev_fd: int = 0) -> Call:
    """`pdh` is the sender's certificate, 2084 bytes; `session` what its SEND_START gave, 128."""
    structure = KvmSevReceiveStart(handle=handle, policy=policy, pdh_len=len(pdh), session_len=len(session))
    return _reaching(SevCmdId.RECEIVE_START, structure, sev_fd, pdh_uaddr=pdh, session_uaddr=session)


def receive_update_data(header: bytes, uaddr: int, data: bytes, *, sev_fd: int = 0) -> Call:
    """A packet of SEND_UPDATE_DATA, inside one page."""
    return _packet(SevCmdId.RECEIVE_UPDATE_DATA, header, uaddr, data, sev_fd)


def receive_finish(*, sev_fd: int = 0) -> Call:
    return command(SevCmdId.RECEIVE_FINISH, sev_fd=sev_fd)


# A guest that is there


def attestation_report(mnonce: bytes, room: int = ATTESTATION_SIZE, *, sev_fd: int = 0) -> Call:
    """`mnonce` 16 bytes, the caller's; `room` 0 asks how much it takes (SEV API 6.18)."""
    if len(mnonce) != MNONCE_SIZE:
        raise ValueError("an mnonce is 16 bytes")
    structure = KvmSevAttestationReport(mnonce=(u8 * MNONCE_SIZE)(*mnonce), len=room)
    return _reaching(SevCmdId.GET_ATTESTATION_REPORT, structure, sev_fd, uaddr=bytes(room))


def decode_attestation_report(memory: tuple[bytes, ...]) -> bytes:
    return memory[2][: KvmSevAttestationReport.from_buffer_copy(memory[1]).len]


def dbg_decrypt(uaddr: int, size: int, *, sev_fd: int = 0) -> Call:
    """Guest memory as its guest sees it; only without the policy's NODBG."""
    structure = KvmSevDbg(src_uaddr=uaddr, len=size)
    return _reaching(SevCmdId.DBG_DECRYPT, structure, sev_fd, dst_uaddr=bytes(size))


def dbg_encrypt(uaddr: int, data: bytes, *, sev_fd: int = 0) -> Call:
    """Write into guest memory as its guest would."""
    structure = KvmSevDbg(dst_uaddr=uaddr, len=len(data))
    return _reaching(SevCmdId.DBG_ENCRYPT, structure, sev_fd, src_uaddr=data)


_LENGTHS: dict[str, tuple[type[Structure], str]] = {
    "LAUNCH_MEASURE": (KvmSevBlob, "len"),
    "GET_ATTESTATION_REPORT": (KvmSevAttestationReport, "len"),
    "SEND_START": (KvmSevSendStart, "session_len"),
    "SEND_UPDATE_DATA": (KvmSevPacket, "hdr_len"),
}


def needed_length(call: Call, result: Result) -> int:
    """After a query, which the firmware refuses with INVALID_LENGTH: how much room its answer takes.

    Of SEND_UPDATE_DATA it is the header's; the ciphertext is as long as its plaintext.
    """
    structure, field = _LENGTHS[call.name]
    return int(getattr(structure.from_buffer_copy(result.memory[1]), field))
