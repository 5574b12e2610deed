"""How a keep proves itself before anything is delivered: from inside its TEE, or before it runs.

Each attempt is one object of `InGuest` (SNP) or `pre_attesting.PreAttested` (SEV, SEV-ES), with keys, nonce
and secrets of its own; it is used once, in this order::

    before()            what must hold before a keep is asked for; nothing leaves that is secret
    request             what the host is asked for
    begin(channel)      the tenant's first word, while the host launches
    prove(channel, …)   the verdict; raises Rejected, and then nothing was delivered
    deliver(shipment)   the messages of the delivery

A host that has no keep after all raises `BeforeEvidence` in the first three and until its first message: the
deployment may go elsewhere. From then on nothing does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wasmkeep.errors import SessionError, WasmkeepError
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.sev.evidence import SevKeys
from wasmkeep.protocol.binding import NONCE_SIZE, SECRET_SIZE
from wasmkeep.protocol.events import Shipment
from wasmkeep.protocol.session import TenantSession
from wasmkeep.tenant.appraisal import Appraisal, Appraiser
from wasmkeep.tenant.channel import Channel
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.conversation import bounded
from wasmkeep.tenant.host_api import KeepRequest
from wasmkeep.tenant.places import Place, may_move_on
from wasmkeep.tenant.preparation import Prepared

__all__ = [
    "OFFER_TIMEOUT",
    "Attesting",
    "BeforeEvidence",
    "InGuest",
    "attesting",
    "first_message",
    "next_message",
    "request_for",
]

OFFER_TIMEOUT = 30.0
"""Seconds a host may take from creating a keep to its offer."""


class BeforeEvidence(Exception):
    """The place has no keep: ``error`` says why. Never leaves the deployment."""

    def __init__(self, error: WasmkeepError) -> None:
        super().__init__(error.message)
        self.error = error


class Attesting(Protocol):
    """One attempt at one place."""

    @property
    def request(self) -> KeepRequest: ...
    @property
    def session(self) -> TenantSession: ...
    @property
    def keys(self) -> SevKeys | None:
        """What the tenant must keep to verify the receipt again, where the evidence convinces nobody else."""
        ...

    async def before(self) -> None: ...
    async def begin(self, channel: Channel) -> None: ...
    async def prove(self, channel: Channel, product: str) -> Appraisal: ...
    def deliver(self, shipment: Shipment) -> Iterator[bytes]: ...


def attesting(place: Place, policy: Policy, prepared: Prepared) -> Attesting:
    """A fresh attempt at ``place``."""
    if place.tee == "snp":
        return InGuest(place.client, policy, prepared)
    from wasmkeep.tenant.pre_attesting import PreAttested

    return PreAttested.of(place.tee, place.client, policy, prepared)


class InGuest:
    """SNP: the keep asks its secure processor for a report, bound to this session."""

    keys = None
    _appraiser: Appraiser
    _appraisal: Appraisal

    def __init__(self, client: HostClient, policy: Policy, prepared: Prepared) -> None:
        self._client = client
        self._policy = policy
        self._prepared = prepared
        self._challenged_at = datetime.now(UTC)
        self.session = TenantSession(
            tee="snp",
            signing_key=Ed25519PrivateKey.generate(),
            nonce=os.urandom(NONCE_SIZE),
            secret=os.urandom(SECRET_SIZE),
        )
        self.request = request_for(prepared, "snp", self.session.nonce, self.session.tenant_key_digest)

    async def before(self) -> None:
        """There is nothing to know of the platform yet."""

    async def begin(self, channel: Channel) -> None:  # noqa: ARG002 - the keep speaks first
        """Get ready to judge."""
        self._appraiser = Appraiser(
            self._policy, self._client, memory=self._prepared.keep_memory, chains=self._client.chains
        )

    async def prove(self, channel: Channel, product: str) -> Appraisal:
        message = await first_message(channel, "the keep's offer", OFFER_TIMEOUT)
        offer = self.session.receive_offer(message)
        self._appraisal = await self._appraiser.appraise(self.session, offer, product, self._challenged_at)
        return self._appraisal

    def deliver(self, shipment: Shipment) -> Iterator[bytes]:
        return self.session.accept(self._appraisal.result, shipment)


def request_for(prepared: Prepared, tee: str, nonce: bytes, tenant_key_digest: bytes) -> KeepRequest:
    return KeepRequest(
        tee=tee,
        image=prepared.image,
        memory=prepared.keep_memory,
        nonce=nonce,
        tenant_key_digest=tenant_key_digest,
    )


async def first_message(channel: Channel, what: str, seconds: float) -> bytes:
    """Raises ``BeforeEvidence`` where the host says that it has no room after all."""
    try:
        return await next_message(channel, what, seconds)
    except WasmkeepError as error:
        if may_move_on(error):
            raise BeforeEvidence(error) from error
        raise


async def next_message(channel: Channel, what: str, seconds: float) -> bytes:
    async with bounded(what, seconds):
        message = await channel.receive()
    if message is None:
        raise SessionError(
            "session.incomplete",
            "the session ended before its receipt",
            found=f"the connection closed before {what}",
            required="a verified receipt",
            meaning="nothing was delivered",
            remedy="run again; if it happens again, ask the host's operator or choose another host",
        )
    return message
