"""Guest states of an SNP guest and which command is legal in which (SNP firmware ABI 6; SEV.md C.1).

All transitions live in this table. A move it lacks is INVALID_GUEST_STATE and changes nothing. SEV and
SEV-ES guests have their own, in `sev.states`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.status import Refused


class GuestState(IntEnum):
    """GSTATE of a guest context."""

    INIT = 0
    LAUNCH = 1
    RUNNING = 2


_ = FirmwareCommand
SNP_GUEST_COMMANDS: Mapping[tuple[FirmwareCommand, GuestState], GuestState] = {
    (_.SNP_LAUNCH_START, GuestState.INIT): GuestState.LAUNCH,
    (_.SNP_LAUNCH_UPDATE, GuestState.LAUNCH): GuestState.LAUNCH,
    (_.SNP_LAUNCH_FINISH, GuestState.LAUNCH): GuestState.RUNNING,
    (_.SNP_GUEST_REQUEST, GuestState.RUNNING): GuestState.RUNNING,
    (_.SNP_GUEST_STATUS, GuestState.INIT): GuestState.INIT,
    (_.SNP_GUEST_STATUS, GuestState.LAUNCH): GuestState.LAUNCH,
    (_.SNP_GUEST_STATUS, GuestState.RUNNING): GuestState.RUNNING,
}


def next_state(command: FirmwareCommand, state: GuestState) -> GuestState:
    """The state after `command` succeeds in `state`. Raises `Refused` (INVALID_GUEST_STATE)."""
    following = SNP_GUEST_COMMANDS.get((command, state))
    if following is None:
        raise Refused(SevStatus.INVALID_GUEST_STATE)
    return following
