"""CBOR: one encoding, checked against another implementation; loose reading for recognising only."""

from __future__ import annotations

from contextlib import suppress

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evidence.soak import SETTINGS
from wasmkeep.evidence import cbor
from wasmkeep.evidence.cbor import MAX_DEPTH, NotCbor, Tagged, decode, encode, outline

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=40)
)
KEYS = st.integers(-(2**64), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=8)
ITEMS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@SETTINGS
@given(ITEMS)
def test_round_trip_and_another_implementation(item: cbor.Item) -> None:
    data = encode(item)
    assert decode(data) == item
    assert outline(data) == item
    assert cbor2.loads(data) == item


@SETTINGS
@given(st.binary(max_size=60))
def test_what_is_read_is_written_back_the_same(data: bytes) -> None:
    try:
        item = decode(data)
    except NotCbor:
        return
    assert encode(item) == data


@SETTINGS
@given(st.binary(max_size=200))
def test_loose_reading_raises_nothing_else(data: bytes) -> None:
    with suppress(NotCbor):
        outline(data)


REFUSED = {
    "nothing": "",
    "cut": "1901",
    "more": "0000",
    "long head": "1817",
    "long length": "580100",
    "64 bits for 32": "1b00000000ffffffff",
    "indefinite bytes": "5f4101ff",
    "indefinite text": "7f6161ff",
    "indefinite array": "9f01ff",
    "indefinite map": "bf0102ff",
    "tag": "c100",
    "half": "f97e00",
    "float": "fa00000000",
    "undefined": "f7",
    "simple": "f820",
    "reserved": "1c",
    "key twice": "a201000100",
    "keys out of order": "a202000100",
    "key an array": "a18000",
    "key true": "a1f500",
    "not UTF-8": "61ff",
    "huge bytes": "5bffffffffffffffff00",
    "huge array": "9bffffffffffffffff00",
    "too deep": "81" * (MAX_DEPTH + 1) + "00",
    "too many": "991001" + "00" * 0x1001,
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    with pytest.raises(NotCbor):
        decode(bytes.fromhex(REFUSED[name]))


def test_keys_stand_in_the_order_of_their_bytes() -> None:
    """RFC 8949, 4.2.1: not by length first, as older texts had it."""
    assert encode({"a": 0, 100: 0, -1: 0, 1: 0, "": 0}).hex() == "a5010018640020006000616100"


@pytest.mark.parametrize(
    ("data", "item"),
    [
        ("bf6161019f02ff04ff", None),
        ("d284414041a0", None),
        ("c1fb3ff8000000000000", Tagged(1, None)),
        ("5f42010243030405ff", b"\1\2\3\4\5"),
        ("7f61616162ff", "ab"),
        ("9f0102ff00", [1, 2]),
        ("bf016161ff", {1: "a"}),
    ],
)
def test_loose_reading(data: str, item: object) -> None:
    if item is None:
        with pytest.raises(NotCbor):
            outline(bytes.fromhex(data))
    else:
        assert outline(bytes.fromhex(data)) == item


def test_what_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        encode(1.5)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match="64 bits"):
        encode(2**64)
