"""KVM's SEV calls: ``KVM_MEMORY_ENCRYPT_OP``, its command ids and structures (uapi ``asm/kvm.h``, x86).

The commands of SEV and SEV-ES guests are built in `kvm_sev_calls`, the SNP launch in `kvm_snp`.
"""

from __future__ import annotations

import ctypes
import errno
from enum import IntEnum

from wasmkeep.hardware.calls import Call, File, IoctlRefused, Pointer, Result
from wasmkeep.hardware.ioctl import ior, iowr
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus

u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64

_KVMIO = 0xAE
# The header declares the argument as `unsigned long`, and passes a kvm_sev_cmd.
KVM_MEMORY_ENCRYPT_OP = iowr(_KVMIO, 0xBA, 8)

PAGE = 4096
GHCB_VERSION = 2


class VmType(IntEnum):
    """Argument of KVM_CREATE_VM on x86."""

    DEFAULT = 0
    SW_PROTECTED = 1
    SEV = 2
    SEV_ES = 3
    SNP = 4
    TDX = 5


class SevCmdId(IntEnum):
    """``enum sev_cmd_id``."""

    INIT = 0
    ES_INIT = 1
    LAUNCH_START = 2
    LAUNCH_UPDATE_DATA = 3
    LAUNCH_UPDATE_VMSA = 4
    LAUNCH_SECRET = 5
    LAUNCH_MEASURE = 6
    LAUNCH_FINISH = 7
    SEND_START = 8
    SEND_UPDATE_DATA = 9
    SEND_UPDATE_VMSA = 10
    SEND_FINISH = 11
    RECEIVE_START = 12
    RECEIVE_UPDATE_DATA = 13
    RECEIVE_UPDATE_VMSA = 14
    RECEIVE_FINISH = 15
    GUEST_STATUS = 16
    DBG_DECRYPT = 17
    DBG_ENCRYPT = 18
    CERT_EXPORT = 19
    GET_ATTESTATION_REPORT = 20
    SEND_CANCEL = 21
    INIT2 = 22
    SNP_LAUNCH_START = 100
    SNP_LAUNCH_UPDATE = 101
    SNP_LAUNCH_FINISH = 102
    SNP_ENABLE_REQ_CERTS = 103


class KvmSevCmd(ctypes.LittleEndianStructure):
    id: int
    pad0: int
    data: int
    error: int
    sev_fd: int
    _fields_ = (("id", u32), ("pad0", u32), ("data", u64), ("error", u32), ("sev_fd", u32))


class KvmSevInit(ctypes.LittleEndianStructure):
    """INIT2, 48 bytes."""

    vmsa_features: int
    flags: int
    ghcb_version: int
    pad1: int
    pad2: ctypes.Array[ctypes.c_uint32]
    _fields_ = (
        ("vmsa_features", u64),
        ("flags", u32),
        ("ghcb_version", u16),
        ("pad1", u16),
        ("pad2", u32 * 8),
    )


class KvmSevLaunchStart(ctypes.LittleEndianStructure):
    """40 bytes. `handle` in: 0, or the guest to share a memory key with; out: the new guest's."""

    handle: int
    policy: int
    dh_uaddr: int
    dh_len: int
    session_uaddr: int
    session_len: int
    _fields_ = (
        ("handle", u32),
        ("policy", u32),
        ("dh_uaddr", u64),
        ("dh_len", u32),
        ("pad0", u32),
        ("session_uaddr", u64),
        ("session_len", u32),
        ("pad1", u32),
    )


class KvmSevBlob(ctypes.LittleEndianStructure):
    """LAUNCH_UPDATE_DATA and LAUNCH_MEASURE, 16 bytes each."""

    uaddr: int
    len: int
    _fields_ = (("uaddr", u64), ("len", u32), ("pad0", u32))


class KvmSevPacket(ctypes.LittleEndianStructure):
    """LAUNCH_SECRET, SEND_UPDATE_DATA, RECEIVE_UPDATE_DATA, 48 bytes each: header, memory, ciphertext."""

    hdr_uaddr: int
    hdr_len: int
    guest_uaddr: int
    guest_len: int
    trans_uaddr: int
    trans_len: int
    _fields_ = (
        ("hdr_uaddr", u64),
        ("hdr_len", u32),
        ("pad0", u32),
        ("guest_uaddr", u64),
        ("guest_len", u32),
        ("pad1", u32),
        ("trans_uaddr", u64),
        ("trans_len", u32),
        ("pad2", u32),
    )


