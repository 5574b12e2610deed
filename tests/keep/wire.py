"""Drives a keep through its window, as a host does, with a tenant at the other end of the wire."""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.keep.bare_machine import (
    MEASUREMENT,
    REQUEST,
    RESPONSE,
    Machine,
    StandInProcessor,
    Stopped,
    secrets_page,
    slot_page,
)
from wasmkeep.protocol import slot
from wasmkeep.protocol.events import Ended, InputWanted, Output, Refusal, SessionEvent, Shipment, TrapReport
from wasmkeep.protocol.offer import Offer
from wasmkeep.protocol.session import TenantSession

CONTROL, DATA, DATA_SIZE = 0x1000, 0x1_0000, 983_040
EXCHANGE, END, REFUSE = 1, 2, 3
FOREVER = (1 << 64) - 1
IOIO, GUEST_REQUEST = 0x7B, 0x8000_0011
CYCLES_KHZ = 2_500_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """Stands in for an attestation result; the report's signature is not what these tests are about."""

    report_data: bytes
    host_data: bytes
    launch_digest: bytes = MEASUREMENT
    bound: bool = True
    host_data_bound: bool = True


@dataclass(frozen=True, slots=True)
class PublicRefusal:
    code: int
    detail: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One EXCHANGE as the host sees it."""

    outgoing: bytes
    wait: int


@dataclass(frozen=True, slots=True)
class End:
    outgoing: bytes


class HostSide:
    """The host's half of the window: hints, exits, messages. Sees only what a host sees."""

    def __init__(self, machine: Machine, processor: StandInProcessor, tee: str = "snp") -> None:
        self.machine = machine
        self.processor = processor
        self.tee = tee
        self.exits = 0
        self.tamper: Callable[[HostSide], None] | None = None
        self.exitinfo2 = 0

    def hint(self, nonce: bytes, tenant_key_digest: bytes, khz: int = CYCLES_KHZ) -> None:
        self.machine.window[CONTROL + 0x200 : CONTROL + 0x248] = (
            nonce + tenant_key_digest + struct.pack("<Q", khz)
        )

    def answer(self, message: bytes) -> None:
        window = self.machine.window
        window[DATA : DATA + len(message)] = message
        struct.pack_into("<I", window, CONTROL + 0x100, len(message))

    def step(self) -> Exchange | End | PublicRefusal | Stopped:
        """Runs until the keep wants something of the tenant's side; guest messages are relayed on the way."""
        while True:
            result = self.machine.run()
            if isinstance(result, Stopped):
                return result
            self.exits += 1
            if self.tamper is not None:
                self.tamper(self)
            window = self.machine.window
            (code,) = struct.unpack_from("<Q", window, 0x390)
            if code == GUEST_REQUEST:
                assert self.tee == "snp"
                self._relay_guest_message()
                continue
            assert code == (0 if self.tee == "sev" else IOIO)
            return self._operation()

    def _relay_guest_message(self) -> None:
        window = self.machine.window
        request, response = struct.unpack_from("<QQ", window, 0x398)
        assert (request, response) == (0x20_0000 + REQUEST, 0x20_0000 + RESPONSE)
        answer = self.processor.answer(bytes(window[REQUEST : REQUEST + 4096]))
        window[RESPONSE : RESPONSE + len(answer)] = answer
        struct.pack_into("<Q", window, 0x3A0, self.exitinfo2)

    def _operation(self) -> Exchange | End | PublicRefusal:
        window = self.machine.window
        operation, outgoing, wait, code = struct.unpack_from("<IIQI", window, CONTROL)
        (detail,) = struct.unpack_from("<Q", window, CONTROL + 0x14)
        assert outgoing <= DATA_SIZE
        data = bytes(window[DATA : DATA + outgoing])
        struct.pack_into("<I", window, CONTROL + 0x100, 0)
        if operation == EXCHANGE:
            return Exchange(data, wait)
        if operation == END:
            return End(data)
        assert operation == REFUSE
        return PublicRefusal(code, detail)


