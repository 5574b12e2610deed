"""KVM's SNP launch: the commands of ``KVM_MEMORY_ENCRYPT_OP`` that an SNP virtual machine takes, and no other
(kernel uapi ``asm/kvm.h``, x86; SNP firmware ABI 8).
"""

from __future__ import annotations

import ctypes
from enum import IntEnum

from wasmkeep.hardware.calls import Call, Pointer
from wasmkeep.hardware.kvm_sev import PAGE, SevCmdId, command

u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64

ID_BLOCK_SIZE = 96
ID_AUTH_SIZE = 4096
HOST_DATA_SIZE = 32
GOSVW_SIZE = 16


class SnpPageType(IntEnum):
    """Page types of SNP_LAUNCH_UPDATE (SNP firmware ABI 8). KVM adds VMSA pages itself, at LAUNCH_FINISH."""

    NORMAL = 1
    VMSA = 2
    ZERO = 3
    UNMEASURED = 4
    SECRETS = 5
    CPUID = 6


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


_UPDATE_UADDR = 8  # offset in KvmSevSnpLaunchUpdate
_FINISH_ID_BLOCK, _FINISH_ID_AUTH = 0, 8  # offsets in KvmSevSnpLaunchFinish


def snp_launch_start(policy: int, gosvw: bytes = bytes(GOSVW_SIZE), *, sev_fd: int = 0) -> Call:
    structure = KvmSevSnpLaunchStart(policy=policy, gosvw=(u8 * GOSVW_SIZE)(*gosvw))
    return command(SevCmdId.SNP_LAUNCH_START, bytes(structure), sev_fd=sev_fd)


def snp_launch_update(gpa: int, data: bytes | None, size: int, page_type: int, *, sev_fd: int = 0) -> Call:
    """Launch `size` bytes at address `gpa`; `data` None where the type carries none (ZERO, SECRETS …)."""
    if gpa % PAGE or size % PAGE:
        raise ValueError("launch regions are whole pages")
    if data is not None and len(data) != size:
        raise ValueError("the data is not as long as the region")
    structure = KvmSevSnpLaunchUpdate(gfn_start=gpa // PAGE, len=size, type=page_type)
    if data is None:
        return command(SevCmdId.SNP_LAUNCH_UPDATE, bytes(structure), sev_fd=sev_fd)
    return command(
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
        return command(SevCmdId.SNP_LAUNCH_FINISH, bytes(structure), sev_fd=sev_fd)
    if len(id_block) != ID_BLOCK_SIZE or len(id_auth) != ID_AUTH_SIZE:
        raise ValueError("an ID block is 96 bytes, its authentication information 4096")
    structure.id_block_en = 1
    return command(
        SevCmdId.SNP_LAUNCH_FINISH,
        bytes(structure),
        id_block,
        id_auth,
        pointers=(Pointer(1, _FINISH_ID_BLOCK, 2), Pointer(1, _FINISH_ID_AUTH, 3)),
        sev_fd=sev_fd,
    )
