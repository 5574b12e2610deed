"""Evidence as it travels: collection, certificate table, PEM. One encoding each, and bounds."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evidence import forge as make
from tests.evidence.forge import Forge
from tests.evidence.sev_forge import SEV_KEYS, SevForge
from tests.evidence.soak import SETTINGS
from tests.evidence.test_refusals import vlek
from wasmkeep.evidence import Rejected, SevEvidence, SnpEvidence, cmw, pem
from wasmkeep.evidence.sev.evidence import KINDS, SevKind
from wasmkeep.evidence.snp.table import CertificateTable, decode, encode

Json = dict[str, Any]  # Any: JSON


def test_a_collection_round_trips(forge: Forge) -> None:
    for evidence in (forge.evidence(), forge.evidence(crl=None), vlek(forge)):
        for binding in (None, b"nonce and keys"):
            collection = cmw.EvidenceCollection(evidence, binding)
            data = cmw.encode(collection)
            assert cmw.decode(data) == collection
            assert cmw.encode(cmw.decode(data)) == data


def test_what_a_collection_looks_like(forge: Forge) -> None:
    data = json.loads(cmw.encode(cmw.EvidenceCollection(forge.evidence(), b"\xff\xfe")))
    assert data["__cmwc_t"] == cmw.COLLECTION_TYPE
    assert data["binding"] == ["application/vnd.wasmkeep.binding", "__4", 4]
    assert {label: (record[0], record[2]) for label, record in data.items() if label != "__cmwc_t"} == {
        "report": ("application/vnd.wasmkeep.snp-report", 4),
        "binding": ("application/vnd.wasmkeep.binding", 4),
        "certs": ("application/vnd.wasmkeep.snp-certs", 2),
        "crl": ("application/pkix-crl", 2),
    }
    assert {label: record[0] for label, record in data.items() if label != "__cmwc_t"} == cmw.MEDIA_TYPES[
        "snp"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_collection_of_sev(sev_forge: SevForge, kind: SevKind) -> None:
    evidence = sev_forge.evidence(kind)
    for binding in (None, b"nonce and keys"):
        collection = cmw.EvidenceCollection(evidence, binding)
        data = cmw.encode(collection)
        assert cmw.decode(data) == collection
    members = json.loads(data)
    assert members["__cmwc_t"] == cmw.COLLECTION_TYPES[kind] == f"tag:wasmkeep.invalid,2026:{kind}-evidence#1"
    del members["__cmwc_t"]
    assert {label: (record[0], record[2]) for label, record in members.items()} == {
        "launch": ("application/vnd.wasmkeep.sev-launch", 4),
        "binding": ("application/vnd.wasmkeep.binding", 4),
        "certs": ("application/vnd.wasmkeep.sev-certs", 2),
    }
    assert {label: record[0] for label, record in members.items()} == cmw.MEDIA_TYPES[kind]
    everything = b"".join(base64.urlsafe_b64decode(record[1] + "==") for record in members.values())
    for secret in (SEV_KEYS.tik, SEV_KEYS.proof_key):
        assert secret not in everything


def _resized(label: str, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def edit(members: Json) -> None:
        value = base64.urlsafe_b64decode(members[label][1] + "==")
        members[label][1] = base64.urlsafe_b64encode(change(value)).rstrip(b"=").decode()

    return _edit(edit)


def test_sev_collections_that_are_refused(sev_forge: SevForge, forge: Forge) -> None:
    data = cmw.encode(cmw.EvidenceCollection(sev_forge.evidence(), b"binding"))
    snp = json.loads(cmw.encode(cmw.EvidenceCollection(forge.evidence())))
    for edit in (
        _edit(lambda m: m.pop("launch")),
        _edit(lambda m: m.pop("certs")),
        _edit(lambda m: m.update(report=snp["report"])),
        _edit(lambda m: m.update(crl=snp["crl"])),
        _edit(lambda m: m.update(certs=snp["certs"])),
        _edit(lambda m: m.update(keys=["application/octet-stream", "AA", 4])),
        _edit(lambda m: m.update(__cmwc_t=cmw.COLLECTION_TYPE)),
        _resized("launch", lambda value: value[:-1]),
        _resized("launch", lambda value: value + b"\0"),
        _resized("launch", lambda value: value[:3] + b"\1" + value[4:]),
        _resized("certs", lambda value: value[:-1]),
        _resized("certs", lambda value: value[2084:]),
        _resized("certs", lambda value: value + bytes(832)),
    ):
        with pytest.raises(Rejected) as caught:
            cmw.decode(edit(data))
        assert caught.value.check == "cmw.malformed"
    for spoilt in (
        replace(sev_forge.evidence(), build=256),
        replace(sev_forge.evidence(), policy=-1),
        replace(sev_forge.evidence(), proof=b""),
        replace(sev_forge.evidence(), certificates=replace(sev_forge.certificates, ark=b"")),
    ):
        with pytest.raises(Rejected) as caught:
            cmw.encode(cmw.EvidenceCollection(spoilt))
        assert caught.value.check == "cmw.malformed"


def test_the_kind_is_said_twice_and_must_agree(sev_forge: SevForge) -> None:
    """A collection that calls a plain SEV launch SEV-ES reads, and its verdict refuses it."""
    data = cmw.encode(cmw.EvidenceCollection(sev_forge.evidence("sev")))
    renamed = data.replace(b":sev-evidence", b":sev-es-evidence")
    evidence = cmw.decode(renamed).evidence
    assert isinstance(evidence, SevEvidence)
    assert evidence.kind == "sev-es"


def _edit(change: Callable[[Json], object]) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        members = json.loads(data)
        change(members)
        return json.dumps(members, separators=(",", ":")).encode()

    return edit


def _record(label: str, index: int, value: object) -> Callable[[bytes], bytes]:
    return _edit(lambda members: members[label].__setitem__(index, value))


COLLECTIONS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "cmw.malformed"),
    "not JSON": (lambda data: data[:-1], "cmw.malformed"),
    "not UTF-8": (lambda data: b"\xff" + data, "cmw.malformed"),
    "deep": (lambda data: b"[" * 200_000, "cmw.malformed"),
    "a list": (lambda data: b"[]", "cmw.type"),
    "too long": (lambda data: data + b" " * cmw.MAX_COLLECTION_SIZE, "cmw.size"),
    "white space": (lambda data: data.replace(b'",', b'", ', 1), "cmw.malformed"),
    "another type": (_edit(lambda m: m.update(__cmwc_t="tag:example.org,2026:x")), "cmw.type"),
    "no type": (_edit(lambda m: m.pop("__cmwc_t")), "cmw.type"),
    "no report": (_edit(lambda m: m.pop("report")), "cmw.malformed"),
    "no certificates": (_edit(lambda m: m.pop("certs")), "cmw.malformed"),
    "unknown member": (_edit(lambda m: m.update(extra=["text/plain", "AA", 4])), "cmw.malformed"),
    "other order": (_edit(lambda m: m.update(report=m.pop("report"))), "cmw.malformed"),
    "twice": (lambda data: data[:-1] + b"," + data[data.index(b'"crl"') :], "cmw.malformed"),
    "another media type": (_record("report", 0, "application/octet-stream"), "cmw.malformed"),
    "another indicator": (_record("report", 2, 2), "cmw.malformed"),
    "indicator true": (_record("report", 2, True), "cmw.malformed"),
    "no text": (_record("report", 1, 5), "cmw.malformed"),
    "no base64url": (_record("report", 1, "+/+/"), "cmw.malformed"),
    "padded": (_record("binding", 1, "AA=="), "cmw.malformed"),
    "loose bits": (_record("binding", 1, "AB"), "cmw.malformed"),
    "empty value": (_record("binding", 1, ""), "cmw.malformed"),
    "binding too long": (_record("binding", 1, "A" * 11_000), "cmw.malformed"),
    "report too long": (_record("report", 1, "A" * 1_584), "cmw.malformed"),
    "report too short": (_record("report", 1, "AAAA"), "snp.report.size"),
    "a record of two": (_edit(lambda m: m.update(crl=m["crl"][:2])), "cmw.malformed"),
    "a collection inside": (_edit(lambda m: m.update(crl={})), "cmw.malformed"),
    "not a table": (_record("certs", 1, "AAAA"), "snp.certificates.table"),
}


@pytest.mark.parametrize("rule", COLLECTIONS)
def test_collection(forge: Forge, rule: str) -> None:
    change, check = COLLECTIONS[rule]
    data = cmw.encode(cmw.EvidenceCollection(forge.evidence(), b"binding"))
    with pytest.raises(Rejected) as caught:
        cmw.decode(change(data))
    assert caught.value.check == check


@SETTINGS
@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(Rejected):
        cmw.decode(data)


def test_evidence_that_could_not_be_read_back_is_not_encoded(forge: Forge) -> None:
    evidence = forge.evidence()
    for wrong in (
        replace(evidence, chain=evidence.chain[:1]),
        replace(evidence, report=b""),
        replace(evidence, crl=bytes(300_000)),
        replace(evidence, vcek=bytes(70_000)),
    ):
        with pytest.raises(Rejected):
            cmw.encode(cmw.EvidenceCollection(wrong))


def test_certificates_of_another_signer(forge: Forge) -> None:
    """A VLEK's evidence with a table that holds a VCEK, or both."""
    evidence = vlek(forge)
    data = cmw.encode(cmw.EvidenceCollection(evidence))
    own = cmw.encode(cmw.EvidenceCollection(forge.evidence()))
    for certs in (json.loads(own)["certs"],):
        members = json.loads(data) | {"certs": certs}
        with pytest.raises(Rejected) as caught:
            cmw.decode(json.dumps(members, separators=(",", ":")).encode())
        assert caught.value.check == "cmw.malformed"