class KvmSevGuestStatus(ctypes.LittleEndianStructure):
    handle: int
    policy: int
    state: int
    _fields_ = (("handle", u32), ("policy", u32), ("state", u32))


class KvmSevDbg(ctypes.LittleEndianStructure):
    src_uaddr: int
    dst_uaddr: int
    len: int
    _fields_ = (("src_uaddr", u64), ("dst_uaddr", u64), ("len", u32), ("pad0", u32))


class KvmSevAttestationReport(ctypes.LittleEndianStructure):
    mnonce: ctypes.Array[ctypes.c_uint8]
    uaddr: int
    len: int
    _fields_ = (("mnonce", u8 * 16), ("uaddr", u64), ("len", u32), ("pad0", u32))


class KvmSevSendStart(ctypes.LittleEndianStructure):
    """72 bytes. `policy` comes back; so does `session_len`."""

    policy: int
    pdh_cert_uaddr: int
    pdh_cert_len: int
    plat_certs_uaddr: int
    plat_certs_len: int
    amd_certs_uaddr: int
    amd_certs_len: int
    session_uaddr: int
    session_len: int
    _fields_ = (
        ("policy", u32),
        ("pad0", u32),
        ("pdh_cert_uaddr", u64),
        ("pdh_cert_len", u32),
        ("pad1", u32),
        ("plat_certs_uaddr", u64),
        ("plat_certs_len", u32),
        ("pad2", u32),
        ("amd_certs_uaddr", u64),
        ("amd_certs_len", u32),
        ("pad3", u32),
        ("session_uaddr", u64),
        ("session_len", u32),
        ("pad4", u32),
    )


class KvmSevReceiveStart(ctypes.LittleEndianStructure):
    """40 bytes. `handle` as in LAUNCH_START."""

    handle: int
    policy: int
    pdh_uaddr: int
    pdh_len: int
    session_uaddr: int
    session_len: int
    _fields_ = (
        ("handle", u32),
        ("policy", u32),
        ("pdh_uaddr", u64),
        ("pdh_len", u32),
        ("pad0", u32),
        ("session_uaddr", u64),
        ("session_len", u32),
        ("pad1", u32),
    )


class KvmEncRegion(ctypes.LittleEndianStructure):
    """Argument of KVM_MEMORY_ENCRYPT_REG_REGION and UNREG_REGION."""

    addr: int
    size: int
    _fields_ = (("addr", u64), ("size", u64))


KVM_MEMORY_ENCRYPT_REG_REGION = ior(_KVMIO, 0xBB, KvmEncRegion)
KVM_MEMORY_ENCRYPT_UNREG_REGION = ior(_KVMIO, 0xBC, KvmEncRegion)

_DATA = 8  # offset of KvmSevCmd.data


def command(
    identifier: SevCmdId, *memory: bytes, pointers: tuple[Pointer, ...] = (), sev_fd: int = 0
) -> Call:
    """`memory` begins with the command's structure, segment 1; `pointers` are those inside it."""
    argument = bytes(KvmSevCmd(id=identifier, sev_fd=sev_fd))
    return Call(
        identifier.name,
        File.VM,
        KVM_MEMORY_ENCRYPT_OP,
        (argument, *memory),
        (Pointer(0, _DATA, 1), *pointers) if memory else (),
    )


_INITIALISING = frozenset((SevCmdId.INIT.name, SevCmdId.ES_INIT.name, SevCmdId.INIT2.name))


def check(call: Call, result: Result) -> tuple[bytes, ...]:
    """The segments after a successful call on a VM. Raises `FirmwareError` or `IoctlRefused`.

    KVM hands ASIDs out itself, when a VM is initialised, and says EBUSY where none is left: to whoever asked
    that is RESOURCE_LIMIT, which the firmware says of its own table.
    """
    if result.value < 0:
        if call.number != KVM_MEMORY_ENCRYPT_OP:
            raise IoctlRefused(call.name, -result.value)
        status = KvmSevCmd.from_buffer_copy(result.memory[0]).error
        if result.value == -errno.EIO and status:
            raise FirmwareError(call.name, status)
        if result.value == -errno.EBUSY and call.name in _INITIALISING:
            raise FirmwareError(call.name, SevStatus.RESOURCE_LIMIT)
        raise IoctlRefused(call.name, -result.value)
    return result.memory
