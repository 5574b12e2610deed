"""The SEV firmware's command buffers, byte for byte (SEV API 0.24, AMD 55766, 5.6 … 6.23; SEV.md A.4).

Packed, little-endian, named as in the kernel's ``include/linux/psp-sev.h`` (``sev_data_*``). Addresses are
system physical ones. The structures of ``/dev/sev`` and of KVM are others: `psp_sev`, `kvm_sev`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

from wasmkeep.hardware.psp_sev import FirmwareCommand, SevUserDataStatus

u8, u32, u64 = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64

INIT_FLAG_ES = 1 << 0  # of INIT and INIT_EX
INIT_EX_LENGTH = 0x24
NV_LENGTH = 0x8000  # bytes of the kernel's file for INIT_EX
NV_OWN_FLASH = (1 << 64) - 1  # an nv address of all ones: the firmware's own (SEV.md A.4, one source)
STATUS_OWNER = 1 << 0  # of SevUserDataStatus.flags: 0 self-owned, 1 externally
STATUS_ES = 1 << 8
CERTIFICATE_SIZE = 2084  # SEV certificate, version 1
CERTIFICATE_CHAIN_SIZE = 3 * CERTIFICATE_SIZE  # PEK ‖ OCA ‖ CEK
SESSION_SIZE = 128
MEASUREMENT_SIZE = 48  # MEASURE ‖ MNONCE
PACKET_HEADER_SIZE = 52
ATTESTATION_SIZE = 208
MNONCE_SIZE = 16


class SevPlatformState(IntEnum):
    """`state` of PLATFORM_STATUS (SEV API 5.1.2)."""

    UNINIT = 0
    INIT = 1
    WORKING = 2


class SevGuestState(IntEnum):
    """GSTATE (SEV API 6.1.1). UNINIT is also the answer of GUEST_STATUS to a handle that is none."""

    UNINIT = 0
    LUPDATE = 1
    LSECRET = 2
    RUNNING = 3
    SUPDATE = 4
    RUPDATE = 5
    SENT = 6


class CommandBuffer(ctypes.LittleEndianStructure):
    """A command buffer. Fields named `rsvd…` are zero."""

    _pack_ = 1
    _layout_: ClassVar[str] = "ms"  # what ctypes of 3.14 wants said beside _pack_; the layout is the same


class SevDataInit(CommandBuffer):
    flags: int
    tmr_address: int
    tmr_len: int
    _fields_ = (("flags", u32), ("rsvd", u32), ("tmr_address", u64), ("tmr_len", u32))


class SevDataInitEx(CommandBuffer):
    length: int
    flags: int
    tmr_address: int
    tmr_len: int
    nv_address: int
    nv_len: int
    _fields_ = (
        ("length", u32),
        ("flags", u32),
        ("tmr_address", u64),
        ("tmr_len", u32),
        ("rsvd", u32),
        ("nv_address", u64),
        ("nv_len", u32),
    )


class SevDataBlob(CommandBuffer):
    """PEK_CSR, GET_ID, DOWNLOAD_FIRMWARE: one buffer; `len` comes back from the first two."""

    address: int
    len: int
    _fields_ = (("address", u64), ("len", u32))


class SevDataPekCertImport(CommandBuffer):
    pek_cert_address: int
    pek_cert_len: int
    oca_cert_address: int
    oca_cert_len: int
    _fields_ = (
        ("pek_cert_address", u64),
        ("pek_cert_len", u32),
        ("rsvd", u32),
        ("oca_cert_address", u64),
        ("oca_cert_len", u32),
    )


class SevDataPdhCertExport(CommandBuffer):
    """Both lengths come back."""

    pdh_cert_address: int
    pdh_cert_len: int
    cert_chain_address: int
    cert_chain_len: int
    _fields_ = (
        ("pdh_cert_address", u64),
        ("pdh_cert_len", u32),
        ("rsvd", u32),
        ("cert_chain_address", u64),
        ("cert_chain_len", u32),
    )


class SevDataHandle(CommandBuffer):
    """DECOMMISSION, DEACTIVATE, LAUNCH_FINISH, SEND_FINISH, SEND_CANCEL, RECEIVE_FINISH."""

    handle: int
    _fields_ = (("handle", u32),)


class SevDataActivate(CommandBuffer):
    handle: int
    asid: int
    _fields_ = (("handle", u32), ("asid", u32))


class SevDataActivateEx(CommandBuffer):
    length: int
    handle: int
    asid: int
    numids: int
    ids: int
    _fields_ = (("length", u32), ("handle", u32), ("asid", u32), ("numids", u32), ("ids", u64))


class SevDataGuestStatus(CommandBuffer):
    """Everything but the handle comes back."""

    handle: int
    policy: int
    asid: int
    state: int
    _fields_ = (("handle", u32), ("policy", u32), ("asid", u32), ("state", u8))


class SevDataLaunchStart(CommandBuffer):
    """`handle` in: 0 draws a memory key, another shares that guest's; out: the new guest's."""

    handle: int
    policy: int
    dh_cert_address: int
    dh_cert_len: int
    session_address: int
    session_len: int
    _fields_ = (
        ("handle", u32),
        ("policy", u32),
        ("dh_cert_address", u64),
        ("dh_cert_len", u32),
        ("rsvd", u32),
        ("session_address", u64),
        ("session_len", u32),
    )


class SevDataRegion(CommandBuffer):
    """LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA, LAUNCH_MEASURE; `len` comes back from the last."""

    handle: int
    address: int
    len: int
    _fields_ = (("handle", u32), ("rsvd", u32), ("address", u64), ("len", u32))


class SevDataPacket(CommandBuffer):
    """LAUNCH_SECRET, SEND_UPDATE_DATA and _VMSA, RECEIVE_UPDATE_DATA and _VMSA.

    `hdr_len` and `trans_len` come back from SEND. Linux's ``sev_data_send_update_vmsa`` lacks `rsvd1`, alone
    among its sisters (SEV.md E-3); the specification has it.
    """

    handle: int
    hdr_address: int
    hdr_len: int
    guest_address: int
    guest_len: int
    trans_address: int
    trans_len: int
    _fields_ = (
        ("handle", u32),
        ("rsvd1", u32),
        ("hdr_address", u64),
        ("hdr_len", u32),
        ("rsvd2", u32),
        ("guest_address", u64),
        ("guest_len", u32),
        ("rsvd3", u32),
        ("trans_address", u64),
        ("trans_len", u32),
    )


class SevDataAttestation(CommandBuffer):
    """`len` comes back."""

    handle: int
    address: int
    mnonce: ctypes.Array[ctypes.c_uint8]
    len: int
    _fields_ = (("handle", u32), ("rsvd", u32), ("address", u64), ("mnonce", u8 * MNONCE_SIZE), ("len", u32))


class SevDataSendStart(CommandBuffer):
    """`policy` and `session_len` come back. `plat_certs` are PEK ‖ OCA ‖ CEK, `amd_certs` ASK ‖ ARK."""

    handle: int
    policy: int
    pdh_cert_address: int
    pdh_cert_len: int
    plat_certs_address: int
    plat_certs_len: int
    amd_certs_address: int
    amd_certs_len: int
    session_address: int
    session_len: int
    _fields_ = (
        ("handle", u32),
        ("policy", u32),
        ("pdh_cert_address", u64),
        ("pdh_cert_len", u32),
        ("rsvd1", u32),
        ("plat_certs_address", u64),
        ("plat_certs_len", u32),
        ("rsvd2", u32),
        ("amd_certs_address", u64),
        ("amd_certs_len", u32),
        ("rsvd3", u32),
        ("session_address", u64),
        ("session_len", u32),
    )


class SevDataReceiveStart(CommandBuffer):
    """`handle` as in LAUNCH_START."""

    handle: int
    policy: int
    pdh_cert_address: int
    pdh_cert_len: int
    session_address: int
    session_len: int
    _fields_ = (
        ("handle", u32),
        ("policy", u32),
        ("pdh_cert_address", u64),
        ("pdh_cert_len", u32),
        ("rsvd", u32),
        ("session_address", u64),
        ("session_len", u32),
    )


class SevDataDbg(CommandBuffer):
    handle: int
    src_address: int
    dst_address: int
    len: int
    _fields_ = (("handle", u32), ("rsvd", u32), ("src_address", u64), ("dst_address", u64), ("len", u32))


class SevDataCopy(CommandBuffer):
    handle: int
    len: int
    src_address: int
    dst_address: int
    _fields_ = (("handle", u32), ("len", u32), ("src_address", u64), ("dst_address", u64))


class NoBuffer(CommandBuffer):
    """SHUTDOWN, PLATFORM_RESET, PEK_GEN, PDH_GEN, DF_FLUSH."""

    _fields_ = ()


Buffer = type[ctypes.LittleEndianStructure]
_ = FirmwareCommand
COMMAND_BUFFERS: Mapping[FirmwareCommand, Buffer] = {
    _.INIT: SevDataInit,
    _.INIT_EX: SevDataInitEx,
    _.SHUTDOWN: NoBuffer,
    _.PLATFORM_RESET: NoBuffer,
    _.PLATFORM_STATUS: SevUserDataStatus,
    _.GET_ID: SevDataBlob,
    _.DOWNLOAD_FIRMWARE: SevDataBlob,
    _.PEK_GEN: NoBuffer,
    _.PEK_CSR: SevDataBlob,
    _.PEK_CERT_IMPORT: SevDataPekCertImport,
    _.PDH_GEN: NoBuffer,
    _.PDH_CERT_EXPORT: SevDataPdhCertExport,
    _.DF_FLUSH: NoBuffer,
    _.LAUNCH_START: SevDataLaunchStart,
    _.LAUNCH_UPDATE_DATA: SevDataRegion,
    _.LAUNCH_UPDATE_VMSA: SevDataRegion,
    _.LAUNCH_MEASURE: SevDataRegion,
    _.LAUNCH_SECRET: SevDataPacket,
    _.LAUNCH_FINISH: SevDataHandle,
    _.ACTIVATE: SevDataActivate,
    _.ACTIVATE_EX: SevDataActivateEx,
    _.DEACTIVATE: SevDataHandle,
    _.DECOMMISSION: SevDataHandle,
    _.GUEST_STATUS: SevDataGuestStatus,
    _.ATTESTATION: SevDataAttestation,
    _.COPY: SevDataCopy,
    _.SEND_START: SevDataSendStart,
    _.SEND_UPDATE_DATA: SevDataPacket,
    _.SEND_UPDATE_VMSA: SevDataPacket,
    _.SEND_FINISH: SevDataHandle,
    _.SEND_CANCEL: SevDataHandle,
    _.RECEIVE_START: SevDataReceiveStart,
    _.RECEIVE_UPDATE_DATA: SevDataPacket,
    _.RECEIVE_UPDATE_VMSA: SevDataPacket,
    _.RECEIVE_FINISH: SevDataHandle,
    _.DBG_DECRYPT: SevDataDbg,
    _.DBG_ENCRYPT: SevDataDbg,
}
