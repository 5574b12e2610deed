"""Quotes, collateral and PCK extensions that break their formats: each refused by its own check."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.evidence.dcap_forge import Machine, element, integer, sgx, tdx, tdx_10
from wasmkeep.evidence import Collateral, Kind, Rejected
from wasmkeep.evidence.dcap import collateral as parsed
from wasmkeep.evidence.dcap import pck, quote
from wasmkeep.evidence.pem import encode_certificate

_HEADER, _TD_15 = 48, 648
_V5_BODY = _HEADER + 6
_RESERVED_OF_ENCLAVE = _HEADER + 20


def at(data: bytes, position: int, value: bytes) -> bytes:
    return data[:position] + value + data[position + len(value) :]


def header(machine: Machine, **fields: object) -> bytes:
    return machine.but(header=fields).quote()


QUOTES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "dcap.quote.length"),
    "a header": (lambda: tdx().quote()[:_HEADER], "dcap.quote.length"),
    "cut in the signature": (lambda: tdx().quote()[:-1], "dcap.quote.length"),
    "longer than any": (lambda: tdx().quote() + bytes(quote.MAX_QUOTE_SIZE), "dcap.quote.length"),
    "version 2": (lambda: header(sgx(), version=2), "dcap.quote.version"),
    "version 6": (lambda: header(tdx(), version=6), "dcap.quote.version"),
    "SGX in version 4": (lambda: header(sgx(), version=4), "dcap.quote.version"),
    "P-384": (lambda: header(tdx(), key_type=3), "dcap.quote.key-type"),
    "another TEE": (lambda: header(tdx(), tee_type=0x82), "dcap.quote.tee-type"),
    "another vendor": (lambda: header(tdx(), qe_vendor=bytes(16)), "dcap.quote.vendor"),
    "an SGX body in version 5": (
        lambda: at(tdx().quote(), _HEADER, struct.pack("<H", 1)),
        "dcap.quote.body",
    ),
    "a body of another kind": (lambda: at(tdx().quote(), _HEADER, struct.pack("<H", 4)), "dcap.quote.body"),
    "a body of another size": (
        lambda: at(tdx().quote(), _HEADER + 2, struct.pack("<I", 584)),
        "dcap.quote.body",
    ),
    "reserved bytes of an enclave": (
        lambda: at(sgx().quote(), _RESERVED_OF_ENCLAVE, b"\1"),
        "dcap.quote.reserved",
    ),
    "certification of another type": (
        lambda: at(tdx().quote(), _V5_BODY + _TD_15 + 4 + 128, struct.pack("<H", 5)),
        "dcap.quote.certification",
    ),
    "a section that claims less": (
        lambda: at(tdx().quote(), _V5_BODY + _TD_15, struct.pack("<I", 200)),
        "dcap.quote.length",
    ),
}


@pytest.mark.parametrize("what", QUOTES)
def test_a_quote_in_another_form(what: str) -> None:
    make, check = QUOTES[what]
    with pytest.raises(Rejected) as caught:
        quote.parse(make())
    assert caught.value.checks == (check,)
    assert caught.value.kind in (Kind.MALFORMED, Kind.UNSUPPORTED)
    assert caught.value.findings[0].section


@pytest.mark.parametrize("machine", [sgx(), tdx(), tdx_10(), tdx_10(5)], ids=["v3", "v5", "v4", "v5-1.0"])
def test_a_quote_in_its_form(machine: Machine) -> None:
    data = machine.quote()
    assert quote.parse(data).encode() == data


def spoilt_json(text: str, **members: object) -> str:
    return json.dumps(json.loads(text) | members, separators=(",", ":"))


def chain_of(count: int, der: bytes = b"\x30\x03\x02\x01\x01") -> str:
    return encode_certificate(der) * count


COLLATERAL: dict[str, tuple[Callable[[Collateral], Collateral], str]] = {
    "TCB info that is no JSON": (lambda own: replace(own, tcb_info="{"), "dcap.collateral.tcb-info"),
    "TCB info of version 2": (
        lambda own: replace(own, tcb_info=spoilt_json(own.tcb_info, version=2)),
        "dcap.collateral.tcb-info",
    ),
    "TCB info with a date of another form": (
        lambda own: replace(own, tcb_info=spoilt_json(own.tcb_info, issueDate="yesterday")),
        "dcap.collateral.tcb-info",
    ),
    "a QE identity that is no JSON": (
        lambda own: replace(own, qe_identity="[]"),
        "dcap.collateral.qe-identity",
    ),
    "a QE identity of version 1": (
        lambda own: replace(own, qe_identity=spoilt_json(own.qe_identity, version=1)),
        "dcap.collateral.qe-identity",
    ),
    "a chain of one": (
        lambda own: replace(own, tcb_info_issuer_chain=chain_of(1)),
        "dcap.certificates.count",
    ),
    "a chain of nothing readable": (
        lambda own: replace(own, qe_identity_issuer_chain=chain_of(2)),
        "dcap.certificates.malformed",
    ),
    "no PEM": (lambda own: replace(own, pck_crl_issuer_chain="hello"), "dcap.certificates.malformed"),
    "a list that is none": (lambda own: replace(own, pck_crl=b"\x30\x00"), "dcap.crl.malformed"),
    "a list that is too long": (
        lambda own: replace(own, root_ca_crl=own.root_ca_crl + bytes(1 << 20)),
        "dcap.crl.malformed",
    ),
}


@pytest.mark.parametrize("what", COLLATERAL)
def test_collateral_in_another_form(what: str) -> None:
    change, check = COLLATERAL[what]
    with pytest.raises(Rejected) as caught:
        parsed.parse(change(tdx().collateral()))
    assert caught.value.checks == (check,)
    assert caught.value.kind is Kind.MALFORMED


@pytest.mark.parametrize(
    "extension",
    [b"", b"\x30\x00", b"\x04\x00", element((1,), integer(1)), sgx().sgx_extension()[:-1]],
    ids=["nothing", "an empty sequence", "another type", "one element", "cut"],
)
def test_a_pck_extension_in_another_form(extension: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        pck.read_identity(extension)
    assert caught.value.checks == ("dcap.pck.extension",)


def test_a_pck_extension_in_its_form() -> None:
    assert pck.read_identity(sgx().sgx_extension()).pce_svn == sgx().pce_svn
