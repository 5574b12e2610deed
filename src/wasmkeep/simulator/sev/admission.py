"""How a guest comes into being, launched or received: its keys agreed, its policy checked, a handle given."""

from __future__ import annotations

from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit
from wasmkeep.evidence.sev.session import (
    LaunchKeys,
    LaunchSession,
    SessionRefused,
    open_session,
    shared_secret,
)
from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_commands import SevGuestState
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.sev.context import FirmwareContext, SevGuest
from wasmkeep.simulator.sev.identity import read_dh_certificate
from wasmkeep.simulator.sev.states import next_guest_state
from wasmkeep.simulator.status import Refused, require


def agreed_keys(firmware: FirmwareContext, dh_certificate: bytes, session: bytes, policy: int) -> LaunchKeys:
    """TEK and TIK of a session with this platform's PDH (SEV API 2). Nobody vouches for the certificate.

    INVALID_CERTIFICATE; BAD_MEASUREMENT for WRAP_MAC, then for POLICY_MAC.
    """
    other = read_dh_certificate(dh_certificate).public_key
    shared = shared_secret(firmware.identity.pdh_key, other)
    try:
        return open_session(LaunchSession.parse(session), shared, policy)
    except SessionRefused as error:
        raise Refused(SevStatus.BAD_MEASUREMENT) from error


def admit(
    firmware: FirmwareContext, command: FirmwareCommand, sharing: int, policy: int, keys: LaunchKeys
) -> SevGuest:
    """A new guest context (SEV API 3, 6; order of SEV.md A.4). `sharing` is 0, or the guest whose memory key
    it has.

    POLICY_FAILURE: reserved bits, an API version above this firmware's; UNSUPPORTED: SEV-ES, not
    initialised; INVALID_GUEST, POLICY_FAILURE: a key that cannot be shared; RESOURCE_LIMIT.
    """
    decoded = _decode_policy(policy)
    require(decoded.minimum_api <= firmware.version.api, SevStatus.POLICY_FAILURE)
    require(firmware.es or not decoded.bits & GuestPolicyBit.ES, SevStatus.UNSUPPORTED)
    key = _shared_key(firmware, sharing, decoded) if sharing else MemoryKey()
    require(len(firmware.guests) < firmware.slots.count, SevStatus.RESOURCE_LIMIT)
    state = next_guest_state(command, SevGuestState.UNINIT)
    guest = SevGuest(firmware.new_handle(), decoded, state, key, keys)
    firmware.guests[guest.handle] = guest
    return guest


def _decode_policy(policy: int) -> GuestPolicy:
    try:
        return GuestPolicy.decode(policy)
    except Rejected as error:
        raise Refused(SevStatus.POLICY_FAILURE) from error


def _shared_key(firmware: FirmwareContext, sharing: int, policy: GuestPolicy) -> MemoryKey:
    other = firmware.guest(sharing)
    require(not policy.bits & GuestPolicyBit.NOKS and policy == other.policy, SevStatus.POLICY_FAILURE)
    return other.memory_key
