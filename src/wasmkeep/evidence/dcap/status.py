"""TCB statuses, and how a platform's, its TDX module's and its quoting enclave's become one.

Intel SGX and TDX DCAP quote verification library, 4.1.2.4.17; PCS API v4, TCB status.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Status", "converge"]


class Status(StrEnum):
    """Intel's words. ``TDRelaunchAdvised`` and its sibling come out of convergence, never of a level."""

    UpToDate = "UpToDate"
    SWHardeningNeeded = "SWHardeningNeeded"
    ConfigurationNeeded = "ConfigurationNeeded"
    ConfigurationAndSWHardeningNeeded = "ConfigurationAndSWHardeningNeeded"
    OutOfDate = "OutOfDate"
    OutOfDateConfigurationNeeded = "OutOfDateConfigurationNeeded"
    Revoked = "Revoked"
    TDRelaunchAdvised = "TDRelaunchAdvised"
    TDRelaunchAdvisedConfigurationNeeded = "TDRelaunchAdvisedConfigurationNeeded"

    @property
    def needs_configuration(self) -> bool:
        return "Configuration" in self.value

    @property
    def is_out_of_date(self) -> bool:
        return self in (Status.OutOfDate, Status.OutOfDateConfigurationNeeded)


def converge(platform: Status, other: Status) -> Status:
    """A platform's status together with that of its TDX module or quoting enclave, which are up to date, out
    of date or revoked."""
    if Status.Revoked in (platform, other):
        return Status.Revoked
    if other.is_out_of_date and not platform.is_out_of_date:
        needs = platform.needs_configuration
        return Status.OutOfDateConfigurationNeeded if needs else Status.OutOfDate
    return platform
