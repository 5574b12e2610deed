"""One deployment: attest a keep, deliver into it, stream, and hold its receipt.

Steps, in this order; each emits its event only once it succeeded, and a failed one ends the deployment:

1. prepare      compile the program and encode what it is given; nothing has left yet
2. choose       the first kind of the policy's platforms that the host has
3. create       a keep bound to a fresh nonce and a fresh tenant key
4. appraise     the offer's evidence against the policy, bound to this session
5. deliver      the package, sealed to the key that the evidence vouches for
6. run          the launch statement, then the standard streams
7. close        the receipt, checked against what was received

Nothing is sent before step 4 succeeded, and a run is complete only with step 7.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wasmkeep.errors import PlatformUnavailable, TimedOut
from wasmkeep.protocol.binding import NONCE_SIZE, SECRET_SIZE
from wasmkeep.protocol.events import Ended, Shipment
from wasmkeep.protocol.session import TenantSession
from wasmkeep.protocol.statements import Exited
from wasmkeep.tenant import events, receipts
from wasmkeep.tenant.appraisal import Appraisal, Appraiser
from wasmkeep.tenant.channel import Channel
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.conversation import Conversation, bounded
from wasmkeep.tenant.events import Watcher
from wasmkeep.tenant.host_api import KeepCreated, KeepRequest
from wasmkeep.tenant.preparation import Prepared, prepare
from wasmkeep.tenant.request import DeploymentRequest
from wasmkeep.tenant.streams import BytesInput, BytesOutput, Input, Output
from wasmkeep.tenant.threads import abandonable
from wasmkeep.tenant.wiring import wired

OFFER_TIMEOUT = 30.0
"""Seconds a host may take from creating a keep to its offer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, with a verified receipt. ``exit_code`` is None where the program trapped."""

    exit_code: int | None
    trap: str | None
    receipt: bytes
    disclosures: bytes
    stdout: bytes = b""
    stderr: bytes = b""


class Deployment:
    """One run of one request. Use as ``async with Deployment(request) as d: outcome = await d.run(…)``.

    ``client`` and ``prepared`` may be given by a caller that deploys many times; then they stay the caller's.
    """

    def __init__(
        self,
        request: DeploymentRequest,
        *,
        on_event: Watcher = events.ignore,
        client: HostClient | None = None,
        prepared: Prepared | None = None,
    ) -> None:
        self._request = request
        self._emit = on_event
        self._client = client
        self._prepared = prepared
        self._stack = AsyncExitStack()
        self._used = False

    async def __aenter__(self) -> Deployment:
        if self._client is None:
            ca_file = str(self._request.ca_file) if self._request.ca_file else None
            self._client = await self._stack.enter_async_context(
                HostClient(self._request.host, self._request.token, ca_file)
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run(self, stdin: Input, stdout: Output, stderr: Output) -> Outcome:
        """Run to the end. Raises a WasmkeepError that names the check where anything is refused.

        Cancelling it ends the keep.
        """
        if self._client is None or self._used:
            raise RuntimeError("a deployment is entered once and run once")
        self._used = True
        began = time.monotonic_ns()
        prepared = self._prepared
        if prepared is None:
            prepared = await abandonable(lambda: prepare(self._request, self._emit))
        timeout = prepared.configuration.timeout
        try:
            async with asyncio.timeout(timeout):
                return await self._run(self._client, prepared, (stdin, stdout, stderr), began)
        except TimeoutError:
            if timeout is None:
                raise
            raise TimedOut(
                "deployment.timeout",
                "the deployment took longer than it may",
                found=f"no receipt after {timeout:g} s",
                meaning="the keep was ended; what was printed before is not vouched for",
                remedy="allow more with --timeout",
            ) from None

    async def _run(
        self, client: HostClient, prepared: Prepared, streams: tuple[Input, Output, Output], began: int
    ) -> Outcome:
        session = TenantSession(
            tee=await self._choose(client),
            signing_key=Ed25519PrivateKey.generate(),
            nonce=os.urandom(NONCE_SIZE),
            secret=os.urandom(SECRET_SIZE),
        )
        request = KeepRequest(
            tee=session.tee,
            image=prepared.image,
            memory=prepared.keep_memory,
            nonce=session.nonce,
            tenant_key_digest=session.tenant_key_digest,
        )
        asked = time.monotonic_ns()
        async with client.session(request) as (keep, channel):
            self._created(client, request, keep, time.monotonic_ns() - asked)
            # The host launches meanwhile.
            policy = self._request.policy
            appraiser = Appraiser(policy, client, memory=prepared.keep_memory, chains=client.chains)
            shipment = prepared.ship()
            appraisal = await self._appraise(channel, session, appraiser, keep)
            with wired(prepared.configuration, streams) as (stdin, stdout, stderr):
                conversation = Conversation(
                    channel, session, prepared, emit=self._emit, stdin=stdin, stdout=stdout, stderr=stderr
                )
                delivery = _Delivery(session, appraisal, shipment)
                ended = await conversation.hold(iter(delivery))
            session.close()
            return self._finish(session, delivery.evidence, shipment, conversation, ended, began)

    async def _choose(self, client: HostClient) -> str:
        offered = {tee.kind: tee for tee in await client.platform()}
        for kind in self._request.policy.platforms:
            tee = offered.get(kind)
            if tee is None:
                self._emit(events.KindPassedOver(kind, "the host does not have it"))
            elif tee.slots_used >= tee.slots:
                self._emit(events.KindPassedOver(kind, "the host has no free key slot"))
            else:
                return kind
        raise PlatformUnavailable(
            "deployment.platform",
            f"{client.name} has no platform that the policy names",
            found=", ".join(sorted(offered)) or "none",
            required=" or ".join(self._request.policy.platforms),
            remedy="choose another host, or name another platform in the policy",
        )

    def _created(self, client: HostClient, request: KeepRequest, keep: KeepCreated, took_ns: int) -> None:
        self._emit(
            events.KeepStarted(
                host=client.name,
                tee=request.tee,
                product=keep.product,
                image_kind=keep.image_kind,
                memory=request.memory,
                elapsed_ns=took_ns,
            )
        )

    async def _appraise(
        self, channel: Channel, session: TenantSession, appraiser: Appraiser, keep: KeepCreated
    ) -> Appraisal:
        async with bounded("the keep's offer", OFFER_TIMEOUT):
            message = await channel.receive()
        if message is None:
            session.close()
            raise RuntimeError("a session without an offer cannot be complete")
        offer = session.receive_offer(message)
        appraisal = await appraiser.appraise(session, offer, keep.product)
        self._emit(appraisal.event)
        for lost in appraisal.result.lost_protections:
            self._emit(events.ProtectionLost(lost.what, (lost.text,)))
        return appraisal

    def _finish(
        self,
        session: TenantSession,
        evidence: bytes,
        shipment: Shipment,
        conversation: Conversation,
        ended: Ended,
        began: int,
    ) -> Outcome:
        bundle = receipts.encode(evidence=evidence, launch=conversation.launch, receipt=ended.encoded)
        disclosures = receipts.encode_disclosures(session.session_id, shipment.salts)
        outcome = ended.receipt.outcome
        exit_code = outcome.code if isinstance(outcome, Exited) else None
        trap = None if exit_code is not None else conversation.trap
        self._emit(
            events.Finished(
                exit_code=exit_code,
                trap=trap,
                receipt=bundle,
                disclosures=disclosures,
                stdout_size=ended.receipt.stdout.length,
                stderr_size=ended.receipt.stderr.length,
                peak_memory=ended.receipt.peak_memory,
                program_ns=ended.receipt.elapsed_ns,
                elapsed_ns=time.monotonic_ns() - began,
            )
        )
        return Outcome(exit_code, trap, bundle, disclosures)


class _Delivery:
    """The messages of a delivery. While the keep takes the last one in, the receipt's evidence is made."""

    def __init__(self, session: TenantSession, appraisal: Appraisal, shipment: Shipment) -> None:
        self._session = session
        self._appraisal = appraisal
        self._shipment = shipment

    def __iter__(self) -> Iterator[bytes]:
        yield from self._session.accept(self._appraisal.result, self._shipment)
        _ = self.evidence

    @cached_property
    def evidence(self) -> bytes:
        return receipts.collect(self._session, self._appraisal)


def deploy(request: DeploymentRequest, *, stdin: bytes = b"", on_event: Watcher = events.ignore) -> Outcome:
    """Run ``request`` to its end, blocking, with its output in memory. Raises WasmkeepError."""

    async def whole() -> Outcome:
        stdout, stderr = BytesOutput(), BytesOutput()
        async with Deployment(request, on_event=on_event) as deployment:
            outcome = await deployment.run(BytesInput(stdin), stdout, stderr)
        return Outcome(
            outcome.exit_code,
            outcome.trap,
            outcome.receipt,
            outcome.disclosures,
            stdout.getvalue(),
            stderr.getvalue(),
        )

    return asyncio.run(whole())
