"""What a tenant requires of an Intel platform: TDX and SGX alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

__all__ = ["DEFAULTS_DATE", "TCB_STATUSES", "DcapPolicy"]

DEFAULTS_DATE = date(2026, 11, 23)
"""When the defaults below were settled."""

TCB_STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
)
"""What a policy may name; ``Revoked`` is refused whatever it says."""


@dataclass(frozen=True, slots=True)
class DcapPolicy:
    """``tcb_statuses``: accepted statuses of the platform (converged with TDX module and QE). ``advisories``:
    security advisories (``INTEL-SA-00615``) that may apply to an accepted platform; with ``any_advisory`` any
    may. ``max_collateral_age_days`` counts from the issue of TCB info, QE identity and the list of revoked
    platforms, which Intel issues anew each month; the root's list lives a year, and must only be in date.
    ``minimum_tcb_evaluation`` is the lowest tcbEvaluationDataNumber. An empty ``fmspcs`` accepts any (6 bytes
    each); an empty ``platforms`` any platform instance (16 bytes each). An empty ``report_data`` leaves it to
    the session (64 bytes each)."""

    tcb_statuses: tuple[str, ...] = ("UpToDate",)
    advisories: frozenset[str] = frozenset()
    any_advisory: bool = False
    max_collateral_age_days: int = 30
    minimum_tcb_evaluation: int = 0
    smt: bool = True
    dynamic_platform: bool = True
    cached_keys: bool = True
    fmspcs: frozenset[bytes] = frozenset()
    platforms: frozenset[bytes] = frozenset()
    report_data: frozenset[bytes] = frozenset()

    @property
    def max_collateral_age(self) -> timedelta:
        return timedelta(days=self.max_collateral_age_days)
