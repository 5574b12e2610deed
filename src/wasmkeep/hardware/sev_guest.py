"""``/dev/sev-guest``: what a Linux guest asks its secure processor (kernel uapi ``linux/sev-guest.h``)."""

from __future__ import annotations

import ctypes

from wasmkeep.hardware.ioctl import iowr

u8, u32, u64 = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64

REPORT_USER_DATA_SIZE = 64


class SnpReportReq(ctypes.LittleEndianStructure):
    """MSG_REPORT_REQ, whose `key_select` the kernel passes on where its header says `rsvd`."""

    _fields_ = (("user_data", u8 * REPORT_USER_DATA_SIZE), ("vmpl", u32), ("rsvd", u8 * 28))


class SnpReportResp(ctypes.LittleEndianStructure):
    """`data` begins with MSG_REPORT_RSP (`snp_messages.ReportResponse`)."""

    _fields_ = (("data", u8 * 4000),)


class SnpDerivedKeyReq(ctypes.LittleEndianStructure):
    """MSG_KEY_REQ version 1."""

    _fields_ = (
        ("root_key_select", u32),
        ("rsvd", u32),
        ("guest_field_select", u64),
        ("vmpl", u32),
        ("guest_svn", u32),
        ("tcb_version", u64),
    )


class SnpDerivedKeyResp(ctypes.LittleEndianStructure):
    """MSG_KEY_RSP."""

    _fields_ = (("data", u8 * 64),)


class SnpGuestRequestIoctl(ctypes.LittleEndianStructure):
    """`exitinfo2`: low half the firmware's status, high half the hypervisor's, one of `VMM_…`.

    The kernel writes it back where it is not zero, so after a success it is what the caller had put there.
    """

    exitinfo2: int
    _fields_ = (("msg_version", u8), ("req_data", u64), ("resp_data", u64), ("exitinfo2", u64))


class SnpExtReportReq(ctypes.LittleEndianStructure):
    """`certs_len`: whole pages, at most `CERTIFICATES_MAX`. Where they are too few, the kernel writes how
    many bytes the host's certificates take.
    """

    certs_len: int
    _fields_ = (("data", SnpReportReq), ("certs_address", u64), ("certs_len", u32))


SNP_GET_REPORT = iowr(ord("S"), 0, SnpGuestRequestIoctl)
SNP_GET_DERIVED_KEY = iowr(ord("S"), 1, SnpGuestRequestIoctl)
SNP_GET_EXT_REPORT = iowr(ord("S"), 2, SnpGuestRequestIoctl)

VMM_INVALID_LEN = 1
VMM_BUSY = 2
CERTIFICATES_MAX = 0x4000  # the kernel refuses more room (SEV_FW_BLOB_MAX_SIZE)
EXITINFO2_UNSET = 0xFF  # what the kernel presets, so that an answer that never came is seen