@dataclass(slots=True)
class Outcome:
    """What came of a session, as the tenant saw it."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    events: list[SessionEvent] = field(default_factory=list)
    ending: End | PublicRefusal | Stopped | None = None
    exits: int = 0

    def last(self, kind: type[SessionEvent]) -> SessionEvent | None:
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    @property
    def receipt(self) -> Ended:
        event = self.last(Ended)
        assert isinstance(event, Ended), (self.ending, self.events)
        return event

    @property
    def trap(self) -> TrapReport:
        event = self.last(TrapReport)
        assert isinstance(event, TrapReport), (self.ending, self.events)
        return event

    @property
    def refusal(self) -> Refusal:
        event = self.last(Refusal)
        assert isinstance(event, Refusal), (self.ending, self.events)
        return event


class Relay:
    """A host that behaves, and a tenant; ``on_the_way`` may alter any message to the keep.

    ``machine_of`` makes a machine, given the page that the launch gives this keep alone: on ``sev`` and
    ``sev-es`` the slot with the tenant's packet, of which ``inject`` may make what a host's tricks would.
    """

    def __init__(
        self,
        machine_of: Callable[[bytes], Machine],
        *,
        tee: str = "snp",
        seed: bytes | None = None,
        inject: Callable[[bytes], bytes] = lambda packet: slot_page((0, packet)),
        launch_secret: bytes = b"",
    ) -> None:
        self.signing_key = Ed25519PrivateKey.generate()
        packet = slot.slot_packet(os.urandom(slot.RANDOM_SIZE))
        self.session = TenantSession(
            tee=tee,
            signing_key=self.signing_key,
            nonce=os.urandom(32),
            secret=seed or os.urandom(32),
            launch_secret=launch_secret or (b"" if tee == "snp" else slot.launch_secret(packet, tee)),
        )
        self.processor = StandInProcessor(self.session.tenant_key_digest)
        self.machine = machine_of(secrets_page(self.processor.key) if tee == "snp" else inject(packet))
        self.host = HostSide(self.machine, self.processor, tee)
        self.host.hint(self.session.nonce, self.session.tenant_key_digest)
        self.on_the_way: Callable[[int, bytes], bytes] = lambda _, message: message
        self.eager = False  # answer a wish for input at the next exit, even if the keep does not wait there
        self._sent = 0

    def run(self, shipment: Shipment, stdin: bytes = b"") -> Outcome:
        outcome = Outcome()
        try:
            step = self.host.step()
            if not isinstance(step, Exchange):
                outcome.ending = step
                return outcome
            messages = self._accept(self.session.receive_offer(step.outgoing), shipment)
            self._serve(outcome, messages, stdin)
            return outcome
        finally:
            outcome.exits = self.host.exits
            self.machine.close()

    def _accept(self, offer: Offer, shipment: Shipment) -> Iterator[bytes]:
        if self.session.tee != "snp":
            return self.session.accept_proven(shipment)
        return self.session.accept(Verdict(offer.evidence[0x50:0x90], offer.evidence[0xC0:0xE0]), shipment)

    def _serve(self, outcome: Outcome, messages: Iterator[bytes], stdin: bytes) -> None:
        waiting = True
        wanted = 0
        while True:
            if waiting:
                message = next(messages, None)
                if message is None and wanted:
                    message, stdin = self.session.send_input(stdin[:wanted]), stdin[wanted:]
                    wanted = 0
                if message is not None:
                    self.host.answer(self.on_the_way(self._sent, message))
                    self._sent += 1
            step = self.host.step()
            if not isinstance(step, (Exchange, End)):
                outcome.ending = step
                return
            for event in self.session.receive(step.outgoing) if step.outgoing else ():
                self._note(outcome, event)
                if isinstance(event, InputWanted):
                    wanted = event.limit
            if isinstance(step, End):
                outcome.ending = step
                return
            waiting = step.wait > 0 or (self.eager and wanted > 0)
            if waiting and not wanted and step.wait != FOREVER:
                time.sleep(step.wait / 1e9)

    @staticmethod
    def _note(outcome: Outcome, event: SessionEvent) -> None:
        outcome.events.append(event)
        if isinstance(event, Output):
            (outcome.stderr if event.error else outcome.stdout).extend(event.data)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
