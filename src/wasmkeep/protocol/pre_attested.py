"""The tenant's half of a pre-attested launch (SEV, SEV-ES): sans-IO, and its three messages.

::

    LAUNCH       tenant → host  policy u32 ‖ owner's certificate[2084] ‖ session[128]             2216 bytes
    MEASUREMENT  host → tenant  API major, API minor, build, 0 ‖ MEASURE[32] ‖ MNONCE[16]           52 bytes
    SECRET       tenant → host  packet header[52] ‖ packet[128]                                    180 bytes

Integers are little-endian; layouts of session, measurement and header: SEV API 0.24 (AMD 55766), 2, 6.5, 6.6.

The rules of `PreAttestedLaunch`, and where each is held:

1. No key is wrapped for a platform that was not authenticated up to a pinned root.          ``__init__``
2. The launch forbids debugging, key sharing and sending, and asks for ES where it is meant.   ``__init__``
3. Owner key, nonce, TEK, TIK and IVs are fresh, all given as arguments, and serve one launch.
   A retry starts over with others.                                                          ``FreshLaunch``
4. One measurement is taken, and one packet is made for it: there is no way back.              ``_require``
5. The packet is sealed only for a launch that was proven, and that is this one: its version,
   policy, measurement, and the HMAC under this launch's own TIK.                              ``accept``
6. After the packet, TEK, owner key and packet are forgotten. What is left is the launch
   secret, for the session, and TIK and proof key, with which the tenant can judge its receipt. ``accept``

After an error the launch is FAILED and stays so.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric import ec

from wasmkeep.errors import SessionError
from wasmkeep.evidence.sev import session as sev_session
from wasmkeep.evidence.sev.bits import GuestPolicyBit
from wasmkeep.evidence.sev.chain import AuthenticPlatform
from wasmkeep.evidence.sev.measurement import LaunchMeasurement, ProvenLaunch, measure
from wasmkeep.evidence.sev.packet import HEADER_SIZE, seal_secret
from wasmkeep.evidence.sev.session import KEY_SIZE, SESSION_SIZE, LaunchKeys, LaunchSession
from wasmkeep.protocol import slot
from wasmkeep.protocol.slot import SLOT_GPA, SLOT_PACKET_SIZE

__all__ = [
    "FRESH_SIZE",
    "LAUNCH_SIZE",
    "MEASUREMENT_SIZE",
    "SECRET_SIZE",
    "SLOT_GPA",
    "SLOT_PACKET_SIZE",
    "Drawn",
    "FreshLaunch",
    "LaunchMessage",
    "LaunchState",
    "MeasurementMessage",
    "PreAttestedLaunch",
    "SecretMessage",
]

_CERTIFICATE_SIZE = 2084
_LAUNCH = struct.Struct(f"<I{_CERTIFICATE_SIZE}s{SESSION_SIZE}s")
_MEASUREMENT = struct.Struct("<BBBB32s16s")
LAUNCH_SIZE = _LAUNCH.size
MEASUREMENT_SIZE = _MEASUREMENT.size
SECRET_SIZE = HEADER_SIZE + SLOT_PACKET_SIZE

_FRESH = struct.Struct(f"16s {KEY_SIZE}s {KEY_SIZE}s 16s 16s {slot.RANDOM_SIZE}s")
FRESH_SIZE = _FRESH.size
"""Random bytes that a launch takes: nonce, TEK, TIK, the IVs of session and packet, and the packet's."""

_FORBIDDEN = GuestPolicyBit.NODBG | GuestPolicyBit.NOKS | GuestPolicyBit.NOSEND


@dataclass(frozen=True, slots=True)
class LaunchMessage:
    """``policy`` u32, the owner's DH certificate (2084 bytes) and the launch session (128 bytes)."""

    policy: int
    owner_certificate: bytes
    session: bytes

    def encode(self) -> bytes:
        return _LAUNCH.pack(self.policy, self.owner_certificate, self.session)

    @classmethod
    def parse(cls, message: bytes) -> LaunchMessage:
        """Raises SessionError ``session.launch-message`` for another size; firmware judges the rest."""
        _require_size(message, LAUNCH_SIZE, "session.launch-message", "launch message")
        return cls(*_LAUNCH.unpack(message))


