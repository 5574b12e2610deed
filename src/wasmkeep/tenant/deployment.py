"""One deployment: attest a keep, deliver into it, stream, and hold its receipt.

Steps, in this order; each emits its event only once it succeeded, and a failed one ends the deployment:

1. prepare      compile the program and encode what it is given; nothing has left yet
2. choose       the first kind of the policy's platforms that the host, or the next one, has
3. create       a keep bound to a fresh nonce and a fresh tenant key
4. attest       the keep's evidence against the policy, bound to this session (``attesting``)
5. deliver      the package, sealed to the key that the evidence vouches for
6. run          the launch statement, then the standard streams
7. close        the receipt, checked against what was received

Nothing is delivered before step 4 succeeded, and a run is complete only with step 7. A place without a keep
is left for the next one before it gave any evidence, and each attempt begins anew, with keys of its own;
evidence that is refused ends the deployment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from wasmkeep.errors import TimedOut, WasmkeepError
from wasmkeep.protocol.events import Ended, Shipment
from wasmkeep.protocol.statements import Exited
from wasmkeep.tenant import events, receipts, stored_session
from wasmkeep.tenant.appraisal import Appraisal
from wasmkeep.tenant.attesting import Attesting, BeforeEvidence, attesting
from wasmkeep.tenant.channel import Channel
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.conversation import Conversation
from wasmkeep.tenant.events import Watcher
from wasmkeep.tenant.host_api import KeepCreated, KeepRequest
from wasmkeep.tenant.places import Place, Places, may_move_on
from wasmkeep.tenant.preparation import Prepared, prepare
from wasmkeep.tenant.request import DeploymentRequest
from wasmkeep.tenant.streams import BytesInput, BytesOutput, Input, Output
from wasmkeep.tenant.threads import abandonable
from wasmkeep.tenant.wiring import wired

Streams = tuple[Input, Output, Output]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, with a verified receipt. ``exit_code`` is None where the program trapped.

    ``stored_session`` is empty, or what the tenant must keep to verify a receipt that convinces nobody else.
    """

    exit_code: int | None
    trap: str | None
    receipt: bytes
    disclosures: bytes
    stdout: bytes = b""
    stderr: bytes = b""
    stored_session: bytes = field(default=b"", repr=False)


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
        self._clients: list[HostClient] = []
        self._stack = AsyncExitStack()
        self._used = False

    async def __aenter__(self) -> Deployment:
        request = self._request
        if self._client is None:
            self._client = await self._connected(request.host, request.token, request.ca_file)
        self._clients = [self._client]
        for other in request.other_hosts:
            self._clients.append(await self._connected(other.host, other.token, other.ca_file))
        return self

    async def _connected(self, host: str, token: str, ca_file: Path | None) -> HostClient:
        """A client that connects when it is first needed. Raises ConfigurationError, InputError."""
        return await self._stack.enter_async_context(
            HostClient(host, token, str(ca_file) if ca_file is not None else None)
        )

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run(self, stdin: Input, stdout: Output, stderr: Output) -> Outcome:
        """Run to the end. Raises a WasmkeepError that names the check where anything is refused.

        Cancelling it ends the keep.
        """
        if not self._clients or self._used:
            raise RuntimeError("a deployment is entered once and run once")
        self._used = True
        began = time.monotonic_ns()
        prepared = self._prepared
        if prepared is None:
            prepared = await abandonable(lambda: prepare(self._request, self._emit))
        timeout = prepared.configuration.timeout
        try:
            async with asyncio.timeout(timeout):
                return await self._run(self._clients, prepared, (stdin, stdout, stderr), began)
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
        self, clients: Sequence[HostClient], prepared: Prepared, streams: Streams, began: int
    ) -> Outcome:
        places = Places(clients, self._request.policy, self._emit)
        async with aclosing(places.each()) as each:
            async for place in each:
                try:
                    return await self._at(place, prepared, streams, began)
                except BeforeEvidence as moved:
                    places.failed(place, moved.error)
        raise places.nowhere()

    async def _at(self, place: Place, prepared: Prepared, streams: Streams, began: int) -> Outcome:
        """Deploy to one place. Raises ``BeforeEvidence`` where it has no keep."""
        attempt = attesting(place, self._request.policy, prepared)
        async with AsyncExitStack() as stack:
            keep, channel = await self._opened(place.client, attempt, stack)
            # The host launches meanwhile.
            shipment = prepared.ship()
            appraisal = await attempt.prove(channel, keep.product)
            self._attested(appraisal)
            session = attempt.session
            with wired(prepared.configuration, streams) as (stdin, stdout, stderr):
                conversation = Conversation(
                    channel, session, prepared, emit=self._emit, stdin=stdin, stdout=stdout, stderr=stderr
                )
                delivery = _Delivery(attempt, appraisal, shipment)
                ended = await conversation.hold(iter(delivery))
            session.close()
            return self._finish(attempt, delivery.evidence, shipment, conversation, ended, began)

    async def _opened(
        self, client: HostClient, attempt: Attesting, stack: AsyncExitStack
    ) -> tuple[KeepCreated, Channel]:
        try:
            await attempt.before()
            asked = time.monotonic_ns()
            keep, channel = await stack.enter_async_context(client.session(attempt.request))
            self._created(client, attempt.request, keep, time.monotonic_ns() - asked)
            await attempt.begin(channel)
        except WasmkeepError as error:
            if may_move_on(error):
                raise BeforeEvidence(error) from error
            raise
        return keep, channel

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

    def _attested(self, appraisal: Appraisal) -> None:
        self._emit(appraisal.event)
        for lost in appraisal.result.lost_protections:
            self._emit(events.ProtectionLost(lost.what, (lost.text,)))

    def _finish(
        self,
        attempt: Attesting,
        evidence: bytes,
        shipment: Shipment,
        conversation: Conversation,
        ended: Ended,
        began: int,
    ) -> Outcome:
        session = attempt.session
        bundle = receipts.encode(
            tee=session.tee, evidence=evidence, launch=conversation.launch, receipt=ended.encoded
        )
        disclosures = receipts.encode_disclosures(session.session_id, shipment.salts)
        stored = b"" if attempt.keys is None else stored_session.encode(session.session_id, attempt.keys)
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
                stored_session=stored,
            )
        )
        return Outcome(exit_code, trap, bundle, disclosures, stored_session=stored)


class _Delivery:
    """The messages of a delivery. While the keep takes the last one in, the receipt's evidence is made."""

    def __init__(self, attempt: Attesting, appraisal: Appraisal, shipment: Shipment) -> None:
        self._attempt = attempt
        self._appraisal = appraisal
        self._shipment = shipment

    def __iter__(self) -> Iterator[bytes]:
        yield from self._attempt.deliver(self._shipment)
        _ = self.evidence

    @cached_property
    def evidence(self) -> bytes:
        return receipts.collect(self._attempt.session, self._appraisal)


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
            outcome.stored_session,
        )

    return asyncio.run(whole())
