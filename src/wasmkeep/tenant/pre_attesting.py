"""SEV and SEV-ES: a launch that the tenant attests before the keep runs (docs/protocol.md).

The order is the rule: the platform's certificates are verified before keys are wrapped for it, the measured
launch before a secret is sealed for it, and the keep proves that it was given that secret before anything is
delivered. Keys, nonces and IVs belong to one attempt; one packet answers one measurement.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wasmkeep import evidence
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.sev import checks as sev_checks
from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit
from wasmkeep.evidence.sev.chain import AuthenticPlatform, PlatformCertificates
from wasmkeep.evidence.sev.evidence import KINDS, SevEvidence, SevKeys, SevKind
from wasmkeep.protocol.binding import NONCE_SIZE, SECRET_SIZE
from wasmkeep.protocol.events import Shipment
from wasmkeep.protocol.pre_attested import FRESH_SIZE, FreshLaunch, MeasurementMessage, PreAttestedLaunch
from wasmkeep.protocol.session import TenantSession
from wasmkeep.tenant.appraisal import Appraisal, image_sizes, reference_values
from wasmkeep.tenant.attesting import OFFER_TIMEOUT, first_message, next_message, request_for
from wasmkeep.tenant.channel import Channel
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.conversation import bounded
from wasmkeep.tenant.preparation import Prepared

__all__ = ["PreAttested", "launch_policy"]

MEASUREMENT_TIMEOUT = 30.0
"""Seconds a host may take from the launch message to the measurement."""
_SEND_TIMEOUT = 30.0
_MINIMUM_API = (0, 24)


class PreAttested:
    """SEV and SEV-ES: the platform is verified before keys are wrapped for it, the launch before a secret is
    sealed for it, and the keep proves that it was given that secret."""

    _session: TenantSession
    _certificates: PlatformCertificates
    _platform: AuthenticPlatform
    _launch: PreAttestedLaunch

    @classmethod
    def of(cls, tee: str, client: HostClient, policy: Policy, prepared: Prepared) -> PreAttested:
        """An attempt at ``tee``, which is a word of `KINDS`."""
        (kind,) = (kind for kind in KINDS if kind == tee)
        return cls(kind, client, policy, prepared)

    def __init__(self, kind: SevKind, client: HostClient, policy: Policy, prepared: Prepared) -> None:
        self._kind = kind
        self._client = client
        self._policy = policy
        self._memory = prepared.keep_memory
        self._signing_key = Ed25519PrivateKey.generate()
        self._challenged_at = datetime.now(UTC)
        self._nonce = os.urandom(NONCE_SIZE)
        tenant_key = self._signing_key.public_key().public_bytes_raw()
        self.request = request_for(prepared, kind, self._nonce, hashlib.sha256(tenant_key).digest())
        self._elapsed_ns = 0

    @property
    def session(self) -> TenantSession:
        return self._session

    @property
    def keys(self) -> SevKeys:
        return SevKeys(self._launch.tik, self._launch.proof_key)

    async def before(self) -> None:
        """Fetch and verify the platform's certificates; only then are keys made and wrapped for it."""
        self._certificates = await self._client.sev_certificates()
        began = time.monotonic_ns()
        self._platform = sev_checks.judge_platform(
            self._kind, self._certificates, self._policy, self._client.chains
        )
        self._elapsed_ns += time.monotonic_ns() - began
        fresh = FreshLaunch.cut(ec.generate_private_key(ec.SECP384R1()), os.urandom(FRESH_SIZE))
        policy = launch_policy(self._kind, self._policy)
        self._launch = PreAttestedLaunch(tee=self._kind, platform=self._platform, policy=policy, fresh=fresh)

    async def begin(self, channel: Channel) -> None:
        await _send(channel, self._launch.begin())

    async def prove(self, channel: Channel, product: str) -> Appraisal:  # noqa: ARG002 - evidence says it
        message = await first_message(channel, "the launch measurement", MEASUREMENT_TIMEOUT)
        measured = self._launch.receive_measurement(message)
        values = reference_values(self._policy, self._memory, self._kind)
        began = time.monotonic_ns()
        proven = sev_checks.judge_launch(
            self._evidence(measured), self._platform, self._policy, values, self._launch.tik
        )
        self._elapsed_ns += time.monotonic_ns() - began
        await _send(channel, self._launch.accept(proven))
        self._session = TenantSession(
            tee=self._kind,
            signing_key=self._signing_key,
            nonce=self._nonce,
            secret=os.urandom(SECRET_SIZE),
            launch_secret=self._launch.launch_secret,
        )
        return await self._judge_offer(channel, measured, values)

    async def _judge_offer(
        self, channel: Channel, measured: MeasurementMessage, values: dict[bytes, str]
    ) -> Appraisal:
        offer_message = await next_message(channel, "the keep's offer", OFFER_TIMEOUT)
        offer = self._session.receive_offer(offer_message)
        began = time.monotonic_ns()
        judged = self._evidence(measured, offer.evidence)
        result = evidence.verify(
            judged,
            self._policy,
            at=datetime.now(UTC),
            binding=self._session.report_data,
            reference_values=values,
            challenged_at=self._challenged_at,
            memory=self._client.chains,
            sev_keys=self.keys,
        )
        size = image_sizes(self._policy, self._memory, self._kind).get(result.launch_digest, 0)
        elapsed = self._elapsed_ns + time.monotonic_ns() - began
        return Appraisal(result, offer, judged, size, elapsed)

    def _evidence(self, measured: MeasurementMessage, proof: bytes = b"") -> SevEvidence:
        return SevEvidence(
            kind=self._kind,
            certificates=self._certificates,
            api_major=measured.api_major,
            api_minor=measured.api_minor,
            build=measured.build,
            policy=self._launch.policy,
            measurement=measured.measurement,
            proof=proof,
        )

    def deliver(self, shipment: Shipment) -> Iterator[bytes]:
        return self._session.accept_proven(shipment)


def launch_policy(kind: SevKind, policy: Policy) -> int:
    """The guest policy of a keep (SEV API 0.24, AMD 55766, chapter 3): no debugging, key sharing or sending,
    and what the tenant's policy requires beyond that."""
    bits = GuestPolicyBit.NODBG | GuestPolicyBit.NOKS | GuestPolicyBit.NOSEND | policy.sev.guest_require
    if kind == "sev-es":
        bits |= GuestPolicyBit.ES
    return GuestPolicy(bits, _MINIMUM_API).encode()


async def _send(channel: Channel, message: bytes) -> None:
    async with bounded("room for a message of the launch", _SEND_TIMEOUT):
        await channel.send(message)
