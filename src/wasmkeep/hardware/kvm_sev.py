"""KVM's SEV calls: ``KVM_MEMORY_ENCRYPT_OP`` and its commands (kernel uapi ``asm/kvm.h``, x86).

Only the SNP launch is built here; the ids and numbers of SEV's own commands are listed for their time.
"""

from __future__ import annotations

import ctypes
import errno
from enum import IntEnum

from wasmkeep.hardware.calls import Call, File, IoctlRefused, Pointer, Result
from wasmkeep.hardware.ioctl import iowr
from wasmkeep.hardware.sev_status import FirmwareError

u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64

_KVMIO = 0xAE
# The header declares the argument as `unsigned long`, and passes a kvm_sev_cmd.
KVM_MEMORY_ENCRYPT_OP = iowr(_KVMIO, 0xBA, 8)

PAGE = 4096
ID_BLOCK_SIZE = 96
ID_AUTH_SIZE = 4096
HOST_DATA_SIZE = 32
GOSVW_SIZE = 16
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


class SnpPageType(IntEnum):
    """Page types of SNP_LAUNCH_UPDATE (SNP firmware ABI 8). KVM adds VMSA pages itself, at LAUNCH_FINISH."""

    NORMAL = 1
    VMSA = 2
    ZERO = 3
    UNMEASURED = 4
    SECRETS = 5
    CPUID = 6


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


class KvmSevSnpLaunchStart(ctypes.LittleEndianStructure):
    """64 bytes."""

    policy: int
    gosvw: ctypes.Array[ctypes.c_uint8]
    flags: int
    pad0: ctypes.Array[ctypes.c_uint8]
    pad1: ctypes.Array[ctypes.c_uint64]
    _fields_ = (
        ("policy", u64),
        ("gosvw", u8 * GOSVW_SIZE),
        ("flags", u16),
        ("pad0", u8 * 6),
        ("pad1", u64 * 4),
    )


class KvmSevSnpLaunchUpdate(ctypes.LittleEndianStructure):
    """64 bytes. After partial progress the kernel has advanced gfn_start, uaddr and len."""

    gfn_start: int
    uaddr: int
    len: int
    type: int
    pad0: int
    flags: int
    pad1: int
    pad2: ctypes.Array[ctypes.c_uint64]
    _fields_ = (
        ("gfn_start", u64),
        ("uaddr", u64),
        ("len", u64),
        ("type", u8),
        ("pad0", u8),
        ("flags", u16),
        ("pad1", u32),
        ("pad2", u64 * 4),
    )


class KvmSevSnpLaunchFinish(ctypes.LittleEndianStructure):
    """88 bytes."""

    id_block_uaddr: int
    id_auth_uaddr: int
    id_block_en: int
    auth_key_en: int
    vcek_disabled: int
    host_data: ctypes.Array[ctypes.c_uint8]
    pad0: ctypes.Array[ctypes.c_uint8]
    flags: int
    pad1: ctypes.Array[ctypes.c_uint64]
    _fields_ = (
        ("id_block_uaddr", u64),
        ("id_auth_uaddr", u64),
        ("id_block_en", u8),
        ("auth_key_en", u8),
        ("vcek_disabled", u8),
        ("host_data", u8 * HOST_DATA_SIZE),
        ("pad0", u8 * 3),
        ("flags", u16),
        ("pad1", u64 * 4),
    )


_DATA = 8  # offset of KvmSevCmd.data
_UPDATE_UADDR = 8  # of KvmSevSnpLaunchUpdate.uaddr
_FINISH_ID_BLOCK, _FINISH_ID_AUTH = 0, 8  # of KvmSevSnpLaunchFinish


