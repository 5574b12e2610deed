"""A receipt verifies offline, about one program and one keep, then and now; and nothing altered does."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostile.lying_host import Attempt, deploy_to_liar, policy_for, prepared
from tests.machines import STATE, machine
from wasmkeep.errors import InputError, ReceiptInvalid, RevokedSince, WasmkeepError
from wasmkeep.evidence.errors import Rejected
from wasmkeep.protocol.binding import Field
from wasmkeep.protocol.statements import Exited
from wasmkeep.simulator import certificates
from wasmkeep.simulator.products import PRODUCTS
from wasmkeep.simulator.roots import load_or_create
from wasmkeep.tenant import receipts
from wasmkeep.tenant.appraisal import reference_values
from wasmkeep.tenant.receipts import ReceiptFile


@cache
def attempted() -> Attempt:
    result = deploy_to_liar()
    if result.outcome is None:
        raise AssertionError(result.error)
    return result


def data() -> bytes:
    outcome = attempted().outcome
    return b"" if outcome is None else outcome.receipt


def values() -> dict[bytes, str]:
    return reference_values(policy_for(machine()), prepared().keep_memory, "snp")


def verified(file: ReceiptFile | None = None) -> receipts.VerifiedReceipt:
    return receipts.verify(file or receipts.decode(data()), policy_for(machine()), values())


def test_a_receipt_verifies_offline() -> None:
    result = verified()
    assert result.receipt.outcome == Exited(0)
    assert result.receipt.stdout.length == 2
    assert result.result.simulated
    assert abs(result.started - datetime.now(UTC)) < timedelta(hours=1)
    assert result.receipt.launch.program_digest == prepared().program.digest


def test_it_is_not_valid_without_the_pin() -> None:
    with pytest.raises(Rejected):
        receipts.verify(receipts.decode(data()), replace(policy_for(machine()), simulated=None), values())


def test_it_is_not_valid_for_another_image() -> None:
    with pytest.raises(Rejected) as refused:
        receipts.verify(receipts.decode(data()), policy_for(machine()), {bytes(48): "wasmkeep 0.1.0"})
    assert "snp.measurement" in {finding.check for finding in refused.value.findings}


def test_it_holds_at_the_time_of_the_run_and_not_before_its_certificates() -> None:
    """The time that is judged is the run's, not today's: the statement's own is what `verify` uses."""
    result = verified()
    assert result.result.at == result.started


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_no_altered_byte_verifies(drawn: st.DataObject) -> None:
    spoilt = bytearray(data())
    position = drawn.draw(st.integers(0, len(spoilt) - 1))
    spoilt[position] ^= drawn.draw(st.integers(1, 255))

    def whole() -> None:
        verified(receipts.decode(bytes(spoilt)))

    with pytest.raises(WasmkeepError):
        whole()


@pytest.mark.parametrize("member", ["evidence", "launch", "receipt"])
def test_every_member_is_needed(member: str) -> None:
    members = json.loads(data())
    del members[member]
    with pytest.raises(ReceiptInvalid) as refused:
        receipts.decode(json.dumps(members, separators=(",", ":")).encode() + b"\n")
    assert refused.value.check == "receipt.form"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text + b" ",
        lambda text: text[:-1],
        lambda text: text.replace(b'"launch"', b'"lunch"'),
        lambda text: text.replace(b'{"__cmwc_t"', b'{ "__cmwc_t"'),
        lambda text: b"[" * 100_000,
        lambda text: b"",
        lambda text: b"{}",
        lambda text: b"null",
        lambda text: b"\xff\xfe",
        lambda text: text * 200,
    ],
)
def test_other_forms_are_refused(spoil: object) -> None:
    with pytest.raises(ReceiptInvalid) as refused:
        receipts.decode(spoil(data()))  # type: ignore[operator]
    assert refused.value.check == "receipt.form"


def with_member(name: str, value: bytes) -> ReceiptFile:
    members = json.loads(data())
    members[name][1] = base64.urlsafe_b64encode(value).rstrip(b"=").decode()
    return receipts.decode(json.dumps(members, separators=(",", ":")).encode() + b"\n")


def test_a_launch_statement_in_the_receipts_place_is_refused() -> None:
    file = receipts.decode(data())
    with pytest.raises(ReceiptInvalid) as refused:
        verified(with_member("receipt", file.launch))
    assert refused.value.check == "receipt.statement.signature"


def test_statements_of_another_session_are_refused() -> None:
    other = deploy_to_liar()
    assert other.outcome is not None
    foreign = receipts.decode(other.outcome.receipt)
    with pytest.raises(ReceiptInvalid):
        verified(replace(receipts.decode(data()), receipt=foreign.receipt))
    with pytest.raises(ReceiptInvalid):
        verified(replace(receipts.decode(data()), launch=foreign.launch))
    with pytest.raises(WasmkeepError):
        verified(replace(receipts.decode(data()), binding=foreign.binding))
    with pytest.raises(WasmkeepError):
        verified(replace(receipts.decode(data()), evidence=foreign.evidence))


@pytest.mark.parametrize(
    "name", ["nonce", "tenant_key_digest", "receiving_key", "receipt_key", "hpke_message_digest"]
)
def test_every_part_of_the_binding_counts(name: str) -> None:
    file = receipts.decode(data())
    value = bytearray(getattr(file.binding, name))
    value[0] ^= 1
    with pytest.raises(WasmkeepError):
        verified(replace(file, binding=replace(file.binding, **{name: bytes(value)})))  # type: ignore[arg-type]


