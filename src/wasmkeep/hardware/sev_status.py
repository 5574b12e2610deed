"""Status codes of the secure processor's firmware and the error that carries one.

Source: SEV API 4.4 (AMD publication 55766), SNP firmware ABI (56860), kernel ``linux/psp-sev.h``
``sev_ret_code``. Names are the specification's; the kernel's spelling differs in a few (``INVALID_LEN``,
``HWSEV_RET_PLATFORM``).
"""

from __future__ import annotations

from enum import IntEnum

from wasmkeep.errors import SystemFailure


class SevStatus(IntEnum):
    """What the firmware answered to a command; −1 is the kernel's own: the firmware was never asked."""

    NO_FW_CALL = -1
    SUCCESS = 0x00
    INVALID_PLATFORM_STATE = 0x01
    INVALID_GUEST_STATE = 0x02
    INVALID_CONFIG = 0x03
    INVALID_LENGTH = 0x04
    ALREADY_OWNED = 0x05
    INVALID_CERTIFICATE = 0x06
    POLICY_FAILURE = 0x07
    INACTIVE = 0x08
    INVALID_ADDRESS = 0x09
    BAD_SIGNATURE = 0x0A
    BAD_MEASUREMENT = 0x0B
    ASID_OWNED = 0x0C
    INVALID_ASID = 0x0D
    WBINVD_REQUIRED = 0x0E
    DFFLUSH_REQUIRED = 0x0F
    INVALID_GUEST = 0x10
    INVALID_COMMAND = 0x11
    ACTIVE = 0x12
    HWERROR_PLATFORM = 0x13
    HWERROR_UNSAFE = 0x14
    UNSUPPORTED = 0x15
    INVALID_PARAM = 0x16
    RESOURCE_LIMIT = 0x17
    SECURE_DATA_INVALID = 0x18
    # SNP
    INVALID_PAGE_SIZE = 0x19
    INVALID_PAGE_STATE = 0x1A
    INVALID_MDATA_ENTRY = 0x1B
    INVALID_PAGE_OWNER = 0x1C
    AEAD_OFLOW = 0x1D
    EXIT_RING_BUFFER = 0x1F
    RMP_INIT_REQUIRED = 0x20
    BAD_SVN = 0x21
    BAD_VERSION = 0x22
    SHUTDOWN_REQUIRED = 0x23
    UPDATE_FAILED = 0x24
    RESTORE_REQUIRED = 0x25
    RMP_INITIALIZATION_FAILED = 0x26
    INVALID_KEY = 0x27
    SHUTDOWN_INCOMPLETE = 0x28
    # trusted I/O
    INCORRECT_BUFFER_LENGTH = 0x30
    EXPAND_BUFFER_LENGTH_REQUEST = 0x31
    SPDM_REQUEST = 0x32
    SPDM_ERROR = 0x33
    IN_DEV_CONN = 0x35
    INVALID_DEV_CTX = 0x36
    INVALID_TDI_CTX = 0x37
    INVALID_TDI = 0x38
    RECLAIM_REQUIRED = 0x39
    IN_USE = 0x3A
    INVALID_DEV_STATE = 0x3B
    INVALID_TDI_STATE = 0x3C
    DEV_CERT_CHANGED = 0x3D
    RESYNC_REQ = 0x3E
    RESPONSE_TOO_LARGE = 0x3F


# What a person can do, for those a correct host can meet.
_REMEDIES = {
    SevStatus.RESOURCE_LIMIT: "stop a keep, or wait until one ends: every key slot is taken",
    SevStatus.POLICY_FAILURE: "choose a guest policy that this platform and firmware can satisfy",
    SevStatus.BAD_MEASUREMENT: "launch exactly the image that the ID block was signed for",
    SevStatus.BAD_SIGNATURE: "sign the ID block again with the ID key it names",
}


def status_name(code: int) -> str:
    """``POLICY_FAILURE (0x07)``; codes that the specification does not list keep their number."""
    try:
        return f"{SevStatus(code).name} (0x{code & 0xFFFF:02x})"
    except ValueError:
        return f"unknown status (0x{code & 0xFFFFFFFF:02x})"


class FirmwareError(SystemFailure):
    """The secure processor refused a command. ``command`` is its name, ``status`` the number it answered.

    ``remedy`` is for a caller who knows more than the status says."""

    def __init__(self, command: str, status: int, remedy: str = "") -> None:
        known = status in SevStatus.__members__.values()
        super().__init__(
            "platform.firmware",
            f"the secure processor refused {command}",
            found=status_name(status),
            required="SUCCESS (0x00)",
            remedy=remedy or (_REMEDIES.get(SevStatus(status), "") if known else ""),
        )
        self.command = command
        self.status = status
