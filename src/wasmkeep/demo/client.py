"""The client's half of a round, sans-IO: what it accepts, what it makes, and what it then knows.

Each step takes the host's message, if there is one, and gives back the fact that it established; a screen
prints facts and nothing else. The order is enforced: a step that another must come before cannot be called.
Everything is fresh in each round: owner's key, nonce, TEK, TIK and IVs. A refusal is `Rejected`, and nothing
is sent after it. TEK is gone when the packet is made, so there is one packet for one measurement.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from wasmkeep.demo.messages import Certificates, End, Hello, Launch, Measurement, Output, Packet, Refused
from wasmkeep.demo.parallel import by_two
from wasmkeep.demo.program import ADDRESS, OUTPUT, PROGRAM
from wasmkeep.errors import HostRefused
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.roots import Root
from wasmkeep.evidence.sev import session
from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit
from wasmkeep.evidence.sev.chain import AuthenticPlatform, PlatformCertificates, authenticate
from wasmkeep.evidence.sev.measurement import (
    EMPTY_DIGEST,
    LaunchMeasurement,
    ProvenLaunch,
    verify_measurement,
)
from wasmkeep.evidence.sev.packet import seal_secret
from wasmkeep.evidence.sev.session import LaunchKeys

__all__ = [
    "MINIMUM_API",
    "POLICY",
    "ChainValid",
    "Client",
    "HostGaveUp",
    "MeasurementValid",
    "Ran",
    "Sealed",
    "SessionMade",
    "Trust",
]

MINIMUM_API: Final = (0, 24)
POLICY: Final = GuestPolicy(GuestPolicyBit.NODBG | GuestPolicyBit.NOKS | GuestPolicyBit.NOSEND, MINIMUM_API)
"""No debugging by the host, no second guest under the same memory key, no sending away."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trust:
    """What the client knew before: roots by SPKI digest, and owners' key digests (none: any owner)."""

    roots: Mapping[bytes, Root]
    owners: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class ChainValid:
    """Step 1. ``owner_pinned`` is whether the owner is one that the client named beforehand."""

    platform: AuthenticPlatform
    owner_pinned: bool


@dataclass(frozen=True, slots=True)
class SessionMade:
    """Step 2. The policy whose MAC is in the session, and the message that carries both."""

    policy: GuestPolicy
    launch: Launch


@dataclass(frozen=True, slots=True)
class MeasurementValid:
    """Step 4. The digest in it is that of nothing, or there would be no such value."""

    launch: ProvenLaunch


@dataclass(frozen=True, slots=True)
class Sealed:
    """Step 5. The packet, and what is in it."""

    plaintext: bytes
    packet: Packet


@dataclass(frozen=True, slots=True)
class Ran:
    """Step 6. What the machine printed is what the program prints. It is the host's word for it."""

    output: bytes
    end: End


class HostGaveUp(HostRefused):
    """The host says that it cannot go on, with the secure processor's ``status`` (0: its own reasons)."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(
            "demo.refused",
            f"the host could not go on at step {refused.step}",
            found=refused.text,
            meaning="nothing of yours was run there" if refused.step < 6 else "nothing was run",
        )
        self.step = refused.step
        self.status = refused.status
        self.text = refused.text


class Client:
    """One round. ``random`` gives that many fresh random bytes."""

    def __init__(
        self,
        trust: Trust,
        *,
        program: bytes = PROGRAM,
        address: int = ADDRESS,
        expected: bytes = OUTPUT,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._trust = trust
        self._program = program
        self._address = address
        self._expected = expected
        self._random = random
        self._platform: AuthenticPlatform | None = None
        self._keys: LaunchKeys | None = None
        self._proven: ProvenLaunch | None = None

    def hello(self) -> Hello:
        """What begins the round."""
        return Hello()

    def validate_chain(self, answer: Certificates) -> ChainValid:
        """Step 1: both chains, to a pinned root and to the owner. Raises `Rejected` ``sev.…``."""
        given = PlatformCertificates(
            ark=answer.ark, ask=answer.ask, cek=answer.cek, pek=answer.pek, oca=answer.oca, pdh=answer.pdh
        )
        owners = self._trust.owners
        self._platform = authenticate(given, self._trust.roots, owners or None, perform=by_two)
        return ChainValid(self._platform, bool(owners))

    def make_session(self) -> SessionMade:
        """Step 2: keys that only this client and the platform's secure processor will have."""
        platform = _first(self._platform)
        owner = ec.generate_private_key(ec.SECP384R1())
        keys = LaunchKeys(self._random(session.KEY_SIZE), self._random(session.KEY_SIZE))
        nonce, iv = self._random(session.NONCE_SIZE), self._random(session.KEY_SIZE)
        made = session.create(platform, POLICY.encode(), owner, nonce=nonce, iv=iv, keys=keys)
        self._keys = keys
        certificate = session.owner_certificate(owner.public_key())
        return SessionMade(POLICY, Launch(POLICY.encode(), certificate, made.encode()))

    def validate_measurement(self, answer: Measurement) -> MeasurementValid:
        """Step 4: this platform launched nothing, under our policy. Raises `Rejected` ``sev.measurement``…"""
        keys = _first(self._keys)
        self._proven = verify_measurement(
            keys.tik,
            LaunchMeasurement(answer.measure, answer.mnonce),
            answer.api_major,
            answer.api_minor,
            answer.build,
            POLICY.encode(),
            (EMPTY_DIGEST,),
            minimum_api=MINIMUM_API,
        )
        return MeasurementValid(self._proven)

    def seal(self) -> Sealed:
        """Step 5: code and data, for the machine that was measured and for no other."""
        keys, proven = _first(self._keys), _first(self._proven)
        packet = seal_secret(keys, self._random(session.KEY_SIZE), self._program, proven)
        self._keys = self._proven = None
        return Sealed(self._program, Packet(self._address, packet.header, packet.data))

    def accept(self, answer: Output) -> Ran:
        """Step 6: the program ran where it belongs, or it would not have printed this.

        Raises `Rejected` ``demo.output``.
        """
        if answer.data != self._expected:
            raise Rejected(_other_output(answer, self._expected))
        return Ran(answer.data, answer.end)


def _first(value: T | None) -> T:
    if value is None:
        raise RuntimeError("a step of the demonstration out of order")
    return value


def _other_output(answer: Output, expected: bytes) -> Finding:
    shown = repr(answer.data[:40])[1:] if answer.data else "nothing"
    return Finding(
        "demo.output",
        Kind.REFUSED,
        "the machine did not print what the program prints",
        f"{shown}, and the machine {answer.end.name.lower()}",
        repr(expected)[1:],
        meaning="the program is not where it belongs, or something else ran",
    )
