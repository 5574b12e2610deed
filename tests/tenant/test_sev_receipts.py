"""Receipts of SEV and SEV-ES: they convince the tenant who stored the session, and nobody else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostile.lying_host import Attempt, Liar, deploy_to_liar, prepared, sev_policy
from tests.machines import machine
from wasmkeep.cli import __main__ as entry
from wasmkeep.errors import InputError, ReceiptInvalid, RevokedSince, TenantOnly, WasmkeepError
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev.evidence import SevEvidence, SevKeys, SevKind
from wasmkeep.evidence.sev.lost import inherent
from wasmkeep.protocol.statements import Exited
from wasmkeep.tenant import receipts, stored_session
from wasmkeep.tenant.appraisal import reference_values
from wasmkeep.tenant.deployment import Outcome
from wasmkeep.tenant.receipts import ReceiptFile

TEES = ("sev-es", "sev")
both = pytest.mark.parametrize("tee", TEES)


@cache
def attempted(tee: str, number: int = 0) -> Attempt:
    result = deploy_to_liar(Liar(), policy=sev_policy(machine(), tee))
    if result.outcome is None:
        raise AssertionError(result.error)
    return result


def outcome(tee: str, number: int = 0) -> Outcome:
    found = attempted(tee, number).outcome
    if found is None:
        raise AssertionError
    return found


def values(tee: str) -> dict[bytes, str]:
    return reference_values(sev_policy(machine(), tee), prepared().keep_memory, tee)


def keys(tee: str) -> SevKeys:
    file = receipts.decode(outcome(tee).receipt)
    return stored_session.decode(outcome(tee).stored_session, file.binding.session_id)


def verified(
    tee: str, file: ReceiptFile | None = None, *, by: SevKeys | None = None
) -> receipts.VerifiedReceipt:
    read = receipts.decode(outcome(tee).receipt) if file is None else file
    return receipts.verify(read, sev_policy(machine(), tee), values(tee), keys=by or keys(tee))


@both
def test_it_verifies_with_the_stored_session(tee: str) -> None:
    result = verified(tee)
    assert result.receipt.outcome == Exited(0)
    assert result.receipt.launch.measurement == b""
    assert result.result.tee == tee
    assert result.result.tenant_only
    assert result.result.launch_digest in values(tee)


@both
def test_without_it_the_receipt_cannot_be_shown_to_others(tee: str) -> None:
    file = receipts.decode(outcome(tee).receipt)
    for policy in (sev_policy(machine(), tee), sev_policy(machine(), "snp")):
        with pytest.raises(TenantOnly) as refused:
            receipts.verify(file, policy, values(tee))
        assert refused.value.exit_code == 80
        assert "cannot be shown to others" in refused.value.message
        assert "valid" not in str(refused.value).replace("invalid", "")


@both
def test_it_is_marked(tee: str) -> None:
    members = json.loads(outcome(tee).receipt)
    assert list(members) == ["__cmwc_t", "evidence", "launch", "receipt", "verifiable-by", "protection-lost"]
    file = receipts.decode(outcome(tee).receipt)
    assert file.marks["verifiable-by"] == b"tenant"
    kind: SevKind = "sev" if tee == "sev" else "sev-es"
    assert file.marks["protection-lost"].decode().split("\n") == [lost.what for lost in inherent(kind)]
    assert ("registers-visible" in file.marks["protection-lost"].decode()) == (tee == "sev")


def test_no_key_of_the_tenants_is_in_the_receipt() -> None:
    data = outcome("sev-es").receipt
    file = receipts.decode(data)
    assert isinstance(file.evidence, SevEvidence)
    everything = b"".join((file.evidence.launch, file.binding.encode(), file.launch, file.receipt))
    for secret in (keys("sev-es").tik, keys("sev-es").proof_key):
        assert secret not in everything
        assert secret.hex().encode() not in data
        assert base64.urlsafe_b64encode(secret).rstrip(b"=")[:20] not in data


@both
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_altered_byte_verifies(tee: str, drawn: st.DataObject) -> None:
    spoilt = bytearray(outcome(tee).receipt)
    position = drawn.draw(st.integers(0, len(spoilt) - 1))
    spoilt[position] ^= drawn.draw(st.integers(1, 255))

    def whole() -> None:
        verified(tee, receipts.decode(bytes(spoilt)))

    with pytest.raises(WasmkeepError):
        whole()


def marks(**changes: bytes | None) -> Callable[[ReceiptFile], ReceiptFile]:
    def change(file: ReceiptFile) -> ReceiptFile:
        altered = {**file.marks, **{name.replace("_", "-"): value for name, value in changes.items()}}
        return replace(file, marks={name: value for name, value in altered.items() if value is not None})

    return change


@pytest.mark.parametrize(
    "change",
    [
        marks(verifiable_by=b"anyone"),
        marks(verifiable_by=None),
        marks(protection_lost=b""),
        marks(protection_lost=b"no-memory-integrity"),
        marks(protection_lost=None, verifiable_by=None),
    ],
    ids=["anyone", "unmarked", "nothing lost", "less lost", "no marks"],
)
def test_its_marks_count(change: Callable[[ReceiptFile], ReceiptFile]) -> None:
    file = change(receipts.decode(outcome("sev-es").receipt))
    for stored in (keys("sev-es"), None):
        with pytest.raises(ReceiptInvalid) as refused:
            receipts.verify(file, sev_policy(machine(), "sev-es"), values("sev-es"), keys=stored)
        assert refused.value.check == "receipt.consistency"


@pytest.mark.parametrize(
    "gone", [("verifiable-by",), ("protection-lost",), ("verifiable-by", "protection-lost")]
)
def test_what_is_shown_does_not_need_the_marks(
    gone: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    members = json.loads(outcome("sev").receipt)
    for name in gone:
        del members[name]
    path = tmp_path / "stripped.receipt"
    path.write_bytes(json.dumps(members, separators=(",", ":")).encode() + b"\n")
    assert entry.main(["receipt", "show", str(path)]) == 0
    shown = capfd.readouterr().out
    assert "cannot be shown to others" in shown
    assert all(lost.what in shown for lost in inherent("sev"))


@both
def test_it_is_about_one_session(tee: str) -> None:
    file, other = receipts.decode(outcome(tee).receipt), receipts.decode(outcome(tee, 1).receipt)
    for name in ("evidence", "binding", "launch", "receipt"):
        with pytest.raises(WasmkeepError):
            verified(tee, replace(file, **{name: getattr(other, name)}))
    with pytest.raises(ReceiptInvalid) as refused:
        stored_session.decode(outcome(tee, 1).stored_session, file.binding.session_id)
    assert refused.value.check == "receipt.session"


@both
@pytest.mark.parametrize(("part", "check"), [("tik", "sev.measurement"), ("proof_key", "sev.proof")])
def test_other_keys_prove_nothing(tee: str, part: str, check: str) -> None:
    mine = keys(tee)
    other = SevKeys(b"1" * 16, mine.proof_key) if part == "tik" else SevKeys(mine.tik, b"1" * 32)
    with pytest.raises(Rejected) as refused:
        verified(tee, by=other)
    assert refused.value.checks == (check,)


@both
def test_it_is_not_valid_without_the_pin_or_the_name(tee: str) -> None:
    file, policy = receipts.decode(outcome(tee).receipt), sev_policy(machine(), tee)
    other = "sev" if tee == "sev-es" else "sev-es"
    for changed, check in (
        (replace(policy, simulated=None), "sev.root"),
        (replace(policy, platforms=("snp",)), "platform.denied"),
        (replace(policy, platforms=(other,)), "platform.denied"),
        (replace(policy, sev=replace(policy.sev, minimum_api=(2, 0))), "sev.measurement.api"),
    ):
        with pytest.raises(Rejected) as refused:
            receipts.verify(file, changed, values(tee), keys=keys(tee))
        assert check in refused.value.checks


@both
def test_accepted_now_and_denied_since(tee: str) -> None:
    """SEV has no revocation list: what changes is the policy."""
    file, policy = receipts.decode(outcome(tee).receipt), sev_policy(machine(), tee)

    def now(generations: tuple[str, ...]) -> None:
        receipts.require_accepted_now(
            file,
            replace(policy, sev=replace(policy.sev, generations=generations)),
            values(tee),
            crl=None,
            at=datetime.now(UTC),
            crl_not_older_than={},
            keys=keys(tee),
        )

    now(("Genoa",))
    with pytest.raises(InputError) as unknown:
        receipts.require_accepted_now(
            file,
            replace(policy, simulated=None),
            values(tee),
            crl=None,
            at=datetime.now(UTC),
            crl_not_older_than={},
            keys=keys(tee),
        )
    assert unknown.value.check == "receipt.now"
    with pytest.raises(RevokedSince) as refused:
        now(("Turin",))
    assert refused.value.exit_code == 79


def test_a_mark_has_no_place_in_a_receipt_of_snp() -> None:
    plain = deploy_to_liar(Liar(), policy=sev_policy(machine(), "snp")).outcome
    assert plain is not None
    assert plain.stored_session == b""
    members = json.loads(plain.receipt)
    assert list(members) == ["__cmwc_t", "evidence", "launch", "receipt"]
    members["verifiable-by"] = json.loads(outcome("sev").receipt)["verifiable-by"]
    marked = receipts.decode(json.dumps(members, separators=(",", ":")).encode() + b"\n")
    with pytest.raises(ReceiptInvalid):
        receipts.verify(marked, sev_policy(machine(), "snp"), {})