def test_a_binding_reads_back_and_nothing_else_does() -> None:
    bound = receipts.decode(data()).binding
    assert receipts.Binding.decode(bound.encode()) == bound
    for spoilt in (b"", bound.encode()[:-1], bound.encode() + b"\0", bound.encode() * 2, b"\xff" * 40):
        with pytest.raises(ReceiptInvalid):
            receipts.Binding.decode(spoilt)


def test_another_program_is_refused() -> None:
    result = verified()
    receipts.require_program(result.receipt, prepared().program.digest)
    with pytest.raises(ReceiptInvalid) as refused:
        receipts.require_program(result.receipt, bytes(32))
    assert refused.value.check == "receipt.program"


def test_fields_are_disclosed_one_by_one() -> None:
    outcome = attempted().outcome
    assert outcome is not None
    result = verified()
    salts = receipts.decode_disclosures(outcome.disclosures, result.session_id)
    assert set(salts) == set(Field)
    assert len(set(salts.values())) == len(salts)
    receipts.require_disclosed(result.receipt, Field.STDOUT, salts[Field.STDOUT], b"7\n")
    receipts.require_disclosed(
        result.receipt, Field.ARGUMENTS, salts[Field.ARGUMENTS], b"add.wat\x003\x004\0"
    )
    for field, salt, content in (
        (Field.STDOUT, salts[Field.STDOUT], b"8\n"),
        (Field.STDOUT, salts[Field.STDERR], b"7\n"),
        (Field.STDERR, salts[Field.STDOUT], b"7\n"),
        (Field.STDOUT, b"", b"7\n"),
    ):
        with pytest.raises(ReceiptInvalid):
            receipts.require_disclosed(result.receipt, field, salt, content)


def test_no_salt_is_in_the_receipt() -> None:
    outcome = attempted().outcome
    assert outcome is not None
    for salt in receipts.decode_disclosures(outcome.disclosures, verified().session_id).values():
        assert salt not in outcome.receipt
        assert salt.hex().encode() not in outcome.receipt
        assert base64.urlsafe_b64encode(salt).rstrip(b"=")[:40] not in outcome.receipt


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b'{"session":"00","salts":{"stdout":"xx"}}', b"[" * 9999]
)
def test_damaged_salts_are_refused(text: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        receipts.decode_disclosures(text, bytes(32))


def test_salts_of_another_receipt_are_refused() -> None:
    outcome = attempted().outcome
    assert outcome is not None
    with pytest.raises(ReceiptInvalid) as refused:
        receipts.decode_disclosures(outcome.disclosures, bytes(32))
    assert refused.value.check == "receipt.salts"


def list_of_today(*, revoke_ask: bool) -> bytes:
    """A newer revocation list of the machine's own root."""
    identity = load_or_create(STATE, "tests", PRODUCTS["genoa"], lambda _: None)
    now = datetime.now(UTC).replace(microsecond=0)
    return certificates.issue_crl(
        identity.product,
        identity.ark,
        number=99,
        this_update=now - timedelta(minutes=1),
        next_update=now + timedelta(days=365),
        revoked=[identity.product.ask_serial] if revoke_ask else [],
    )


def test_still_accepted_now() -> None:
    receipts.require_accepted_now(
        receipts.decode(data()),
        policy_for(machine()),
        values(),
        crl=list_of_today(revoke_ask=False),
        at=datetime.now(UTC),
        crl_not_older_than={},
    )


def test_valid_then_and_revoked_since() -> None:
    verified()
    with pytest.raises(RevokedSince) as refused:
        receipts.require_accepted_now(
            receipts.decode(data()),
            policy_for(machine()),
            values(),
            crl=list_of_today(revoke_ask=True),
            at=datetime.now(UTC),
            crl_not_older_than={},
        )
    assert refused.value.exit_code == 79


def test_valid_then_and_its_chip_denied_since() -> None:
    with pytest.raises(RevokedSince) as refused:
        receipts.require_accepted_now(
            receipts.decode(data()),
            policy_for(machine(), chips_deny=frozenset({machine().chip_id})),
            values(),
            crl=list_of_today(revoke_ask=False),
            at=datetime.now(UTC),
            crl_not_older_than={},
        )
    assert "snp.chip.deny" in refused.value.found


def test_a_run_that_has_not_been_yet_is_refused() -> None:
    before = verified().started - timedelta(hours=1)
    with pytest.raises(ReceiptInvalid) as refused:
        receipts.verify(receipts.decode(data()), policy_for(machine()), values(), now=before)
    assert refused.value.check == "receipt.time"


@pytest.mark.parametrize("crl", [b"", b"no list", b"\x30\x03\x02\x01\x00"])
def test_what_cannot_be_told_is_not_called_revoked(crl: bytes) -> None:
    with pytest.raises(InputError) as refused:
        receipts.require_accepted_now(
            receipts.decode(data()),
            policy_for(machine()),
            values(),
            crl=crl,
            at=datetime.now(UTC),
            crl_not_older_than={},
        )
    assert refused.value.check == "receipt.now"


def test_a_list_out_of_date_says_nothing_about_today() -> None:
    with pytest.raises(InputError):
        receipts.require_accepted_now(
            receipts.decode(data()),
            policy_for(machine()),
            values(),
            crl=list_of_today(revoke_ask=False),
            at=datetime.now(UTC) + timedelta(days=800),
            crl_not_older_than={},
        )
