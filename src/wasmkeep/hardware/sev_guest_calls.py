"""What a guest asks through ``/dev/sev-guest``, as calls (kernel uapi ``linux/sev-guest.h``; SNP firmware ABI
56860, 7.3 and 7.2; GHCB 56421, 4.1.8).

A refusal has four places: the errno, the two halves of ``exitinfo2``, and the status inside the firmware's
sealed answer. Where an exchange itself fails, except for a lack of room, the kernel wipes the guest's message
key, so that no number serves two messages: every later request is ENOTTY until the guest starts again.
"""

from __future__ import annotations

import errno
import os
import struct

from wasmkeep.errors import SystemFailure
from wasmkeep.hardware.calls import Call, File, Pointer, Result
from wasmkeep.hardware.sev_guest import (
    EXITINFO2_UNSET,
    SNP_GET_DERIVED_KEY,
    SNP_GET_EXT_REPORT,
    SNP_GET_REPORT,
    VMM_BUSY,
    VMM_INVALID_LEN,
    SnpDerivedKeyResp,
    SnpExtReportReq,
    SnpGuestRequestIoctl,
    SnpReportResp,
)
from wasmkeep.hardware.sev_status import FirmwareError
from wasmkeep.hardware.snp_messages import (
    MESSAGE_VERSION,
    KeyRequest,
    KeyResponse,
    MessageStatus,
    ReportRequest,
    ReportResponse,
)
from wasmkeep.hardware.structures import offset_of, size_of

__all__ = [
    "check",
    "decode_certificates",
    "decode_key",
    "decode_report",
    "derived_key",
    "extended_report",
    "needed_room",
    "report",
]

_REMEDIES = {
    errno.ENOTTY: "start this guest again: its kernel gave up the message key after a failed exchange",
    errno.ETIMEDOUT: "start this guest again, and ask more rarely: its host held the request back",
    errno.EBADMSG: "start this guest again: the answer is not the secure processor's",
    errno.EINVAL: "use a kernel that knows this request: Linux 5.19 or later",
}
_STATUS_REMEDIES = {
    MessageStatus.INVALID_PARAM: "ask for the VMPL that this guest runs at, or a higher number",
    MessageStatus.INVALID_KEY: "ask for the other key: no VLEK is loaded, or the guest may not use the VCEK",
}
_REQUEST, _ANSWER, _CERTIFICATES = 1, 2, 3  # segments
_ENTRY = struct.Struct("<16s I I")  # of a certificate table: GUID, offset, length


def report(request: ReportRequest) -> Call:
    """SNP_GET_REPORT."""
    return _call("SNP_GET_REPORT", SNP_GET_REPORT, request.encode(), size_of(SnpReportResp))


def extended_report(request: ReportRequest, room: int) -> Call:
    """SNP_GET_EXT_REPORT with `room` bytes for certificates, whole pages; 0 takes none."""
    asked = SnpExtReportReq.from_buffer_copy(request.encode().ljust(size_of(SnpExtReportReq), b"\0"))
    asked.certs_len = room
    call = _call("SNP_GET_EXT_REPORT", SNP_GET_EXT_REPORT, bytes(asked), size_of(SnpReportResp))
    if not room:
        return call
    place = Pointer(_REQUEST, offset_of(SnpExtReportReq, "certs_address"), _CERTIFICATES)
    return Call(call.name, call.file, call.number, (*call.memory, bytes(room)), (*call.pointers, place))


def derived_key(request: KeyRequest) -> Call:
    """SNP_GET_DERIVED_KEY."""
    return _call("SNP_GET_DERIVED_KEY", SNP_GET_DERIVED_KEY, request.encode(), size_of(SnpDerivedKeyResp))


def _call(name: str, number: int, request: bytes, answer: int) -> Call:
    head = bytes(SnpGuestRequestIoctl(msg_version=MESSAGE_VERSION))
    pointers = (
        Pointer(0, offset_of(SnpGuestRequestIoctl, "req_data"), _REQUEST),
        Pointer(0, offset_of(SnpGuestRequestIoctl, "resp_data"), _ANSWER),
    )
    return Call(name, File.SEV_GUEST, number, (head, request, bytes(answer)), pointers)


def needed_room(result: Result) -> int | None:
    """How many bytes the host's certificates take; None unless `result` says that the room was too little."""
    if result.value != -errno.EIO or _exit_information(result)[1] != VMM_INVALID_LEN:
        return None
    return int(SnpExtReportReq.from_buffer_copy(result.memory[_REQUEST]).certs_len)


def check(call: Call, result: Result) -> tuple[bytes, ...]:
    """The memory after a successful request. Raises `FirmwareError` or `SystemFailure`."""
    if result.value >= 0:
        return result.memory
    number = -result.value
    firmware, host = _exit_information(result)
    if host == 0 and firmware not in (0, EXITINFO2_UNSET):
        raise FirmwareError(call.name, firmware)
    found = f"{errno.errorcode.get(number, number)} ({os.strerror(number)})"
    if host:
        found += ", the host answers " + ("busy" if host == VMM_BUSY else f"0x{host:x}")
    raise SystemFailure(
        "platform.sev-guest",
        f"{call.name} was refused",
        found=found,
        remedy=_REMEDIES.get(number, ""),
    )


def _exit_information(result: Result) -> tuple[int, int]:
    """The firmware's half and the hypervisor's."""
    whole = SnpGuestRequestIoctl.from_buffer_copy(result.memory[0]).exitinfo2
    return whole & 0xFFFFFFFF, whole >> 32


def decode_report(memory: tuple[bytes, ...]) -> bytes:
    """The report, 1184 bytes. Raises `FirmwareError` where the answer inside is a refusal, and
    `SystemFailure` where it is no answer."""
    try:
        answer = ReportResponse.parse(memory[_ANSWER])
    except ValueError as error:
        raise _malformed(str(error)) from error
    _check_status("MSG_REPORT_REQ", answer.status)
    if not answer.report:
        raise _malformed("success without a report")
    return answer.report


def decode_key(memory: tuple[bytes, ...]) -> bytes:
    """The key, 32 bytes. Raises `FirmwareError`."""
    answer = KeyResponse.parse(memory[_ANSWER])
    _check_status("MSG_KEY_REQ", answer.status)
    return answer.key


def decode_certificates(memory: tuple[bytes, ...]) -> bytes:
    """The certificate table as far as its entries reach; empty where the host gave none.

    What reaches beyond the buffer leaves it whole: whoever verifies it, refuses it.
    """
    table = memory[_CERTIFICATES] if len(memory) > _CERTIFICATES else b""
    end = 0
    for at in range(0, len(table) - _ENTRY.size + 1, _ENTRY.size):
        guid, offset, length = _ENTRY.unpack_from(table, at)
        if not any(guid) and not offset and not length:
            return table[: max(end, at + _ENTRY.size)] if at else b""
        end = max(end, offset + length)
    return table


def _check_status(command: str, status: int) -> None:
    if status != MessageStatus.SUCCESS:
        remedy = _STATUS_REMEDIES.get(MessageStatus(status), "") if status in set(MessageStatus) else ""
        raise FirmwareError(command, status, remedy)


def _malformed(found: str) -> SystemFailure:
    return SystemFailure("platform.sev-guest", "the secure processor's answer is malformed", found=found)
