"""Which command is legal in which state, of the platform (SEV API 0.24, 5.1.2) and of a guest (6.1.1).

All transitions live in these two tables (SEV.md A.1, A.2). A move that a table lacks is
INVALID_PLATFORM_STATE or INVALID_GUEST_STATE and changes nothing. Two depend on more than the state:
DECOMMISSION of the last guest takes the platform from WORKING back to INIT, and SHUTDOWN ends every guest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_commands import SevGuestState, SevPlatformState
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.status import Refused

_ = FirmwareCommand
_UNINIT, _INIT, _WORKING = SevPlatformState
PlatformMoves = Mapping[SevPlatformState, SevPlatformState]

_ALWAYS = {state: state for state in SevPlatformState}
_ONCE_INITIALISED = {_INIT: _INIT, _WORKING: _WORKING}
_WITH_GUESTS = {_WORKING: _WORKING}
_NEW_GUEST = {_INIT: _WORKING, _WORKING: _WORKING}

PLATFORM_COMMANDS: Mapping[FirmwareCommand, PlatformMoves] = {
    _.INIT: {_UNINIT: _INIT},
    _.INIT_EX: {_UNINIT: _INIT},
    _.SHUTDOWN: {_UNINIT: _UNINIT, _INIT: _UNINIT, _WORKING: _UNINIT},
    _.PLATFORM_RESET: {_UNINIT: _UNINIT},
    _.DOWNLOAD_FIRMWARE: {_UNINIT: _UNINIT},
    _.PLATFORM_STATUS: _ALWAYS,
    _.GET_ID: _ALWAYS,
    _.PEK_GEN: {_INIT: _INIT},
    _.PEK_CSR: _ONCE_INITIALISED,  # E-5
    _.PEK_CERT_IMPORT: {_INIT: _INIT},
    _.PDH_GEN: _ONCE_INITIALISED,
    _.PDH_CERT_EXPORT: _ONCE_INITIALISED,
    _.DF_FLUSH: _ONCE_INITIALISED,  # E-13
    _.GUEST_STATUS: _ONCE_INITIALISED,
    _.LAUNCH_START: _NEW_GUEST,
    _.LAUNCH_UPDATE_DATA: _WITH_GUESTS,
    _.LAUNCH_UPDATE_VMSA: _WITH_GUESTS,
    _.LAUNCH_MEASURE: _WITH_GUESTS,
    _.LAUNCH_SECRET: _WITH_GUESTS,
    _.LAUNCH_FINISH: _WITH_GUESTS,
    _.ATTESTATION: _WITH_GUESTS,
    _.ACTIVATE: _WITH_GUESTS,
    _.ACTIVATE_EX: _WITH_GUESTS,
    _.DEACTIVATE: _WITH_GUESTS,
    _.DECOMMISSION: _WITH_GUESTS,
    _.COPY: _WITH_GUESTS,
    _.DBG_DECRYPT: _WITH_GUESTS,
    _.DBG_ENCRYPT: _WITH_GUESTS,
    _.SEND_START: _WITH_GUESTS,
    _.SEND_UPDATE_DATA: _WITH_GUESTS,
    _.SEND_UPDATE_VMSA: _WITH_GUESTS,
    _.SEND_FINISH: _WITH_GUESTS,
    _.SEND_CANCEL: _WITH_GUESTS,
    _.RECEIVE_START: _NEW_GUEST,
    _.RECEIVE_UPDATE_DATA: _WITH_GUESTS,
    _.RECEIVE_UPDATE_VMSA: _WITH_GUESTS,
    _.RECEIVE_FINISH: _WITH_GUESTS,
}

_NONE, _LUPDATE, _LSECRET, _RUNNING, _SUPDATE, _RUPDATE, _SENT = SevGuestState
_GUESTS = (_LUPDATE, _LSECRET, _RUNNING, _SUPDATE, _RUPDATE, _SENT)
GuestMoves = Mapping[SevGuestState, SevGuestState]


def _stays(states: Iterable[SevGuestState]) -> GuestMoves:
    return {state: state for state in states}


GUEST_COMMANDS: Mapping[FirmwareCommand, GuestMoves] = {
    _.LAUNCH_START: {_NONE: _LUPDATE},
    _.LAUNCH_UPDATE_DATA: {_LUPDATE: _LUPDATE},
    _.LAUNCH_UPDATE_VMSA: {_LUPDATE: _LUPDATE},
    _.LAUNCH_MEASURE: {_LUPDATE: _LSECRET},
    _.LAUNCH_SECRET: {_LSECRET: _LSECRET},
    _.LAUNCH_FINISH: {_LSECRET: _RUNNING},
    _.ATTESTATION: _stays((_LSECRET, _RUNNING, _SUPDATE, _SENT)),
    _.SEND_START: {_RUNNING: _SUPDATE},
    _.SEND_UPDATE_DATA: {_SUPDATE: _SUPDATE},
    _.SEND_UPDATE_VMSA: {_SUPDATE: _SUPDATE},
    _.SEND_FINISH: {_SUPDATE: _SENT},
    _.SEND_CANCEL: {_SUPDATE: _RUNNING},
    _.RECEIVE_START: {_NONE: _RUPDATE},
    _.RECEIVE_UPDATE_DATA: {_RUPDATE: _RUPDATE},
    _.RECEIVE_UPDATE_VMSA: {_RUPDATE: _RUPDATE},
    _.RECEIVE_FINISH: {_RUPDATE: _RUNNING},
    _.ACTIVATE: _stays(state for state in _GUESTS if state is not _SENT),
    _.DEACTIVATE: _stays(_GUESTS),
    _.GUEST_STATUS: _stays((_NONE, *_GUESTS)),
    _.DBG_DECRYPT: _stays(_GUESTS),
    _.DBG_ENCRYPT: _stays(_GUESTS),
    _.DECOMMISSION: dict.fromkeys(_GUESTS, _NONE),
}


def next_platform_state(command: FirmwareCommand, state: SevPlatformState) -> SevPlatformState:
    """The state after `command` succeeds in `state`. Raises `Refused` (INVALID_PLATFORM_STATE)."""
    following = PLATFORM_COMMANDS[command].get(state)
    if following is None:
        raise Refused(SevStatus.INVALID_PLATFORM_STATE)
    return following


def next_guest_state(command: FirmwareCommand, state: SevGuestState) -> SevGuestState:
    """The state after `command` succeeds in `state`. Raises `Refused` (INVALID_GUEST_STATE)."""
    following = GUEST_COMMANDS[command].get(state)
    if following is None:
        raise Refused(SevStatus.INVALID_GUEST_STATE)
    return following