@SETTINGS
@given(st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=40)), min_size=5, max_size=5))
def test_a_table_round_trips(parts: list[bytes | None]) -> None:
    table = CertificateTable(*parts)
    assert decode(encode(table)) == table
    assert decode(encode(table) + bytes(100)) == table


_VCEK = bytes.fromhex("63da758de6644564adc5f4b93be8accd")  # GUID bytes in text order
_ASK = bytes.fromhex("4ab7b379bbac4fe4a02f05aef327c782")


def _entry(guid: bytes, offset: int, length: int) -> bytes:
    return guid + struct.pack("<II", offset, length)


TABLES: dict[str, bytes] = {
    "no end": _entry(_VCEK, 24, 1),
    "empty": b"",
    "cut": bytes(23),
    "twice": _entry(_VCEK, 72, 1) + _entry(_VCEK, 73, 1) + bytes(24) + b"xy",
    "inside the table": _entry(_VCEK, 0, 1) + bytes(24) + b"x",
    "past the end": _entry(_VCEK, 48, 2) + bytes(24) + b"x",
    "no contents": _entry(_VCEK, 48, 0) + bytes(24),
    "overlap": _entry(_VCEK, 72, 2) + _entry(_ASK, 73, 1) + bytes(24) + b"xy",
    "gap": _entry(_VCEK, 49, 1) + bytes(24) + b"\1x",
    "trailing bytes": _entry(_VCEK, 48, 1) + bytes(24) + b"x\1",
    "too many": b"".join(_entry(_VCEK, 0, 1) for _ in range(18)),
    "too long": bytes(70_000),
}


@pytest.mark.parametrize("rule", TABLES)
def test_table(rule: str) -> None:
    with pytest.raises(Rejected) as caught:
        decode(TABLES[rule])
    assert caught.value.check == "snp.certificates.table"


def test_pem_round_trips(forge: Forge) -> None:
    chain = (forge.cached("ask"), forge.cached("ark"))
    text = "".join(pem.encode_certificate(der) for der in chain)
    assert pem.decode_certificates(text) == chain
    assert pem.decode_certificates("\n" + text.replace("\n", "\r\n")) == chain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\nAAAA\n",
        "-----BEGIN CERTIFICATE-----\nAA=A\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\nwords",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" * 9,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        " " * 70_000,
        "-----BEGIN CERTIFICATE-----\n" * 2_000,
    ],
)
def test_pem_that_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        pem.decode_certificates(text)
    assert caught.value.check == "pem.malformed"


def test_a_collection_says_nothing_about_trust(forge: Forge, other: Forge) -> None:
    """Evidence that no policy accepts travels like any other."""
    forged = SnpEvidence(make.report().encode(), other.cached("vcek"), (forge.cached("ask"), b"\1"))
    assert cmw.decode(cmw.encode(cmw.EvidenceCollection(forged))).evidence == forged
