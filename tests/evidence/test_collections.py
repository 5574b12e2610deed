"""Collections of every kind in both forms, and collateral in its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import cbor2
import pytest

from tests.evidence.forge import Forge
from tests.evidence.sev_forge import SevForge
from tests.evidence.test_refusals import vlek
from tests.evidence.vectors import FOLDER, needs_vectors
from wasmkeep.evidence import Rejected, cbor, cmw
from wasmkeep.evidence.dcap import collateral_json
from wasmkeep.evidence.dcap.evidence import Collateral, SgxEvidence, TdxEvidence
from wasmkeep.evidence.sev.evidence import KINDS

Json = dict[str, Any]  # Any: JSON

COLLATERAL = Collateral("a", b"\1", b"\2", "b", '{"x": 1}', bytes(64), "c", "{}", bytes(range(64)))
DCAP = (
    TdxEvidence(b"quote", COLLATERAL),
    TdxEvidence(b"quote"),
    SgxEvidence(b"quote", COLLATERAL),
    SgxEvidence(b"quote"),
)


@pytest.mark.parametrize("form", cmw.Form)
def test_every_kind_round_trips_in_both_forms(forge: Forge, sev_forge: SevForge, form: cmw.Form) -> None:
    every: tuple[cmw.AnyEvidence, ...] = (
        forge.evidence(),
        forge.evidence(crl=None),
        vlek(forge),
        *map(sev_forge.evidence, KINDS),
        *DCAP,
    )
    for evidence in every:
        for binding in (None, b"nonce and keys"):
            collection = cmw.EvidenceCollection(evidence, binding)
            data = cmw.encode(collection, form)
            assert cmw.decode(data) == collection
            assert cmw.encode(cmw.decode(data), form) == data
            other = cmw.Form.CBOR if form is cmw.Form.JSON else cmw.Form.JSON
            assert cmw.decode(cmw.encode(cmw.decode(data), other)) == collection


def test_what_a_collection_looks_like_in_cbor() -> None:
    data = cbor2.loads(cmw.encode(cmw.EvidenceCollection(DCAP[0], b"\1"), cmw.Form.CBOR))
    assert data == {
        "__cmwc_t": "tag:wasmkeep.invalid,2026:tdx-evidence#1",
        "quote": ["application/vnd.wasmkeep.dcap-quote", b"quote", 4],
        "binding": ["application/vnd.wasmkeep.binding", b"\1", 4],
        "collateral": [
            "application/vnd.wasmkeep.dcap-collateral+json",
            collateral_json.encode(COLLATERAL),
            2,
        ],
    }


TYPE = "tag:wasmkeep.invalid,2026:sgx-evidence#1"
QUOTE = ["application/vnd.wasmkeep.dcap-quote", b"q", 4]
COLLATERAL_RECORD = "application/vnd.wasmkeep.dcap-collateral+json"
IN_CBOR: dict[str, tuple[object, str]] = {
    "another type": ({"__cmwc_t": "tag:x", "quote": QUOTE}, "cmw.type"),
    "no type": ({"quote": QUOTE}, "cmw.type"),
    "a record": (QUOTE, "cmw.type"),
    "no quote": ({"__cmwc_t": TYPE}, "cmw.malformed"),
    "an unknown label": ({"__cmwc_t": TYPE, "quote": QUOTE, "report": QUOTE}, "cmw.malformed"),
    "a label of a number": ({"__cmwc_t": TYPE, "quote": QUOTE, 1: QUOTE}, "cmw.malformed"),
    "text for bytes": ({"__cmwc_t": TYPE, "quote": [QUOTE[0], "q", 4]}, "cmw.malformed"),
    "another media type": ({"__cmwc_t": TYPE, "quote": ["a/b", b"q", 4]}, "cmw.malformed"),
    "another indicator": ({"__cmwc_t": TYPE, "quote": [QUOTE[0], b"q", 2]}, "cmw.malformed"),
    "no indicator": ({"__cmwc_t": TYPE, "quote": QUOTE[:2]}, "cmw.malformed"),
    "nothing in it": ({"__cmwc_t": TYPE, "quote": [QUOTE[0], b"", 4]}, "cmw.malformed"),
    "too much in it": ({"__cmwc_t": TYPE, "quote": [QUOTE[0], bytes(70_000), 4]}, "cmw.malformed"),
    "too long": ({"__cmwc_t": TYPE, "quote": [QUOTE[0], bytes(600_000), 4]}, "cmw.size"),
    "collateral that is none": (
        {"__cmwc_t": TYPE, "quote": QUOTE, "collateral": [COLLATERAL_RECORD, b"{}", 2]},
        "dcap.collateral.malformed",
    ),
    "collateral of another encoding": (
        {
            "__cmwc_t": TYPE,
            "quote": QUOTE,
            "collateral": [COLLATERAL_RECORD, collateral_json.encode(COLLATERAL) + b" ", 2],
        },
        "cmw.malformed",
    ),
}


@pytest.mark.parametrize("rule", IN_CBOR)
def test_collection_in_cbor(rule: str) -> None:
    item, check = IN_CBOR[rule]
    with pytest.raises(Rejected) as caught:
        cmw.decode(cbor.encode(item))  # type: ignore[arg-type]  # nested lists
    assert caught.value.check == check


def test_one_encoding_in_cbor(forge: Forge) -> None:
    data = cmw.encode(cmw.EvidenceCollection(forge.evidence()), cmw.Form.CBOR)
    members = cbor2.loads(data)
    unordered = cbor2.dumps(dict(reversed(list(members.items()))))
    for other in (unordered, data + b"\0", data[:-1], b"\xd9\xd9\xf7" + data, b"\xbf" + data[1:] + b"\xff"):
        with pytest.raises(Rejected) as caught:
            cmw.decode(other)
        assert caught.value.check == "cmw.malformed"


@needs_vectors
def test_real_collateral_is_read_and_written() -> None:
    found = sorted(FOLDER.glob("*/*/collateral.json"))
    assert found
    for path in found:
        data = path.read_bytes()
        collateral = collateral_json.decode(data)
        assert json.loads(collateral_json.encode(collateral)) == json.loads(data)
        assert collateral_json.decode(collateral_json.encode(collateral)) == collateral


SPOILT: dict[str, Callable[[Json], object]] = {
    "a member less": lambda m: m.pop("tcb_info"),
    "a member more": lambda m: m.update(pck="x"),
    "a number": lambda m: m.update(tcb_info=1),
    "nothing": lambda m: m.update(tcb_info=""),
    "other than ASCII": lambda m: m.update(qe_identity="é"),
    "not hexadecimal": lambda m: m.update(pck_crl="xy"),
    "half a byte": lambda m: m.update(pck_crl="abc"),
    "white space in it": lambda m: m.update(pck_crl="ab cd"),
    "a short signature": lambda m: m.update(tcb_info_signature="00"),
    "a long signature": lambda m: m.update(qe_identity_signature="00" * 65),
}


@pytest.mark.parametrize("rule", SPOILT)
def test_collateral_that_is_refused(rule: str) -> None:
    members = json.loads(collateral_json.encode(COLLATERAL))
    SPOILT[rule](members)
    with pytest.raises(Rejected) as caught:
        collateral_json.decode(json.dumps(members).encode())
    assert caught.value.check == "dcap.collateral.malformed"


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"[" * 5000, b" " * 300_000, b'{"pck_crl":"00","pck_crl":"00"}']
)
def test_bytes_that_are_no_collateral(data: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        collateral_json.decode(data)
    assert caught.value.check == "dcap.collateral.malformed"
