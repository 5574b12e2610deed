"""A session with a keep on SEV or SEV-ES: without the proof nothing passes, and no key lacks the secret."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.keep_half import (
    LAUNCH_SECRET,
    MEASUREMENT,
    FakeVerdict,
    KeepHalf,
    Running,
    shipment,
    tenant,
)
from wasmkeep.errors import SessionError
from wasmkeep.protocol import binding, records, statements
from wasmkeep.protocol.events import Ended, LaunchProven, Output
from wasmkeep.protocol.offer import Offer
from wasmkeep.protocol.records import RecordType
from wasmkeep.protocol.session import State, TenantSession

TEES = ("sev", "sev-es")


def keep_of(tee: str, secret: bytes = LAUNCH_SECRET) -> KeepHalf:
    return KeepHalf(tee=tee, launch_secret=secret)


@pytest.mark.parametrize("tee", TEES)
def test_a_whole_session(tee: str) -> None:
    run = Running.start_proven(tee)
    (launched,) = run.tenant.receive(run.launched())
    assert isinstance(launched, LaunchProven)
    assert (launched.statement.tee, launched.statement.measurement) == (tee, b"")
    assert list(run.tenant.receive(run.keep.seal(RecordType.STDOUT, b"7"))) == [
        Output(error=False, data=b"7")
    ]
    (ended,) = run.tenant.receive(run.receipt())
    assert isinstance(ended, Ended)
    run.tenant.close()


def refused_offer(one: TenantSession, message: bytes) -> str:
    with pytest.raises(SessionError) as refused:
        one.receive_offer(message)
    assert one.state is State.FAILED
    with pytest.raises(RuntimeError):
        one.accept_proven(shipment())
    return refused.value.check


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_altered_bit_of_what_is_proven_passes(data: st.DataObject) -> None:
    """All of the offer but the salt, whose change ends the session at the first record."""
    one = tenant(tee="sev")
    offer = bytearray(keep_of("sev").proven_offer(one))
    bit = data.draw(st.integers(0, len(offer) * 8 - 1).filter(lambda bit: not 1252 <= bit // 8 < 1284))
    offer[bit // 8] ^= 1 << bit % 8
    assert refused_offer(one, bytes(offer)) in ("session.proof", "session.offer")


@pytest.mark.parametrize("size", [1, 31, 33, 1184])
def test_a_proof_of_another_size_is_refused(size: int) -> None:
    one, keep = tenant(tee="sev"), keep_of("sev")
    offer = Offer(keep.receiving_key, keep.receipt_key, keep.salt, b"x" * size).encode()
    assert refused_offer(one, offer) == "session.proof"


def test_a_proof_of_another_launch_tee_nonce_or_tenant_is_refused() -> None:
    one = tenant(tee="sev")
    for keep, asked in (
        (keep_of("sev", b"M" * 32), one),
        (keep_of("sev-es"), one),
        (keep_of("sev"), tenant(9, "sev")),
    ):
        assert refused_offer(tenant(tee="sev"), keep.proven_offer(asked)) == "session.proof"


def test_another_salt_gives_records_that_do_not_open() -> None:
    one, keep = tenant(tee="sev"), keep_of("sev")
    offer = bytearray(keep.proven_offer(one))
    offer[1252] ^= 1
    one.receive_offer(bytes(offer))
    goods = shipment(b"p")
    keep.open_delivery(list(one.accept_proven(goods)), one.report_data, one.nonce)
    with pytest.raises(SessionError):
        list(one.receive(keep.launched(goods, one.tenant_key_digest)))


def test_whoever_lacks_the_launch_secret_opens_nothing() -> None:
    """Not even who has the keep's receiving key, and with it the tenant's secret."""
    one, keep = tenant(tee="sev-es"), keep_of("sev-es")
    one.receive_offer(keep.proven_offer(one))
    messages = list(one.accept_proven(shipment()))
    keep.launch_secret = b""
    with pytest.raises(SessionError):
        keep.open_delivery(messages, one.report_data, one.nonce)


@pytest.mark.parametrize("tee", TEES)
@pytest.mark.parametrize("measurement", [bytes(48), bytes(32), b"\0", MEASUREMENT])
def test_a_keep_states_no_measurement(tee: str, measurement: bytes) -> None:
    run = Running.start_proven(tee)
    with pytest.raises(SessionError) as refused:
        list(run.tenant.receive(run.launched(_2=measurement)))
    assert refused.value.check == "statement.form"


@pytest.mark.parametrize(("tee", "measurement"), [("snp", MEASUREMENT), ("sev", b"")])
def test_a_keep_states_its_own_tee(tee: str, measurement: bytes) -> None:
    run = Running.start_proven("sev-es")
    with pytest.raises(SessionError) as refused:
        list(run.tenant.receive(run.launched(_1=tee, _2=measurement)))
    assert refused.value.check == "session.launch-statement"


def test_a_statement_of_snp_needs_its_measurement() -> None:
    run = Running.start()
    with pytest.raises(SessionError) as refused:
        list(run.tenant.receive(run.launched(_2=b"")))
    assert refused.value.check == "statement.form"


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_no_altered_bit_gets_through(data: st.DataObject) -> None:
    run = Running.start_proven(data.draw(st.sampled_from(TEES)))
    message = run.launched() + run.keep.seal(RecordType.STDOUT, b"out") + run.receipt()
    bit = data.draw(st.integers(0, len(message) * 8 - 1))
    altered = bytearray(message)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SessionError):
        list(run.tenant.receive(bytes(altered)))
    assert run.tenant.state is State.FAILED


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_truncation_is_complete(data: st.DataObject) -> None:
    run = Running.start_proven(data.draw(st.sampled_from(TEES)))
    message = run.launched() + run.keep.seal(RecordType.STDOUT, b"out") + run.receipt()
    cut = data.draw(st.integers(0, len(message) - 1))

    def to_the_end() -> None:
        list(run.tenant.receive(message[:cut]))
        run.tenant.close()

    with pytest.raises(SessionError):
        to_the_end()


@pytest.mark.parametrize(("tee", "secret"), [("snp", b"x" * 32), ("sev", b""), ("sev-es", b"x" * 31)])
def test_a_launch_secret_belongs_to_a_pre_attested_launch(tee: str, secret: bytes) -> None:
    key = tenant()._signing_key
    with pytest.raises(ValueError, match="launch secret"):
        TenantSession(tee=tee, signing_key=key, nonce=bytes(32), secret=bytes(32), launch_secret=secret)


def test_each_tee_is_accepted_in_its_own_way() -> None:
    proven, attested = tenant(tee="sev"), tenant()
    proven.receive_offer(keep_of("sev").proven_offer(proven))
    attested.receive_offer(KeepHalf().offer)
    with pytest.raises(RuntimeError, match="proof"):
        proven.accept(FakeVerdict.on(proven), shipment())
    with pytest.raises(RuntimeError, match="verdict"):
        attested.accept_proven(shipment())


def test_keys_of_snp_are_those_of_its_secret_alone() -> None:
    """As they always were: the launch secret of nothing is nothing."""
    run = Running.start()
    key = binding.to_tenant_key(bytes([3]) * 32, run.tenant.session_id, run.keep.salt)
    ((kind, _),) = records.Opener(key).open_message(run.launched())
    assert kind is RecordType.LAUNCHED


def test_report_data_and_types_differ_by_tee() -> None:
    keep = keep_of("sev")
    seen = set()
    for tee in ("snp", *TEES):
        one = tenant(tee=tee)
        keep.tee = tee
        one.receive_offer(keep.proven_offer(one))
        seen.add(one.report_data)
    assert len(seen) == 3
    assert statements.PRE_ATTESTED == TEES
