"""Statements have one encoding and one meaning; an independent COSE library agrees."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.keep_half import Running
from wasmkeep.errors import SessionError
from wasmkeep.protocol import statements


@pytest.fixture(scope="module")
def run() -> Running:
    return Running.start()


def launch_message(run: Running, payload: bytes | None = None, kind: bytes = statements.LAUNCH_TYPE) -> bytes:
    fields = run.keep.launch_fields(run.sent, run.tenant.tenant_key_digest)
    return run.keep.sign(cbor2.dumps(fields, canonical=True) if payload is None else payload, kind)


def verify(run: Running, message: bytes, session: bytes | None = None) -> statements.LaunchStatement:
    return statements.verify_launch(message, run.keep.receipt_key, session or run.keep.session)


def test_another_cose_library_verifies_the_same_bytes(run: Running) -> None:
    from pycose.algorithms import EdDSA
    from pycose.headers import Algorithm
    from pycose.keys.curves import Ed25519
    from pycose.keys.okp import OKPKey
    from pycose.messages.sign1message import Sign1Message

    from wasmkeep.protocol.binding import length_prefixed

    encoded = launch_message(run)
    protected, unprotected, payload, signature = cbor2.loads(encoded)
    external = length_prefixed(statements.LAUNCH_TYPE, run.keep.session)
    other = Sign1Message(phdr={Algorithm: EdDSA}, payload=payload, external_aad=external)
    other.key = OKPKey(crv=Ed25519, x=run.keep.receipt_key)
    other._signature = signature
    assert cbor2.loads(protected) == {1: -8}
    assert unprotected == {}
    assert other.verify_signature()


def test_a_launch_statement_cannot_pass_for_a_receipt(run: Running) -> None:
    with pytest.raises(SessionError) as refused:
        statements.verify_receipt(launch_message(run), run.keep.receipt_key, run.keep.session)
    assert refused.value.check == "statement.signature"


def test_a_statement_of_another_session_or_key_is_refused(run: Running) -> None:
    message = launch_message(run)
    assert verify(run, message).tee == "snp"
    with pytest.raises(SessionError):
        verify(run, message, session=bytes(32))
    with pytest.raises(SessionError):
        statements.verify_launch(message, bytes(32), run.keep.session)


@pytest.mark.parametrize(
    "payload",
    [
        cbor2.dumps([]),
        cbor2.dumps({}),
        cbor2.dumps({1: "snp"}),
        b"",
        b"\xff",
        b"\x9f\xff",
        b"\xbf\x01\x02\xff",
        b"\x18\x01",
    ],
)
def test_other_payloads_are_refused(run: Running, payload: bytes) -> None:
    with pytest.raises(SessionError) as refused:
        verify(run, launch_message(run, payload))
    assert refused.value.check == "statement.form"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (1, b"snp"),
        (1, ""),
        (1, "s" * 65),
        (1, "\x1b[0m"),
        (2, bytes(47)),
        (3, "x"),
        (9, -1),
        (9, True),
        (9, 1 << 64),
    ],
)
def test_fields_of_another_type_are_refused(run: Running, key: int, value: object) -> None:
    fields = run.keep.launch_fields(run.sent, run.tenant.tenant_key_digest) | {key: value}
    with pytest.raises(SessionError) as refused:
        verify(run, launch_message(run, cbor2.dumps(fields, canonical=True)))
    assert refused.value.check == "statement.form"


@pytest.mark.parametrize("extra", [0, 12, 20, 255])
def test_unknown_fields_are_refused(run: Running, extra: int) -> None:
    fields = run.keep.launch_fields(run.sent, run.tenant.tenant_key_digest) | {extra: 1}
    with pytest.raises(SessionError):
        verify(run, launch_message(run, cbor2.dumps(fields, canonical=True)))


@pytest.mark.parametrize("outcome", [[0], [2, 0], [0, -1], [0, 1 << 32], [1, 256], [0, True], [0, "0"], 0])
def test_other_outcomes_are_refused(run: Running, outcome: object) -> None:
    fields = run.keep.launch_fields(run.sent, run.tenant.tenant_key_digest)
    fields |= {
        20: outcome,
        **dict.fromkeys((21, 23, 25), bytes(32)),
        **dict.fromkeys((22, 24, 26, 27, 28, 29), 0),
    }
    encoded = run.keep.sign(cbor2.dumps(fields, canonical=True), statements.RECEIPT_TYPE)
    with pytest.raises(SessionError) as refused:
        statements.verify_receipt(encoded, run.keep.receipt_key, run.keep.session)
    assert refused.value.check == "statement.form"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_altered_statement_verifies(data: st.DataObject) -> None:
    run = Running.start()
    message = bytearray(launch_message(run))
    message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SessionError):
        verify(run, bytes(message))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_named_refusal(data: bytes) -> None:
    with pytest.raises(SessionError):
        statements.verify_launch(data, bytes(32), bytes(32))


def test_trailing_bytes_and_other_encodings_are_refused(run: Running) -> None:
    message = launch_message(run)
    for spoilt in (
        message + b"\0",
        b"\xd2" + message,
        b"\x98\x04" + message[1:],
        b"\x9f" + message[1:] + b"\xff",
    ):
        with pytest.raises(SessionError):
            verify(run, spoilt)