def _command(identifier: SevCmdId, *memory: bytes, pointers: tuple[Pointer, ...] = (), sev_fd: int) -> Call:
    argument = bytes(KvmSevCmd(id=identifier, sev_fd=sev_fd))
    return Call(
        identifier.name,
        File.VM,
        KVM_MEMORY_ENCRYPT_OP,
        (argument, *memory),
        (Pointer(0, _DATA, 1), *pointers) if memory else (),
    )


def init2(*, vmsa_features: int = 0, sev_fd: int = 0) -> Call:
    """Make the VM an SEV one. KVM adds the SNP bit to `vmsa_features` itself."""
    structure = KvmSevInit(vmsa_features=vmsa_features, ghcb_version=GHCB_VERSION)
    return _command(SevCmdId.INIT2, bytes(structure), sev_fd=sev_fd)


def snp_launch_start(policy: int, gosvw: bytes = bytes(GOSVW_SIZE), *, sev_fd: int = 0) -> Call:
    structure = KvmSevSnpLaunchStart(policy=policy, gosvw=(u8 * GOSVW_SIZE)(*gosvw))
    return _command(SevCmdId.SNP_LAUNCH_START, bytes(structure), sev_fd=sev_fd)


def snp_launch_update(gpa: int, data: bytes | None, size: int, page_type: int, *, sev_fd: int = 0) -> Call:
    """Launch `size` bytes at address `gpa`; `data` None where the type carries none (ZERO, SECRETS …)."""
    if gpa % PAGE or size % PAGE:
        raise ValueError("launch regions are whole pages")
    if data is not None and len(data) != size:
        raise ValueError("the data is not as long as the region")
    structure = KvmSevSnpLaunchUpdate(gfn_start=gpa // PAGE, len=size, type=page_type)
    if data is None:
        return _command(SevCmdId.SNP_LAUNCH_UPDATE, bytes(structure), sev_fd=sev_fd)
    return _command(
        SevCmdId.SNP_LAUNCH_UPDATE,
        bytes(structure),
        data,
        pointers=(Pointer(1, _UPDATE_UADDR, 2),),
        sev_fd=sev_fd,
    )


def snp_launch_finish(
    host_data: bytes,
    id_block: bytes | None = None,
    id_auth: bytes | None = None,
    *,
    auth_key_en: bool = False,
    vcek_disabled: bool = False,
    sev_fd: int = 0,
) -> Call:
    """`host_data` 32 bytes; `id_block` 96 and `id_auth` 4096 bytes, both or neither."""
    if len(host_data) != HOST_DATA_SIZE:
        raise ValueError("host data is 32 bytes")
    structure = KvmSevSnpLaunchFinish(
        host_data=(u8 * HOST_DATA_SIZE)(*host_data), auth_key_en=auth_key_en, vcek_disabled=vcek_disabled
    )
    if id_block is None or id_auth is None:
        if id_block is not id_auth:
            raise ValueError("an ID block goes with its authentication information")
        return _command(SevCmdId.SNP_LAUNCH_FINISH, bytes(structure), sev_fd=sev_fd)
    if len(id_block) != ID_BLOCK_SIZE or len(id_auth) != ID_AUTH_SIZE:
        raise ValueError("an ID block is 96 bytes, its authentication information 4096")
    structure.id_block_en = 1
    return _command(
        SevCmdId.SNP_LAUNCH_FINISH,
        bytes(structure),
        id_block,
        id_auth,
        pointers=(Pointer(1, _FINISH_ID_BLOCK, 2), Pointer(1, _FINISH_ID_AUTH, 3)),
        sev_fd=sev_fd,
    )


def check(call: Call, result: Result) -> tuple[bytes, ...]:
    """The segments after a successful KVM_MEMORY_ENCRYPT_OP. Raises `FirmwareError` or `IoctlRefused`."""
    if result.value < 0:
        status = KvmSevCmd.from_buffer_copy(result.memory[0]).error
        if result.value == -errno.EIO and status:
            raise FirmwareError(call.name, status)
        raise IoctlRefused(call.name, -result.value)
    return result.memory
