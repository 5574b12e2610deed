"""``/dev/sev``: the platform's commands (kernel uapi ``linux/psp-sev.h``).

One ioctl, ``SEV_ISSUE_CMD``. The structures are the kernel's *user* structures, packed, little-endian; they
lack the reserved words of the firmware's own command buffers (SEV API 5, SNP firmware ABI 8).
"""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from wasmkeep.hardware.calls import Call, File, IoctlRefused, Pointer, Result
from wasmkeep.hardware.ioctl import iowr
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus

u8, u32, u64 = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64

CHIP_ID_SIZE = 64
MAX_BLOB = 0x4000  # the kernel refuses larger blobs (SEV_FW_BLOB_MAX_SIZE)


class SevCommand(IntEnum):
    """``cmd`` of `SevIssueCmd`. Not the firmware's command ids, which are `FirmwareCommand`."""

    FACTORY_RESET = 0
    PLATFORM_STATUS = 1
    PEK_GEN = 2
    PEK_CSR = 3
    PDH_GEN = 4
    PDH_CERT_EXPORT = 5
    PEK_CERT_IMPORT = 6
    GET_ID = 7
    GET_ID2 = 8
    SNP_PLATFORM_STATUS = 9
    SNP_COMMIT = 10
    SNP_SET_CONFIG = 11
    SNP_VLEK_LOAD = 12


class FirmwareCommand(IntEnum):
    """Command ids of the firmware's mailbox (SEV API 0.24, 4.3; SNP firmware ABI 8, those used here)."""

    INIT = 0x01
    SHUTDOWN = 0x02
    PLATFORM_RESET = 0x03
    PLATFORM_STATUS = 0x04
    PEK_GEN = 0x05
    PEK_CSR = 0x06
    PEK_CERT_IMPORT = 0x07
    PDH_CERT_EXPORT = 0x08
    PDH_GEN = 0x09
    DF_FLUSH = 0x0A
    DOWNLOAD_FIRMWARE = 0x0B
    GET_ID = 0x0C
    INIT_EX = 0x0D
    NOP = 0x0E
    RING_BUFFER = 0x0F
    DECOMMISSION = 0x20
    ACTIVATE = 0x21
    DEACTIVATE = 0x22
    GUEST_STATUS = 0x23
    COPY = 0x24
    ACTIVATE_EX = 0x25
    LAUNCH_START = 0x30
    LAUNCH_UPDATE_DATA = 0x31
    LAUNCH_UPDATE_VMSA = 0x32
    LAUNCH_MEASURE = 0x33
    LAUNCH_SECRET = 0x34
    LAUNCH_FINISH = 0x35
    ATTESTATION = 0x36
    SEND_START = 0x40
    SEND_UPDATE_DATA = 0x41
    SEND_UPDATE_VMSA = 0x42
    SEND_FINISH = 0x43
    SEND_CANCEL = 0x44
    RECEIVE_START = 0x50
    RECEIVE_UPDATE_DATA = 0x51
    RECEIVE_UPDATE_VMSA = 0x52
    RECEIVE_FINISH = 0x53
    DBG_DECRYPT = 0x60
    DBG_ENCRYPT = 0x61
    SWAP_OUT = 0x70
    SWAP_IN = 0x71
    SNP_PLATFORM_STATUS = 0x83
    SNP_DF_FLUSH = 0x84
    SNP_DECOMMISSION = 0x90
    SNP_ACTIVATE = 0x91
    SNP_GUEST_STATUS = 0x92
    SNP_GCTX_CREATE = 0x93
    SNP_GUEST_REQUEST = 0x94
    SNP_LAUNCH_START = 0xA0
    SNP_LAUNCH_UPDATE = 0xA1
    SNP_LAUNCH_FINISH = 0xA2
    SNP_CONFIG = 0xC9
    SNP_COMMIT = 0xCB
    SNP_VLEK_LOAD = 0xCD


class _Packed(ctypes.LittleEndianStructure):
    _pack_ = 1
    _layout_: ClassVar[str] = "ms"  # what ctypes of 3.14 wants said beside _pack_; the layout is the same


class SevIssueCmd(_Packed):
    cmd: int
    data: int
    error: int
    _fields_ = (("cmd", u32), ("data", u64), ("error", u32))


class SevUserDataStatus(_Packed):
    """SEV PLATFORM_STATUS, 12 bytes."""

    _fields_ = (
        ("api_major", u8),
        ("api_minor", u8),
        ("state", u8),
        ("flags", u32),
        ("build", u8),
        ("guest_count", u32),
    )


class SevUserDataPekCsr(_Packed):
    address: int
    length: int
    _fields_ = (("address", u64), ("length", u32))


class SevUserDataPdhCertExport(_Packed):
    pdh_cert_address: int
    pdh_cert_len: int
    cert_chain_address: int
    cert_chain_len: int
    _fields_ = (
        ("pdh_cert_address", u64),
        ("pdh_cert_len", u32),
        ("cert_chain_address", u64),
        ("cert_chain_len", u32),
    )


class SevUserDataPekCertImport(_Packed):
    pek_cert_address: int
    pek_cert_len: int
    oca_cert_address: int
    oca_cert_len: int
    _fields_ = (
        ("pek_cert_address", u64),
        ("pek_cert_len", u32),
        ("oca_cert_address", u64),
        ("oca_cert_len", u32),
    )


class SevUserDataGetId(_Packed):
    _fields_ = (("socket1", u8 * CHIP_ID_SIZE), ("socket2", u8 * CHIP_ID_SIZE))


class SevUserDataGetId2(_Packed):
    address: int
    length: int
    _fields_ = (("address", u64), ("length", u32))


