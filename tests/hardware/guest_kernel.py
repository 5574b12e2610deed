"""The kernel's sev-guest driver as a stand-in: `SevGuestKernel` is what ``ioctl`` on ``/dev/sev-guest`` does.

It reads and writes its caller's memory by address, as the kernel does, and asks the simulator's secure
processor through the guest's own message key. What is known of the driver and written down here:
``exitinfo2`` is preset and copied back only where it is not zero; a lack of room is answered by a plain
request, so that the sequence number is spent; every other failed exchange wipes the key; the host may hold
requests back; statuses inside the answer are no failures.
"""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass, field

from tests.simulator.bench import Channel
from wasmkeep.hardware.sev_guest import (
    CERTIFICATES_MAX,
    EXITINFO2_UNSET,
    SNP_GET_DERIVED_KEY,
    SNP_GET_EXT_REPORT,
    SNP_GET_REPORT,
    VMM_BUSY,
    VMM_INVALID_LEN,
    SnpDerivedKeyReq,
    SnpDerivedKeyResp,
    SnpExtReportReq,
    SnpGuestRequestIoctl,
    SnpReportReq,
    SnpReportResp,
)
from wasmkeep.hardware.snp_messages import MessageType
from wasmkeep.simulator.status import Refused

PAGE = 4096


class Failed(Exception):
    """The ioctl's errno."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.number = number


@dataclass
class SevGuestKernel:
    """`certificates`: what the host has; `busy`: it holds requests back; `altered`: it changes answers."""

    channel: Channel
    certificates: bytes = b""
    busy: bool = False
    altered: bool = False
    growing: int = 0  # pages that the host's certificates gain with each request
    asked: list[int] = field(default_factory=list)
    wiped: bool = False

    def __call__(self, _descriptor: int, number: int, argument: int) -> int:
        """``ioctl``."""
        theirs = SnpGuestRequestIoctl.from_address(argument)
        head = SnpGuestRequestIoctl.from_buffer_copy(bytes(theirs))
        head.exitinfo2 = EXITINFO2_UNSET
        if not head.msg_version:
            raise OSError(errno.EINVAL, "msg_version")
        self.asked.append(number)
        try:
            self._dispatch(number, head)
        except Failed as failed:
            if head.exitinfo2:
                ctypes.memmove(argument, bytes(head), ctypes.sizeof(head))
            raise OSError(failed.number, "refused") from failed
        if head.exitinfo2:
            ctypes.memmove(argument, bytes(head), ctypes.sizeof(head))
        return 0

    def _dispatch(self, number: int, head: SnpGuestRequestIoctl) -> None:
        if number not in (SNP_GET_REPORT, SNP_GET_DERIVED_KEY, SNP_GET_EXT_REPORT):
            raise Failed(errno.ENOTTY)
        if not head.req_data or not head.resp_data:
            raise Failed(errno.EINVAL)
        if number == SNP_GET_EXT_REPORT:
            self._extended(head)
            return
        report = number == SNP_GET_REPORT
        kind = MessageType.REPORT_REQ if report else MessageType.KEY_REQ
        asked: type[ctypes.Structure] = SnpReportReq if report else SnpDerivedKeyReq
        answer: type[ctypes.Structure] = SnpReportResp if report else SnpDerivedKeyResp
        request = ctypes.string_at(head.req_data, ctypes.sizeof(asked))
        response = self._exchange(kind, request, head)
        ctypes.memmove(head.resp_data, response.ljust(ctypes.sizeof(answer), b"\0"), ctypes.sizeof(answer))

    def _extended(self, head: SnpGuestRequestIoctl) -> None:
        theirs = SnpExtReportReq.from_address(head.req_data)
        asked = SnpExtReportReq.from_buffer_copy(bytes(theirs))
        pages = 0
        if asked.certs_len and asked.certs_address:
            if asked.certs_len > CERTIFICATES_MAX or asked.certs_len % PAGE:
                raise Failed(errno.EINVAL)
            pages = asked.certs_len // PAGE
        needed = -(-len(self.certificates) // PAGE)
        self.certificates = self.certificates.ljust((needed + self.growing) * PAGE, b"\0")
        request = bytes(asked)[: ctypes.sizeof(SnpReportReq)]
        response = self._exchange(MessageType.REPORT_REQ, request, head)
        if needed > pages:
            head.exitinfo2 = VMM_INVALID_LEN << 32
            theirs.certs_len = needed * PAGE
            raise Failed(errno.EIO)
        if pages:
            content = self.certificates[: needed * PAGE].ljust(asked.certs_len, b"\0")
            ctypes.memmove(asked.certs_address, content, asked.certs_len)
        ctypes.memmove(
            head.resp_data,
            response.ljust(ctypes.sizeof(SnpReportResp), b"\0"),
            ctypes.sizeof(SnpReportResp),
        )

    def _exchange(self, kind: MessageType, payload: bytes, head: SnpGuestRequestIoctl) -> bytes:
        if self.wiped:
            raise Failed(errno.ENOTTY)
        if self.busy:
            head.exitinfo2 = VMM_BUSY << 32
            self.wiped = True
            raise Failed(errno.ETIMEDOUT)
        try:
            page = self.channel.send(self.channel.seal(kind, payload))
        except Refused as refused:
            head.exitinfo2 = refused.status
            self.wiped = True
            raise Failed(errno.EIO) from refused
        self.channel.count += 2
        head.exitinfo2 = 0
        if self.altered:
            self.wiped = True
            raise Failed(errno.EBADMSG)
        _, answer = self.channel.open(page)
        return answer
