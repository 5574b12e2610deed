"""A SEV host's own status, by ``/dev/sev``: PLATFORM_STATUS and SNP_PLATFORM_STATUS. Nothing is changed.

Where SNP is not initialised, older kernels refuse its status, and newer ones initialise it for as long as the
question takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from wasmkeep.errors import SystemFailure
from wasmkeep.hardware import devices, psp_sev, psp_sev_calls
from wasmkeep.hardware.calls import Call, Result, perform
from wasmkeep.hardware.devices import open_device
from wasmkeep.hardware.psp_sev import SnpPlatformStatus
from wasmkeep.hardware.psp_sev_calls import SevPlatformStatus

__all__ = ["HostStatus", "host_status", "read_host_status"]

_Status = TypeVar("_Status")


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What answered; None where the question was refused, and `…_refused` says how."""

    sev: SevPlatformStatus | None
    snp: SnpPlatformStatus | None
    sev_refused: str = ""
    snp_refused: str = ""


def host_status(ask: Callable[[Call], Result]) -> HostStatus:
    """Both statuses by `ask`, which performs a call on ``/dev/sev``."""
    sev, sev_refused = _status(psp_sev_calls.platform_status(), psp_sev_calls.decode_platform_status, ask)
    snp, snp_refused = _status(psp_sev.snp_platform_status(), psp_sev.decode_status, ask)
    return HostStatus(sev, snp, sev_refused, snp_refused)


def _status(
    call: Call, decode: Callable[[tuple[bytes, ...]], _Status], ask: Callable[[Call], Result]
) -> tuple[_Status | None, str]:
    try:
        return decode(psp_sev.check(call, ask(call))), ""
    except SystemFailure as refused:
        return None, refused.found
    except ValueError as unknown:  # a state that no specification has
        return None, str(unknown)


def read_host_status() -> HostStatus:
    """This computer's. Raises `PlatformUnavailable`: absent, not permitted, or not usable."""
    descriptor = open_device(devices.SEV)
    try:
        return host_status(partial(perform, descriptor))
    finally:
        os.close(descriptor)
