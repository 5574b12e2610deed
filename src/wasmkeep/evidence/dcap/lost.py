"""What accepted evidence of an Intel platform lacks that the shipped policy would have asked for."""

from __future__ import annotations

from collections.abc import Iterator

from wasmkeep.evidence.dcap.outcome import Accepted
from wasmkeep.evidence.dcap.policy import DcapPolicy
from wasmkeep.evidence.dcap.status import Status
from wasmkeep.evidence.result import LostProtection

__all__ = ["of_the_platform"]


def of_the_platform(found: Accepted, policy: DcapPolicy) -> Iterator[LostProtection]:
    """Its root, TCB status and advisories, and collateral older than by default."""
    if found.root.simulated:
        pin = found.root.pin
        text = f"the root {pin} is a simulator's: nothing is protected from the owner of that computer"
        yield LostProtection("simulated", text)
    if found.tcb.status is not Status.UpToDate:
        text = (
            f"the platform's TCB status is {found.tcb.status}: firmware or configuration leaves known holes"
        )
        yield LostProtection("tcb-status", text)
    if found.tcb.advisories:
        yield LostProtection("advisories", f"advisories apply: {', '.join(found.tcb.advisories)}")
    allowed, shipped = policy.max_collateral_age_days, DcapPolicy().max_collateral_age_days
    if allowed > shipped:
        issued = f"{found.facts.collateral_issued:%Y-%m-%d}"
        text = f"collateral may be {allowed} days old, {shipped} by default; this is of {issued}"
        yield LostProtection("collateral-age-raised", text)
