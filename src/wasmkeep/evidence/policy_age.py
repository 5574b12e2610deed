"""How old the shipped defaults are. They are what a policy takes where it says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from wasmkeep.evidence.dcap.policy import DEFAULTS_DATE as INTEL_DATE
from wasmkeep.evidence.policy import SEV_PLATFORMS
from wasmkeep.evidence.snp.defaults import DATE as AMD_DATE

__all__ = ["WARN_AFTER", "aged_defaults"]

WARN_AFTER = timedelta(days=180)
_VENDORS = (
    ("AMD", AMD_DATE, ("snp", *SEV_PLATFORMS)),
    ("Intel", INTEL_DATE, ("tdx", "sgx")),
)


def aged_defaults(platforms: tuple[str, ...], today: date) -> Iterator[str]:
    """What to warn of, one text a vendor that ``platforms`` name; nothing up to 180 days after their date."""
    for vendor, settled, kinds in _VENDORS:
        age = today - settled
        if age > WARN_AFTER and not set(kinds).isdisjoint(platforms):
            yield (
                f"this release's defaults for {vendor} are of {settled:%Y-%m-%d}, {age.days} days ago: "
                "firmware has been mended and platforms may have fallen since; update wasmkeep, or let the "
                "policy say more itself"
            )