class SevUserDataSnpStatus(_Packed):
    """SNP_PLATFORM_STATUS, 32 bytes. The bit fields are kept as whole integers: `rmp` and `flags`."""

    api_major: int
    api_minor: int
    state: int
    rmp: int
    build_id: int
    flags: int
    guest_count: int
    current_tcb_version: int
    reported_tcb_version: int
    _fields_ = (
        ("api_major", u8),
        ("api_minor", u8),
        ("state", u8),
        ("rmp", u8),
        ("build_id", u32),
        ("flags", u32),
        ("guest_count", u32),
        ("current_tcb_version", u64),
        ("reported_tcb_version", u64),
    )


class SevUserDataSnpConfig(_Packed):
    """SNP_SET_CONFIG, 64 bytes; `flags` bit 0 MASK_CHIP_ID, bit 1 MASK_CHIP_KEY."""

    reported_tcb: int
    flags: int
    rsvd1: ctypes.Array[ctypes.c_uint8]
    _fields_ = (("reported_tcb", u64), ("flags", u32), ("rsvd1", u8 * 52))


class SevUserDataSnpVlekLoad(_Packed):
    _fields_ = (
        ("len", u32),
        ("vlek_wrapped_version", u8),
        ("rsvd", u8 * 3),
        ("vlek_wrapped_address", u64),
    )


_ISSUE_DATA = 4  # offset of SevIssueCmd.data
SEV_ISSUE_CMD = iowr(ord("S"), 0, SevIssueCmd)

MASK_CHIP_ID = 1 << 0
MASK_CHIP_KEY = 1 << 1
VLEK_EN = 1 << 2
RAPL_DIS = 1 << 4
CIPHERTEXT_HIDING_EN = 1 << 6
RMP_INITIALIZED = 1 << 0  # of SevUserDataSnpStatus.rmp


class PlatformState(IntEnum):
    """SNP platform states (SNP firmware ABI 5)."""

    UNINIT = 0
    INIT = 1


@dataclass(frozen=True, slots=True)
class SnpPlatformStatus:
    """SNP_PLATFORM_STATUS as people use it; TCBs are u64 as in the report."""

    api_major: int
    api_minor: int
    build: int
    initialized: bool
    guest_count: int
    current_tcb: int
    reported_tcb: int
    mask_chip_id: bool
    mask_chip_key: bool
    vlek_loaded: bool
    rmp_initialized: bool
    rapl_disabled: bool
    ciphertext_hiding: bool


def issue(name: str, command: SevCommand, *memory: bytes, pointers: tuple[Pointer, ...] = ()) -> Call:
    """`memory` begins with the command's structure, segment 1; `pointers` are those inside it."""
    argument = bytes(SevIssueCmd(cmd=command))
    reach = (Pointer(0, _ISSUE_DATA, 1), *pointers) if memory else ()
    return Call(name, File.SEV, SEV_ISSUE_CMD, (argument, *memory), reach)


def snp_platform_status() -> Call:
    return issue(
        "SNP_PLATFORM_STATUS", SevCommand.SNP_PLATFORM_STATUS, bytes(ctypes.sizeof(SevUserDataSnpStatus))
    )


def snp_commit() -> Call:
    return issue("SNP_COMMIT", SevCommand.SNP_COMMIT)


def snp_set_config(*, reported_tcb: int, mask_chip_id: bool = False, mask_chip_key: bool = False) -> Call:
    """`reported_tcb` 0 means the committed one. Every component is at most the committed one's."""
    flags = MASK_CHIP_ID * mask_chip_id | MASK_CHIP_KEY * mask_chip_key
    config = SevUserDataSnpConfig(reported_tcb=reported_tcb, flags=flags)
    return issue("SNP_SET_CONFIG", SevCommand.SNP_SET_CONFIG, bytes(config))


def get_id(length: int = CHIP_ID_SIZE) -> Call:
    """GET_ID2: `length` bytes of room; 64 a populated socket are needed."""
    request = bytes(SevUserDataGetId2(length=length))
    return issue(
        "GET_ID", SevCommand.GET_ID2, request, bytes(length), pointers=(Pointer(1, 0, 2),) if length else ()
    )


def check(call: Call, result: Result) -> tuple[bytes, ...]:
    """The segments after a successful SEV_ISSUE_CMD. Raises `FirmwareError` or `IoctlRefused`."""
    if result.value < 0:
        status = SevIssueCmd.from_buffer_copy(result.memory[0]).error
        if result.value == -errno.EIO and status not in (0, SevStatus.NO_FW_CALL & 0xFFFFFFFF):
            raise FirmwareError(call.name, status)
        raise IoctlRefused(call.name, -result.value)
    return result.memory


def decode_status(memory: tuple[bytes, ...]) -> SnpPlatformStatus:
    raw = SevUserDataSnpStatus.from_buffer_copy(memory[1])
    return SnpPlatformStatus(
        api_major=raw.api_major,
        api_minor=raw.api_minor,
        build=raw.build_id,
        initialized=raw.state == PlatformState.INIT,
        guest_count=raw.guest_count,
        current_tcb=raw.current_tcb_version,
        reported_tcb=raw.reported_tcb_version,
        mask_chip_id=bool(raw.flags & MASK_CHIP_ID),
        mask_chip_key=bool(raw.flags & MASK_CHIP_KEY),
        vlek_loaded=bool(raw.flags & VLEK_EN),
        rmp_initialized=bool(raw.rmp & RMP_INITIALIZED),
        rapl_disabled=bool(raw.flags & RAPL_DIS),
        ciphertext_hiding=bool(raw.flags & CIPHERTEXT_HIDING_EN),
    )


def decode_id(memory: tuple[bytes, ...]) -> bytes:
    return memory[2][:CHIP_ID_SIZE]