@dataclass(frozen=True, slots=True)
class MeasurementMessage:
    """What the host says of its firmware, and LAUNCH_MEASURE's MEASURE (32 bytes) and MNONCE (16 bytes)."""

    api_major: int
    api_minor: int
    build: int
    measure: bytes
    mnonce: bytes

    @property
    def measurement(self) -> bytes:
        """The 48 bytes of LAUNCH_MEASURE."""
        return self.measure + self.mnonce

    def encode(self) -> bytes:
        return _MEASUREMENT.pack(self.api_major, self.api_minor, self.build, 0, self.measure, self.mnonce)

    @classmethod
    def parse(cls, message: bytes) -> MeasurementMessage:
        """Raises SessionError ``session.measurement-message``: another size, or byte 3 is not zero."""
        check, what = "session.measurement-message", "launch measurement"
        _require_size(message, MEASUREMENT_SIZE, check, what)
        major, minor, build, reserved, measured, mnonce = _MEASUREMENT.unpack(message)
        if reserved:
            raise _malformed(check, what, f"{reserved:#04x} in byte 3", "zero")
        return cls(major, minor, build, measured, mnonce)


@dataclass(frozen=True, slots=True)
class SecretMessage:
    """LAUNCH_SECRET's packet: header (52 bytes), encrypted data (128 bytes); it is meant for `SLOT_GPA`."""

    header: bytes
    data: bytes

    def encode(self) -> bytes:
        return self.header + self.data

    @classmethod
    def parse(cls, message: bytes) -> SecretMessage:
        """Raises SessionError ``session.secret-message`` for another size."""
        _require_size(message, SECRET_SIZE, "session.secret-message", "launch secret")
        return cls(message[:HEADER_SIZE], message[HEADER_SIZE:])


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one launch draws: the owner's key on P-384, nonce and IVs of 16 bytes, TEK and TIK, the packet."""

    owner_key: ec.EllipticCurvePrivateKey = field(repr=False)
    nonce: bytes
    keys: LaunchKeys
    session_iv: bytes
    packet_iv: bytes
    packet: bytes = field(repr=False)


class FreshLaunch:
    """Everything that was drawn for one launch, handed out once and not kept."""

    def __init__(self, drawn: Drawn) -> None:
        """ValueError for a wrong curve or size."""
        if not isinstance(drawn.owner_key.curve, ec.SECP384R1):
            raise ValueError("the owner's key is on P-384")
        if [len(drawn.nonce), len(drawn.session_iv), len(drawn.packet_iv)] != [16, 16, 16]:
            raise ValueError("nonce and IVs have 16 bytes")
        self._drawn: Drawn | None = drawn

    @classmethod
    def cut(cls, owner_key: ec.EllipticCurvePrivateKey, random: bytes) -> FreshLaunch:
        """From a fresh key on P-384 and `FRESH_SIZE` fresh random bytes."""
        if len(random) != FRESH_SIZE:
            raise ValueError(f"a launch takes {FRESH_SIZE} random bytes")
        nonce, tek, tik, session_iv, packet_iv, for_packet = _FRESH.unpack(random)
        packet = slot.slot_packet(for_packet)
        return cls(Drawn(owner_key, nonce, LaunchKeys(tek, tik), session_iv, packet_iv, packet))

    def take(self) -> Drawn:
        """Once; RuntimeError afterwards, which is our own misuse."""
        drawn, self._drawn = self._drawn, None
        if drawn is None:
            raise RuntimeError("what was drawn for one launch is not used for another")
        return drawn


class LaunchState(Enum):
    START = auto()
    EXPECT_MEASUREMENT = auto()
    DECIDE = auto()
    DELIVERED = auto()
    FAILED = auto()


