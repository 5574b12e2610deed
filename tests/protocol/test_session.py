"""No order of messages, no truncation and no altered bit gets past the tenant's half of a session."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.keep_half import FakeVerdict, KeepHalf, Running, shipment, tenant, trap_payload
from wasmkeep.errors import SessionError
from wasmkeep.protocol import records
from wasmkeep.protocol.binding import Field
from wasmkeep.protocol.events import Ended, InputWanted, LaunchProven, Output, Refusal, TrapReport
from wasmkeep.protocol.records import RecordType
from wasmkeep.protocol.session import State
from wasmkeep.protocol.statements import Exited, Trapped


def test_a_whole_session() -> None:
    run = Running.start(shipment(b"large" * 1_000_000))
    (launched,) = run.tenant.receive(run.launched())
    assert isinstance(launched, LaunchProven)
    output = run.keep.seal(RecordType.STDOUT, b"7\n")
    wish = run.keep.seal(RecordType.WANT_STDIN, struct.pack("<I", 100))
    events = list(run.tenant.receive(output + wish))
    assert events == [Output(error=False, data=b"7\n"), InputWanted(100)]
    ((kind, payload),) = run.keep.opener.open_message(run.tenant.send_input(b"in"))
    assert (kind, payload) == (RecordType.STDIN, b"in")
    run.keep.streams[Field.STDIN].update(b"in")
    (ended,) = run.tenant.receive(run.receipt([0, 3]))
    assert isinstance(ended, Ended)
    assert ended.receipt.outcome == Exited(3)
    assert ended.receipt.stdout.length == 2
    run.tenant.close()


def test_input_that_crossed_with_the_receipt_does_not_count() -> None:
    run = Running.start()
    list(run.tenant.receive(run.launched() + run.keep.seal(RecordType.WANT_STDIN, struct.pack("<I", 9))))
    run.tenant.send_input(b"too late")
    (ended,) = run.tenant.receive(run.receipt())
    assert isinstance(ended, Ended)
    assert ended.receipt.stdin.length == 0


def test_input_before_the_last_may_not_be_denied() -> None:
    run = Running.start()
    wish = struct.pack("<I", 9)
    list(run.tenant.receive(run.launched() + run.keep.seal(RecordType.WANT_STDIN, wish)))
    run.tenant.send_input(b"read")
    list(run.tenant.receive(run.keep.seal(RecordType.WANT_STDIN, wish)))
    with pytest.raises(SessionError) as refused:
        list(run.tenant.receive(run.receipt()))
    assert refused.value.check == "session.stdin"


def test_a_trap_is_reported_and_then_receipted() -> None:
    run = Running.start()
    list(run.tenant.receive(run.launched()))
    (trap,) = run.tenant.receive(run.keep.seal(RecordType.TRAP, trap_payload()))
    assert isinstance(trap, TrapReport)
    assert (trap.vector, len(trap.frames)) == (14, 2)
    (ended,) = run.tenant.receive(run.receipt([1, 14]))
    assert isinstance(ended, Ended)
    assert ended.receipt.outcome == Trapped(14)


def test_a_sealed_refusal_ends_the_session() -> None:
    run = Running.start()
    payload = struct.pack("<IQ", 22, 99)
    assert list(run.tenant.receive(run.keep.seal(RecordType.REFUSED, payload))) == [Refusal(22, 99)]
    run.tenant.close()
    with pytest.raises(SessionError):
        list(run.tenant.receive(run.launched()))


@pytest.mark.parametrize(
    "change",
    [{"bound": False}, {"host_data_bound": False}, {"report_data": bytes(64)}, {"host_data": bytes(32)}],
)
def test_nothing_leaves_without_a_verdict_on_this_session(change: dict[str, object]) -> None:
    one, keep = tenant(), KeepHalf()
    one.receive_offer(keep.offer)
    verdict = FakeVerdict.on(one, **change)
    with pytest.raises(SessionError) as refused:
        one.accept(verdict, shipment())
    assert refused.value.check == "session.unbound"
    assert one.state is State.FAILED
    with pytest.raises(RuntimeError):
        one.accept(FakeVerdict.on(one), shipment())


def test_every_key_and_the_nonce_enter_the_report_data() -> None:
    def bound(seed: int, keep: KeepHalf) -> bytes:
        one = tenant(seed)
        one.receive_offer(keep.offer)
        return one.report_data

    other_receipt = KeepHalf(7)
    other_receipt.offer = KeepHalf(7).offer[:1220] + KeepHalf(9).offer[1220:]
    seen = {bound(1, KeepHalf(7)), bound(2, KeepHalf(7)), bound(1, KeepHalf(8)), bound(1, other_receipt)}
    assert len(seen) == 4


@pytest.mark.parametrize("size", [0, 3, 1287, 1288])
def test_a_short_offer_is_refused(size: int) -> None:
    one = tenant()
    with pytest.raises(SessionError) as refused:
        one.receive_offer(KeepHalf().offer[:size])
    assert refused.value.check == "session.offer"
    assert one.state is State.FAILED


@pytest.mark.parametrize(
    "spoil",
    [
        lambda o: o + b"\0",
        lambda o: b"\2" + o[1:],
        lambda o: o[:1284] + struct.pack("<I", 0) + o[1288:],
        lambda o: o[:1284] + struct.pack("<I", 0xFFFFFFFF) + o[1288:],
    ],
)
def test_a_wrong_offer_is_refused(spoil: object) -> None:
    with pytest.raises(SessionError):
        tenant().receive_offer(spoil(KeepHalf().offer))  # type: ignore[operator]


def test_a_receiving_key_that_is_no_key_is_refused() -> None:
    one, keep = tenant(), KeepHalf()
    one.receive_offer(keep.offer[:4] + b"\xff" * 1216 + keep.offer[1220:])
    with pytest.raises(SessionError) as refused:
        one.accept(FakeVerdict.on(one), shipment())
    assert refused.value.check == "session.receiving-key"


RECORDS_OF_KEEP = [kind for kind in RecordType if kind >= RecordType.LAUNCHED]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(RECORDS_OF_KEEP), min_size=1, max_size=6))
def test_no_other_order_of_records_is_complete(order: list[RecordType]) -> None:
    """Any sequence that ends complete is one the protocol names."""
    run = Running.start()
    payloads: dict[RecordType, Callable[[], bytes]] = {
        RecordType.LAUNCHED: run.launched,
        RecordType.STDOUT: lambda: run.keep.seal(RecordType.STDOUT, b"o"),
        RecordType.STDERR: lambda: run.keep.seal(RecordType.STDERR, b"e"),
        RecordType.TRAP: lambda: run.keep.seal(RecordType.TRAP, trap_payload()),
        RecordType.WANT_STDIN: lambda: run.keep.seal(RecordType.WANT_STDIN, struct.pack("<I", 5)),
        RecordType.REFUSED: lambda: run.keep.seal(RecordType.REFUSED, bytes(12)),
        RecordType.RECEIPT: lambda: run.receipt([1, 14] if RecordType.TRAP in order else [0, 0]),
    }
    try:
        for kind in order:
            list(run.tenant.receive(payloads[kind]()))
        run.tenant.close()
    except SessionError:
        return
    streams = {RecordType.STDOUT, RecordType.STDERR, RecordType.WANT_STDIN}
    body = order[1:-1]
    if order[0] is RecordType.REFUSED:
        assert order == [RecordType.REFUSED]
        return
    assert order[0] is RecordType.LAUNCHED
    assert order[-1] is RecordType.RECEIPT
    assert order.count(RecordType.WANT_STDIN) <= 1
    assert set(body[:-1]) <= streams
    assert not body or body[-1] in {*streams, RecordType.TRAP}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_altered_bit_gets_through(data: st.DataObject) -> None:
    run = Running.start()
    message = run.launched() + run.keep.seal(RecordType.STDOUT, b"out") + run.receipt()
    bit = data.draw(st.integers(0, len(message) * 8 - 1))
    altered = bytearray(message)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SessionError):
        list(run.tenant.receive(bytes(altered)))
    assert run.tenant.state is State.FAILED
    with pytest.raises(SessionError):
        list(run.tenant.receive(message))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_truncation_is_complete(data: st.DataObject) -> None:
    run = Running.start()
    message = run.launched() + run.keep.seal(RecordType.STDOUT, b"out") + run.receipt()
    cut = data.draw(st.integers(0, len(message) - 1))

    def to_the_end() -> None:
        list(run.tenant.receive(message[:cut]))
        run.tenant.close()

    with pytest.raises(SessionError):
        to_the_end()


def test_a_cut_between_records_is_incomplete() -> None:
    run = Running.start()
    list(run.tenant.receive(run.launched()))
    list(run.tenant.receive(run.keep.seal(RecordType.STDOUT, b"useful")))
    with pytest.raises(SessionError) as refused:
        run.tenant.close()
    assert refused.value.check == "session.incomplete"


@pytest.mark.parametrize("how", ["repeat", "drop", "swap", "other session"])
def test_repeated_dropped_swapped_and_foreign_records_are_refused(how: str) -> None:
    run = Running.start()
    list(run.tenant.receive(run.launched()))
    one, two = (run.keep.seal(RecordType.STDOUT, text) for text in (b"one", b"two"))
    other = Running.start(shipment(b"other"))
    foreign = other.launched()
    message = {"repeat": one + one, "drop": two, "swap": two + one, "other session": foreign}[how]
    with pytest.raises(SessionError) as refused:
        list(run.tenant.receive(message))
    assert refused.value.check == "session.authentication"


LAUNCH_CHANGES: dict[str, object] = {
    "_1": "tdx",
    "_2": bytes(48),
    "_3": bytes(32),
    "_4": "wasmtime 50.0.1 x86_64-unknown-linux-gnu x86-64-v2",
    "_5": b"x" * 32,
    "_6": b"x" * 32,
    "_7": b"x" * 32,
    "_8": b"x" * 32,
    "_9": 1,
    "_10": 1,
    "_11": b"x" * 32,
}


@pytest.mark.parametrize("key", LAUNCH_CHANGES)
def test_each_field_of_the_launch_statement_must_be_what_was_sent(key: str) -> None:
    run = Running.start()
    with pytest.raises(SessionError) as refused:
        list(run.tenant.receive(run.launched(**{key: LAUNCH_CHANGES[key]})))
    assert refused.value.check == "session.launch-statement"


@pytest.mark.parametrize(
    ("key", "value", "check"),
    [
        *((key, value, "session.receipt") for key, value in LAUNCH_CHANGES.items()),
        ("_20", [1, 14], "session.receipt"),
        ("_21", bytes(32), "session.stdin"),
        ("_22", 7, "session.stdin"),
        ("_23", bytes(32), "session.stdout"),
        ("_24", 0, "session.stdout"),
        ("_25", bytes(32), "session.stderr"),
        ("_26", 9, "session.stderr"),
    ],
)
def test_each_field_of_the_receipt_must_match(key: str, value: object, check: str) -> None:
    run = Running.start()
    list(run.tenant.receive(run.launched() + run.keep.seal(RecordType.STDOUT, b"out")))
    with pytest.raises(SessionError) as refused:
        list(run.tenant.receive(run.receipt(None, **{key: value})))
    assert refused.value.check == check


@pytest.mark.parametrize("wish", [b"", b"\0\0\0\0", struct.pack("<I", 61_441), b"\1" * 5])
def test_a_malformed_wish_for_input_is_refused(wish: bytes) -> None:
    run = Running.start()
    list(run.tenant.receive(run.launched()))
    with pytest.raises(SessionError) as refused:
        list(run.tenant.receive(run.keep.seal(RecordType.WANT_STDIN, wish)))
    assert refused.value.check == "session.input"


def test_input_that_nobody_wanted_is_our_own_mistake() -> None:
    run = Running.start()
    with pytest.raises(ValueError, match="wanted"):
        run.tenant.send_input(b"x")


@pytest.mark.parametrize("frames", [49, 0xFFFFFFFF])
def test_a_trap_report_with_too_many_frames_is_refused(frames: int) -> None:
    run = Running.start()
    list(run.tenant.receive(run.launched()))
    payload = bytearray(trap_payload(0))
    struct.pack_into("<I", payload, 48, frames)
    with pytest.raises(SessionError) as refused:
        list(run.tenant.receive(run.keep.seal(RecordType.TRAP, bytes(payload))))
    assert refused.value.check == "session.trap"


def test_messages_and_records_have_bounds() -> None:
    run = Running.start(shipment(b"x" * 3_000_000))
    assert records.MAX_MESSAGE_SIZE == 983_040
    with pytest.raises(SessionError) as refused:
        list(run.tenant.receive(bytes(records.MAX_MESSAGE_SIZE + 1)))
    assert refused.value.check == "session.message-size"
    with pytest.raises(ValueError, match="payload"):
        run.keep.seal(RecordType.STDERR, bytes(65_529))


def test_deliveries_fit_the_window() -> None:
    one, keep = tenant(), KeepHalf()
    one.receive_offer(keep.offer)
    messages = list(one.accept(FakeVerdict.on(one), shipment(b"x" * 5_000_000)))
    assert len(messages) == 6
    assert max(map(len, messages)) <= records.MAX_MESSAGE_SIZE
