"""How the secure processor says no: a status code of the specification, raised where the check stands."""

from __future__ import annotations

from wasmkeep.hardware.sev_status import SevStatus


class Refused(Exception):
    """The firmware ends the command with `status`; nothing has changed."""

    def __init__(self, status: SevStatus) -> None:
        super().__init__(status.name)
        self.status = status


def require(condition: bool, status: SevStatus) -> None:  # noqa: FBT001 - reads as the rule it states
    """Refuse with `status` unless `condition` holds."""
    if not condition:
        raise Refused(status)
