"""The tenant's half of a session: bytes in, bytes and events out; no socket, no clock, no randomness.

The rules, and where each is held:

1. A session has one tenant key, one nonce and one secret; it is used once.             ``__init__``
2. The first message is the offer, and nothing else is read before it.                   ``_MOVES``
3. Nothing leaves before the offer's evidence has a verdict that is bound to exactly the
   report data of this session; or, where the launch was attested before (SEV, SEV-ES),
   before the keep has proven over that report data that it has the launch secret.       ``receive_offer``
4. The secret, and through it everything else, is sealed to the receiving key in that
   report data; the tenant's key signs nonce, both keep keys and the HPKE message.       ``_deliver``
5. Records open in order, each exactly once; any failure ends the session.               ``records``
6. A record that its state does not allow ends the session.                              ``_MOVES``
7. The launch statement names what was sent, and comes before any output.                ``_launched``
8. The receipt repeats the launch statement and matches the streams as they arrived;
   nothing comes after it.                                                               ``_ended``
9. Only a session that ended with its receipt (or a sealed refusal) is complete.         ``close``

States and the records that each allows are one table, ``_MOVES``. After an error the session is FAILED and
stays so: every further call raises.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wasmkeep.errors import SessionError
from wasmkeep.protocol import binding, offer, records, slot, statements
from wasmkeep.protocol.binding import Field, SaltedDigest
from wasmkeep.protocol.events import (
    Ended,
    InputWanted,
    LaunchProven,
    Output,
    Refusal,
    SessionEvent,
    Shipment,
    TrapReport,
    Verdict,
)
from wasmkeep.protocol.offer import Offer
from wasmkeep.protocol.records import RecordType
from wasmkeep.protocol.statements import PRE_ATTESTED, LaunchStatement, StreamDigest

_TRAP_HEADER = struct.Struct("<IIQQQQQII")
_MAX_FRAMES = 48


class State(Enum):
    EXPECT_OFFER = auto()
    DECIDE = auto()
    EXPECT_LAUNCHED = auto()
    RUNNING = auto()
    TRAPPED = auto()
    ENDED = auto()
    REFUSED = auto()
    FAILED = auto()


# What the keep may send in each state, and the state after it.
_MOVES: dict[State, dict[RecordType, State]] = {
    State.EXPECT_LAUNCHED: {
        RecordType.LAUNCHED: State.RUNNING,
        RecordType.REFUSED: State.REFUSED,
    },
    State.RUNNING: {
        RecordType.STDOUT: State.RUNNING,
        RecordType.STDERR: State.RUNNING,
        RecordType.WANT_STDIN: State.RUNNING,
        RecordType.TRAP: State.TRAPPED,
        RecordType.RECEIPT: State.ENDED,
    },
    State.TRAPPED: {RecordType.RECEIPT: State.ENDED},
}


class TenantSession:
    """One session. ``secret`` is 32 fresh random bytes, ``nonce`` 32 more; neither is ever used again.

    ``launch_secret`` is what the launch of a keep on SEV or SEV-ES was given (`PreAttestedLaunch`), 32 bytes;
    there is none on other TEEs.
    """

    def __init__(
        self,
        *,
        tee: str,
        signing_key: Ed25519PrivateKey,
        nonce: bytes,
        secret: bytes,
        launch_secret: bytes = b"",
    ) -> None:
        if len(nonce) != binding.NONCE_SIZE or len(secret) != binding.SECRET_SIZE:
            raise ValueError("nonce and secret have 32 bytes each")
        if len(launch_secret) != (slot.LAUNCH_SECRET_SIZE if tee in PRE_ATTESTED else 0):
            raise ValueError("a launch secret has 32 bytes, and belongs to a pre-attested launch")
        self._tee = tee
        self._signing_key = signing_key
        self._tenant_key = signing_key.public_key().public_bytes_raw()
        self._nonce = nonce
        self._secret = secret
        self._launch_secret = launch_secret
        self._state = State.EXPECT_OFFER
        self._want_input = 0
        # Standard input as it was before the last STDIN, which the keep may not have read before its end.
        self._stdin_in_flight: SaltedDigest | None = None

    @property
    def tee(self) -> str:
        return self._tee

    @property
    def state(self) -> State:
        return self._state

    @property
    def tenant_key_digest(self) -> bytes:
        """SHA-256 of the tenant's key: what the launch must fix in the TEE (SNP: HOST_DATA)."""
        return hashlib.sha256(self._tenant_key).digest()

    @property
    def nonce(self) -> bytes:
        return self._nonce

    @property
    def report_data(self) -> bytes:
        """What the offered evidence must be bound to, computed here from the offer's keys."""
        return self._report_data

    @property
    def session_id(self) -> bytes:
        return self._session_id

    @property
    def hpke_message_digest(self) -> bytes:
        return self._hpke_message_digest

    def receive_offer(self, message: bytes) -> Offer:
        """The keep's first message. Raises SessionError; the evidence in it is still to be verified, but for
        the proof of a pre-attested launch, which is verified here."""
        self._require(State.EXPECT_OFFER, "an offer")
        try:
            self._offer = offer.parse(message)
        except SessionError:
            self._state = State.FAILED
            raise
        self._report_data = binding.report_data(
            tee=self._tee,
            nonce=self._nonce,
            tenant_key_digest=self.tenant_key_digest,
            receiving_key=self._offer.receiving_key,
            receipt_key=self._offer.receipt_key,
        )
        if self._launch_secret:
            self._state = State.FAILED
            slot.require_proof(self._offer.evidence, self._launch_secret, self._report_data)
        self._state = State.DECIDE
        return self._offer

    def accept_proven(self, shipment: Shipment) -> Iterator[bytes]:
        """As ``accept``, for a keep whose launch was attested before it ran: it has proven that it is the
        one, or its offer would not have been taken."""
        self._require(State.DECIDE, "a decision on evidence")
        if not self._launch_secret:
            raise RuntimeError(f"a keep on {self._tee} is accepted by a verdict on its evidence")
        return self._deliver(shipment, b"")

    def accept(self, verdict: Verdict, shipment: Shipment) -> Iterator[bytes]:
        """Messages that deliver ``shipment``; made lazily, so that sending may begin with the first.

        Raises SessionError, before anything was made, unless the verdict is bound to this session.
        """
        self._require(State.DECIDE, "a decision on evidence")
        if self._launch_secret:
            raise RuntimeError(f"a keep on {self._tee} is accepted by its proof")
        if not self._binds(verdict):
            self._state = State.FAILED
            raise SessionError(
                "session.unbound",
                "the evidence is not bound to this session",
                found="a verdict on other report data or host data, or on none",
                required="a verdict on the report data of this session and on this tenant's key",
                meaning="nothing was sent",
            )
        return self._deliver(shipment, verdict.launch_digest)

    def _deliver(self, shipment: Shipment, measurement: bytes) -> Iterator[bytes]:
        keep = self._offer
        try:
            message = binding.seal_secret(self._secret, keep.receiving_key, self._report_data)
        except ValueError:
            self._state = State.FAILED
            raise SessionError(
                "session.receiving-key",
                "the keep's receiving key is not a key",
                found="bytes that are no X-Wing public key",
                required="ML-KEM-768 and X25519 public keys",
            ) from None
        self._hpke_message_digest = hashlib.sha256(message).digest()
        self._session_id = binding.session_id(self._report_data, self._hpke_message_digest)
        secret = self._secret + self._launch_secret
        self._sealer = records.Sealer(binding.to_keep_key(secret, self._session_id))
        self._opener = records.Opener(binding.to_tenant_key(secret, self._session_id, keep.keep_salt))
        self._secret = self._launch_secret = b""
        self._shipment = shipment
        self._measurement = measurement
        self._streams = {
            Field.STDIN: SaltedDigest(Field.STDIN, shipment.salts.stdin),
            Field.STDOUT: SaltedDigest(Field.STDOUT, shipment.salts.stdout),
            Field.STDERR: SaltedDigest(Field.STDERR, shipment.salts.stderr),
        }
        signature = self._signing_key.sign(
            binding.hello_signed_bytes(self._nonce, keep.receiving_key, keep.receipt_key, message)
        )
        hello = self._sealer.seal(RecordType.HELLO, self._tenant_key + signature)
        self._state = State.EXPECT_LAUNCHED
        return self._delivery(message + hello)

    def _binds(self, verdict: Verdict) -> bool:
        return (
            verdict.bound
            and verdict.host_data_bound
            and hmac.compare_digest(verdict.report_data, self._report_data)
            and hmac.compare_digest(verdict.host_data, self.tenant_key_digest)
        )

    def _delivery(self, first: bytes) -> Iterator[bytes]:
        message, size = [first], len(first)
        for part in self._shipment.package:
            view = memoryview(part)
            for start in range(0, len(view), records.MAX_PACKAGE_PAYLOAD):
                chunk = bytes(view[start : start + records.MAX_PACKAGE_PAYLOAD])
                record = self._sealer.seal(RecordType.PACKAGE, chunk)
                if size + len(record) > records.MAX_MESSAGE_SIZE:
                    yield b"".join(message)
                    message, size = [], 0
                message.append(record)
                size += len(record)
        yield b"".join(message)

    def receive(self, message: bytes) -> Iterator[SessionEvent]:
        """What one message of the keep means. Raises SessionError at the first record that is not right."""
        if self._state not in _MOVES:
            self._fail("session.unexpected", f"a message while {self._state.name}", "no message now")
        try:
            for record, payload in self._opener.open_message(message):
                yield self._record(record, payload)
        except SessionError:
            self._state = State.FAILED
            raise

    def send_input(self, data: bytes) -> bytes:
        """The message that answers ``InputWanted``; no bytes mean the end of input.

        Raises ValueError where no input was wanted or there is more than was: our own misuse.
        """
        if not self._want_input or len(data) > self._want_input:
            raise ValueError(f"{len(data)} bytes of input where {self._want_input} are wanted")
        self._want_input = 0
        self._stdin_in_flight = self._streams[Field.STDIN].copy()
        self._streams[Field.STDIN].update(data)
        return self._sealer.seal(RecordType.STDIN, data)

    def close(self) -> None:
        """The connection is gone. Raises SessionError unless the session was complete."""
        if self._state not in (State.ENDED, State.REFUSED):
            state, self._state = self._state, State.FAILED
            raise SessionError(
                "session.incomplete",
                "the session ended before its receipt",
                found=f"the connection closed while {state.name.lower().replace('_', ' ')}",
                required="a verified receipt",
                meaning="what was printed before is not vouched for",
                remedy="run again; if it happens again, ask the host's operator or choose another host",
            )

    def _record(self, record: RecordType, payload: bytes) -> SessionEvent:
        allowed = _MOVES.get(self._state, {})
        if record not in allowed:
            self._fail(
                "session.order",
                f"{record.name} while {self._state.name}",
                " or ".join(kind.name for kind in allowed) or "nothing",
            )
        handlers: dict[RecordType, Callable[[bytes], SessionEvent]] = {
            RecordType.LAUNCHED: self._launched,
            RecordType.STDOUT: self._stdout,
            RecordType.STDERR: self._stderr,
            RecordType.WANT_STDIN: self._input_wanted,
            RecordType.TRAP: self._trap,
            RecordType.REFUSED: self._refused,
            RecordType.RECEIPT: self._ended,
        }
        event = handlers[record](payload)
        self._state = allowed[record]
        return event

    def _launched(self, payload: bytes) -> LaunchProven:
        statement = statements.verify_launch(payload, self._offer.receipt_key, self._session_id)
        expected = LaunchStatement(
            tee=self._tee,
            measurement=self._measurement,
            program_digest=self._shipment.program_digest,
            target=self._shipment.target,
            configuration_digest=self._shipment.configuration_digest,
            arguments_digest=self._shipment.arguments_digest,
            environment_digest=self._shipment.environment_digest,
            files_digest=self._shipment.files_digest,
            memory_limit=self._shipment.memory_limit,
            started_ns=self._shipment.started_ns,
            tenant_key_digest=self.tenant_key_digest,
        )
        if statement != expected:
            different = [
                n for n in LaunchStatement.__slots__ if getattr(statement, n) != getattr(expected, n)
            ]
            self._fail("session.launch-statement", f"other {', '.join(different)}", "what was delivered")
        self._statement = statement
        return LaunchProven(statement, payload)

    def _stdout(self, payload: bytes) -> Output:
        return self._output(Field.STDOUT, payload)

    def _stderr(self, payload: bytes) -> Output:
        return self._output(Field.STDERR, payload)

    def _output(self, field: Field, payload: bytes) -> Output:
        if not 0 < len(payload) <= records.MAX_STREAM_PAYLOAD:
            self._fail("session.output-size", f"{len(payload)} bytes", f"1 to {records.MAX_STREAM_PAYLOAD}")
        self._streams[field].update(payload)
        return Output(field is Field.STDERR, payload)

    def _input_wanted(self, payload: bytes) -> InputWanted:
        limit = int.from_bytes(payload, "little") if len(payload) == 4 else 0
        if self._want_input or not 0 < limit <= records.MAX_STREAM_PAYLOAD:
            self._fail("session.input", "a wrong or second wish for input", "one, of a size that fits")
        self._want_input = limit
        self._stdin_in_flight = None
        return InputWanted(limit)

    def _trap(self, payload: bytes) -> TrapReport:
        if len(payload) < _TRAP_HEADER.size:
            self._fail("session.trap", f"{len(payload)} bytes", f"at least {_TRAP_HEADER.size}")
        *head, count, reserved = _TRAP_HEADER.unpack_from(payload)
        if reserved or count > _MAX_FRAMES or len(payload) != _TRAP_HEADER.size + 8 * count:
            self._fail("session.trap", "a malformed trap report", "its own count of frames")
        vector, error_code, instruction, fault, stack, frame, memory = head
        frames = struct.unpack_from(f"<{count}Q", payload, _TRAP_HEADER.size)
        return TrapReport(vector, error_code, instruction, fault, stack, frame, memory, frames)

    def _refused(self, payload: bytes) -> Refusal:
        if len(payload) != 12:
            self._fail("session.refusal", f"{len(payload)} bytes", "12")
        return Refusal(*struct.unpack("<IQ", payload))

    def _ended(self, payload: bytes) -> Ended:
        receipt = statements.verify_receipt(payload, self._offer.receipt_key, self._session_id)
        if receipt.launch != self._statement:
            self._fail("session.receipt", "another launch than was stated", "the launch statement again")
        trapped = isinstance(receipt.outcome, statements.Trapped)
        if trapped != (self._state is State.TRAPPED):
            self._fail("session.receipt", "a trap that was not reported, or the reverse", "one outcome")
        for field, said in (
            (Field.STDIN, receipt.stdin),
            (Field.STDOUT, receipt.stdout),
            (Field.STDERR, receipt.stderr),
        ):
            seen = self._streams[field]
            unread = self._stdin_in_flight if field is Field.STDIN else None
            if not _equal(said, seen) and not (unread is not None and _equal(said, unread)):
                self._fail(
                    f"session.{field}", f"{seen.length} bytes here", f"{said.length} bytes, as the keep says"
                )
        return Ended(receipt, payload)

    def _require(self, state: State, what: str) -> None:
        if self._state is not state:
            raise RuntimeError(f"{what} is not due while {self._state.name}")

    def _fail(self, check: str, found: str, required: str) -> NoReturn:
        self._state = State.FAILED
        raise SessionError(
            check,
            "the keep did not keep to the session's rules",
            found=found,
            required=required,
            remedy="what was printed before is not vouched for; run again, or choose another host",
        )


def _equal(said: StreamDigest, seen: SaltedDigest) -> bool:
    return said.length == seen.length and hmac.compare_digest(said.digest, seen.digest())