class PreAttestedLaunch:
    """One launch. ``tee`` is "sev" or "sev-es", ``policy`` the u32 that the guest is launched under."""

    def __init__(self, *, tee: str, platform: AuthenticPlatform, policy: int, fresh: FreshLaunch) -> None:
        """ValueError for a policy that a keep is not launched under."""
        if tee not in ("sev", "sev-es") or policy & _FORBIDDEN != _FORBIDDEN:
            raise ValueError("a keep is launched with NODBG, NOKS and NOSEND")
        if bool(policy & GuestPolicyBit.ES) is not (tee == "sev-es"):
            raise ValueError("the policy bit ES is set for sev-es, and clear for sev")
        self._tee = tee
        self._policy = policy
        drawn = fresh.take()
        self._owner_certificate = sev_session.owner_certificate(drawn.owner_key.public_key())
        self._session = sev_session.create(
            platform, policy, drawn.owner_key, nonce=drawn.nonce, iv=drawn.session_iv, keys=drawn.keys
        )
        self._tik = drawn.keys.tik
        self._drawn: Drawn | None = drawn
        self._state = LaunchState.START
        self._launch_secret = self._proof_key = b""

    @property
    def tee(self) -> str:
        return self._tee

    @property
    def policy(self) -> int:
        return self._policy

    @property
    def state(self) -> LaunchState:
        return self._state

    @property
    def session(self) -> LaunchSession:
        return self._session

    @property
    def tik(self) -> bytes:
        """The key (16 bytes) under which the launch is measured."""
        return self._tik

    @property
    def launch_secret(self) -> bytes:
        """What tenant and keep share (32 bytes); there once the packet was made."""
        self._require(LaunchState.DELIVERED, "the launch secret")
        return self._launch_secret

    @property
    def proof_key(self) -> bytes:
        """The key (32 bytes) of the keep's proof; there once the packet was made."""
        self._require(LaunchState.DELIVERED, "the proof key")
        return self._proof_key

    def begin(self) -> bytes:
        """The LAUNCH message."""
        self._require(LaunchState.START, "the launch message")
        self._state = LaunchState.EXPECT_MEASUREMENT
        return LaunchMessage(self._policy, self._owner_certificate, self._session.encode()).encode()

    def receive_measurement(self, message: bytes) -> MeasurementMessage:
        """The host's answer, not believed yet. Raises SessionError for one that is malformed."""
        self._require(LaunchState.EXPECT_MEASUREMENT, "a measurement")
        self._state = LaunchState.FAILED
        self._measured = MeasurementMessage.parse(message)
        self._state = LaunchState.DECIDE
        return self._measured

    def accept(self, proven: ProvenLaunch) -> bytes:
        """The SECRET message, for a launch that `wasmkeep.evidence` has accepted. Raises SessionError
        ``session.unbound``, before anything was sealed, unless that is the launch that was measured here."""
        self._require(LaunchState.DECIDE, "a decision on the measurement")
        self._state = LaunchState.FAILED
        drawn, self._drawn = self._drawn, None
        if drawn is None or not self._binds(proven):
            _unbound()
        self._launch_secret = slot.launch_secret(drawn.packet, self._tee)
        self._proof_key = slot.proof_key(self._launch_secret)
        sealed = seal_secret(drawn.keys, drawn.packet_iv, drawn.packet, proven)
        self._state = LaunchState.DELIVERED
        return SecretMessage(sealed.header, sealed.data).encode()

    def _binds(self, proven: ProvenLaunch) -> bool:
        measured, version = self._measured, (proven.api_major, proven.api_minor, proven.build)
        mine = measure(self._tik, *version, self._policy, proven.digest, measured.mnonce)
        return (
            version == (measured.api_major, measured.api_minor, measured.build)
            and proven.policy.encode() == self._policy
            and proven.measurement == LaunchMeasurement(measured.measure, measured.mnonce)
            and hmac.compare_digest(mine, measured.measure)
        )

    def _require(self, state: LaunchState, what: str) -> None:
        if self._state is not state:
            raise RuntimeError(f"{what} is not due while {self._state.name}")


def _unbound() -> NoReturn:
    raise SessionError(
        "session.unbound",
        "the evidence is not of this launch",
        found="a verdict on another measurement, version, policy or key",
        required="a verdict on the measurement of this launch",
        meaning="nothing was sent",
    )


def _require_size(message: bytes, size: int, check: str, what: str) -> None:
    if len(message) != size:
        raise _malformed(check, what, f"{len(message)} bytes", f"exactly {size}")


def _malformed(check: str, what: str, found: str, required: str) -> SessionError:
    return SessionError(
        check,
        f"the {what} is malformed",
        found=found,
        required=required,
        meaning="the other side speaks another version, or the message was altered on its way",
    )
