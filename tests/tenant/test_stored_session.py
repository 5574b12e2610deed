"""What a tenant keeps of a launch: read back for its own receipt, and for no other."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmkeep.errors import ReceiptInvalid
from wasmkeep.evidence.sev.evidence import SevKeys
from wasmkeep.tenant import stored_session

SESSION = bytes(range(32))
KEYS = SevKeys(tik=b"t" * 16, proof_key=b"p" * 32)


def test_it_reads_back() -> None:
    assert stored_session.decode(stored_session.encode(SESSION, KEYS), SESSION) == KEYS
    assert "7474" not in repr(KEYS)


def test_another_receipts_is_refused() -> None:
    with pytest.raises(ReceiptInvalid) as refused:
        stored_session.decode(stored_session.encode(SESSION, KEYS), bytes(32))
    assert refused.value.check == "receipt.session"


@pytest.mark.parametrize(
    "change",
    [
        {"tik": "00" * 15},
        {"tik": 5},
        {"tik": "zz"},
        {"proof_key": ""},
        {"more": "00"},
        {"session": None},
    ],
)
def test_another_form_is_refused(change: dict[str, object]) -> None:
    members = json.loads(stored_session.encode(SESSION, KEYS)) | change
    with pytest.raises(ReceiptInvalid) as refused:
        stored_session.decode(json.dumps(members).encode(), SESSION)
    assert refused.value.check == "receipt.form"


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        stored_session.decode(data, SESSION)


@pytest.mark.parametrize("data", [b"[" * 100_000, b"[]", b"null", b"{}", b" " * 5000])
def test_so_are_other_shapes(data: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        stored_session.decode(data, SESSION)
