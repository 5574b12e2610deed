"""``/dev/sev-guest``: reports, extended reports and keys that an SNP guest has from its secure processor.

Blocking: where the host holds requests back, the kernel itself waits for up to a minute.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from wasmkeep.errors import SystemFailure
from wasmkeep.hardware import devices, sev_guest_calls
from wasmkeep.hardware.calls import Call, Result, perform
from wasmkeep.hardware.devices import open_device
from wasmkeep.hardware.sev_guest import CERTIFICATES_MAX, REPORT_USER_DATA_SIZE
from wasmkeep.hardware.snp_messages import KeyRequest, ReportRequest

__all__ = ["ExtendedReport", "SnpGuestDevice", "open_snp_guest"]

_ATTEMPTS = 3  # the host may have got more certificates since it named their size


class ExtendedReport(NamedTuple):
    """`report` 1184 bytes; `certificates` a table (GHCB 56421, 4.1.8.1), empty where the host has none."""

    report: bytes
    certificates: bytes


class SnpGuestDevice:
    """An open ``/dev/sev-guest``; `ask` performs a call on it.

    Refusals are `FirmwareError` (the secure processor's) and `SystemFailure` (kernel's or host's). None is
    worth repeating: see `sev_guest_calls`.
    """

    def __init__(self, ask: Callable[[Call], Result]) -> None:
        self._ask = ask

    def report(self, report_data: bytes, *, vmpl: int = 0, key_select: int = 0) -> bytes:
        """A report with these 64 bytes in it, 1184 bytes. `vmpl` is at least the guest's own level.

        `key_select`: 0 the VLEK if one is loaded, else the VCEK; 1 the VCEK; 2 the VLEK. Raises ValueError
        for `report_data` of another size.
        """
        call = sev_guest_calls.report(_request(report_data, vmpl, key_select))
        return sev_guest_calls.decode_report(sev_guest_calls.check(call, self._ask(call)))

    def extended_report(
        self, report_data: bytes, *, vmpl: int = 0, key_select: int = 0, room: int = CERTIFICATES_MAX
    ) -> ExtendedReport:
        """The same with the certificates that the host keeps for its guests.

        `room`: bytes to begin with, whole pages; where they are too few, the kernel says how many it takes,
        and the request is made again. The default is all that a kernel takes, so that one request does.
        """
        request = _request(report_data, vmpl, key_select)
        for _ in range(_ATTEMPTS):
            call = sev_guest_calls.extended_report(request, room)
            result = self._ask(call)
            needed = sev_guest_calls.needed_room(result)
            if needed is None:
                memory = sev_guest_calls.check(call, result)
                return ExtendedReport(
                    sev_guest_calls.decode_report(memory), sev_guest_calls.decode_certificates(memory)
                )
            if not room < needed <= CERTIFICATES_MAX:
                break
            room = needed
        raise SystemFailure(
            "platform.sev-guest.certificates",
            "the host's certificates do not fit",
            found=f"{needed} bytes, after room for {room}",
            required=f"at most {CERTIFICATES_MAX} bytes, and the same size twice",
            remedy="ask for a report without them, and fetch them with `wasmkeep endorsements fetch`",
        )

    def derived_key(self, request: KeyRequest) -> bytes:
        """A key of 32 bytes that only this chip makes, for a guest that agrees in what `request` mixes in."""
        call = sev_guest_calls.derived_key(request)
        return sev_guest_calls.decode_key(sev_guest_calls.check(call, self._ask(call)))


def _request(report_data: bytes, vmpl: int, key_select: int) -> ReportRequest:
    if len(report_data) != REPORT_USER_DATA_SIZE:
        raise ValueError("report data has 64 bytes")
    return ReportRequest(report_data, vmpl, key_select)


@contextmanager
def open_snp_guest() -> Iterator[SnpGuestDevice]:
    """This guest's device. Raises `PlatformUnavailable`: absent, not permitted, or not usable."""
    descriptor = open_device(devices.SEV_GUEST)
    try:
        yield SnpGuestDevice(partial(perform, descriptor))
    finally:
        os.close(descriptor)
