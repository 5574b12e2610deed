"""Intel's formats: one encoding each, stated bounds, and nothing but `Rejected` for anything else."""

from __future__ import annotations

import json
import struct
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evidence.dcap_forge import AT, Machine, element, integer, isv_level, level, sgx, tdx, tdx_10, tlv
from wasmkeep.evidence import UNBOUND, Rejected, verify
from wasmkeep.evidence.dcap import certificates, der, enclave_report, quote
from wasmkeep.evidence.dcap.enclave_report import EnclaveReport
from wasmkeep.evidence.dcap.pck import read_identity
from wasmkeep.evidence.dcap.qe_identity import read_qe_identity
from wasmkeep.evidence.dcap.quote import Header, Quote, QuotingEnclave
from wasmkeep.evidence.dcap.status import Status, converge
from wasmkeep.evidence.dcap.tcb_info import read_tcb_info
from wasmkeep.evidence.tdx import report as td_report
from wasmkeep.evidence.tdx.report import TdReport


def octets(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


def number(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


ENCLAVE_REPORTS = st.builds(
    EnclaveReport,
    octets(16),
    number(32),
    octets(16),
    number(64),
    number(64),
    octets(32),
    octets(32),
    octets(64),
    number(16),
    number(16),
    number(16),
    octets(16),
    octets(64),
)
_DIGESTS = [octets(48)] * 8
TD_REPORTS = st.one_of(
    st.builds(
        TdReport, octets(16), octets(48), octets(48), octets(8), number(64), number(64), *_DIGESTS, octets(64)
    ),
    st.builds(
        TdReport,
        *(octets(16), octets(48), octets(48), octets(8), number(64), number(64), *_DIGESTS, octets(64)),
        octets(16),
        octets(48),
    ),
)
ENCLAVES = st.builds(
    QuotingEnclave, ENCLAVE_REPORTS, octets(64), st.binary(max_size=64), st.binary(max_size=256)
)


@st.composite
def quotes(draw: st.DrawFn) -> Quote:
    version = draw(st.sampled_from([3, 4, 5]))
    body: EnclaveReport | TdReport = draw(ENCLAVE_REPORTS) if version == 3 else draw(TD_REPORTS)
    if version == 4 and isinstance(body, TdReport) and body.mr_service_td is not None:
        version = 5
    tee = 0 if version == 3 else 0x81
    vendor = quote.INTEL_QE_VENDOR
    header = Header(version, 2, tee, draw(number(16)), draw(number(16)), vendor, draw(octets(20)))
    return Quote(header, body, draw(octets(64)), draw(octets(64)), draw(ENCLAVES), draw(st.integers(0, 9)))


@given(ENCLAVE_REPORTS)
def test_an_enclave_report_survives_encoding(report: EnclaveReport) -> None:
    assert enclave_report.parse(report.encode(), "enclave") == report


@given(TD_REPORTS)
def test_a_td_report_survives_encoding(report: TdReport) -> None:
    assert td_report.parse(report.encode()) == report


@given(quotes())
def test_a_quote_survives_encoding(one: Quote) -> None:
    assert quote.parse(one.encode() + bytes(one.trailing)) == one
    assert one.encode().startswith(one.signed_part)


@given(st.binary(max_size=2048))
def test_bytes_that_are_no_quote_are_refused(data: bytes) -> None:
    with pytest.raises(Rejected):
        quote.parse(data)


@pytest.mark.parametrize("machine", [sgx(), tdx(), tdx_10()], ids=["v3", "v5", "v4"])
def test_a_quote_that_is_cut_anywhere_is_refused(machine: Machine) -> None:
    data = machine.quote()
    for size in range(0, len(data), 7):
        with pytest.raises(Rejected) as refused:
            quote.parse(data[:size])
        assert refused.value.check == "dcap.quote.length"


def rewritten(machine: Machine, offset: int, value: bytes) -> bytes:
    data = bytearray(machine.quote())
    data[offset : offset + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("machine", "offset", "value", "check"),
    [
        (sgx(), 0, b"\x02\x00", "dcap.quote.version"),
        (sgx(), 0, b"\x04\x00", "dcap.quote.version"),
        (tdx(), 0, b"\x03\x00", "dcap.quote.version"),
        (tdx(), 0, b"\x06\x00", "dcap.quote.version"),
        (tdx(), 2, b"\x03\x00", "dcap.quote.key-type"),
        (tdx(), 4, b"\x01\x00", "dcap.quote.tee-type"),
        (tdx(), 12, b"\x00", "dcap.quote.vendor"),
        (tdx(), 48, b"\x01\x00", "dcap.quote.body"),
        (tdx(), 48, b"\x04\x00", "dcap.quote.body"),
        (tdx(), 50, b"\x00\x00", "dcap.quote.body"),
        (sgx(), 48 + 20, b"\x01", "dcap.quote.reserved"),
        (sgx(), 48 + 384, b"\xff\xff\xff\xff", "dcap.quote.length"),
        (tdx(), 54 + 648 + 4 + 128, b"\x05\x00", "dcap.quote.certification"),
        (sgx(), 48 + 384 + 4 + 128 + 384 + 64, b"\xff\xff", "dcap.quote.length"),
        (sgx(), 48 + 384 + 4 + 128 + 384 + 64 + 2 + 32, b"\x01\x00", "dcap.quote.certification"),
    ],
)  # fmt: skip
def test_each_field_that_says_how_to_read_is_checked(
    machine: Machine, offset: int, value: bytes, check: str
) -> None:
    with pytest.raises(Rejected) as refused:
        quote.parse(rewritten(machine, offset, value))
    assert refused.value.check == check


def test_no_byte_of_the_signature_section_is_unaccounted_for() -> None:
    parsed = sgx().parsed_quote()
    at = len(parsed.signed_part)
    data = parsed.encode()
    (length,) = struct.unpack_from("<I", data, at)
    longer = data[:at] + struct.pack("<I", length + 1) + data[at + 4 :] + b"\0"
    with pytest.raises(Rejected) as refused:
        quote.parse(longer)
    assert refused.value.check == "dcap.quote.length"


def test_a_quote_has_a_largest_size() -> None:
    with pytest.raises(Rejected) as refused:
        quote.parse(tdx().quote() + bytes(quote.MAX_QUOTE_SIZE))
    assert refused.value.check == "dcap.quote.length"


# --- certificates


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda pem: pem + pem, "dcap.certificates.count"),
        (lambda pem: b"", "dcap.certificates.malformed"),
        (lambda pem: pem + b"\0\0", "dcap.certificates.malformed"),
        (lambda pem: pem + "é".encode(), "dcap.certificates.malformed"),
        (lambda pem: pem.replace(b"BEGIN CERT", b"BEGIN CRET"), "dcap.certificates.malformed"),
        (lambda pem: pem.replace(b"MII", b"MIA", 1), "dcap.certificates.malformed"),
    ],
    ids=["twice", "empty", "two NULs", "not ASCII", "other label", "other DER"],
)
def test_the_pck_chain_is_three_certificates_and_nothing_else(
    change: Any, check: str
) -> None:  # Any: a function
    parsed = tdx().parsed_quote()
    enclave = parsed.quoting_enclave
    spoilt = QuotingEnclave(enclave.report, enclave.signature, enclave.auth_data, change(enclave.pck_chain))
    data = Quote(parsed.header, parsed.body, parsed.signature, parsed.attestation_key, spoilt, 0).encode()
    evidence = type(tdx().evidence())(data, tdx().collateral())
    with pytest.raises(Rejected) as refused:
        verify(evidence, tdx().policy(), at=AT, binding=UNBOUND, reference_values={})
    assert refused.value.check == check


def test_a_revocation_list_has_a_largest_size_and_one_form() -> None:
    data = tdx(revoked=frozenset({"pck"})).revocation_list("authority")
    assert certificates.load_list(data, "list").serials == {3}
    for spoilt in (b"", data[:-1], data + b"\0", bytes(certificates.MAX_CRL_SIZE + 1)):
        with pytest.raises(Rejected) as refused:
            certificates.load_list(spoilt, "list")
        assert refused.value.check == "dcap.crl.malformed"


# --- the SGX extension


def test_the_extension_says_what_the_platform_is() -> None:
    machine = tdx(svn=200, pce_svn=300, flags=(True, False, True))
    identity = read_identity(machine.sgx_extension())
    assert identity.components == bytes((200,)) * 16
    assert (identity.pce_svn, identity.sgx_type) == (300, 1)
    assert (identity.dynamic_platform, identity.cached_keys, identity.smt) == (True, False, True)
    bare = read_identity(sgx(flags=None, instance=None).sgx_extension())
    assert (bare.platform_instance, bare.dynamic_platform, bare.smt) == (None, None, None)


def spoilt_extensions() -> dict[str, bytes]:
    good = tdx().sgx_extension()
    body = good[4:]
    fmspc = element((4,), tlv(0x04, bytes.fromhex("90c06f000000")))
    assert fmspc in body
    tcb_component = element((2, 1), integer(5))
    return {
        "empty": b"",
        "cut": good[:-1],
        "extended": good + b"\0",
        "a field twice": tlv(0x30, body + fmspc),
        "another prefix": tlv(0x30, body + tlv(0x30, tlv(0x06, b"\x2a\x03") + tlv(0x04, b""))),
        "no FMSPC": tlv(0x30, body.replace(fmspc, b"")),
        "a short FMSPC": tlv(0x30, body.replace(fmspc, element((4,), tlv(0x04, bytes(5))))),
        "an FMSPC of another type": tlv(0x30, body.replace(fmspc, element((4,), tlv(0x0C, bytes(6))))),
        "not a pair": tlv(0x30, body + tlv(0x30, tlv(0x04, b""))),
        "a negative SVN": good.replace(tcb_component, element((2, 1), tlv(0x02, b"\xff"))),
        "an empty SVN": tlv(0x30, body[:-1]),
        "true that is not FF": good.replace(tlv(0x01, b"\x00"), tlv(0x01, b"\x01")),
        "a length that is not minimal": b"\x30\x83\x00" + good[2:],
    }


@pytest.mark.parametrize("what", spoilt_extensions())
def test_another_extension_is_refused(what: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_identity(spoilt_extensions()[what])
    assert refused.value.check == "dcap.pck.extension"


def test_a_number_in_more_bytes_than_it_needs_is_refused() -> None:
    body = tdx().sgx_extension()[4:]
    usual, longer = (element((2, 17), tlv(0x02, value)) for value in (b"\x0d", b"\x00\x0d"))
    assert usual in body
    with pytest.raises(Rejected):
        read_identity(tlv(0x30, body.replace(usual, longer)))


def test_a_field_that_intel_adds_stays_unread() -> None:
    """Another number under the same prefix, as the platform provider's id was."""
    good = tdx().sgx_extension()
    added = tlv(0x30, good[4:] + element((8,), tlv(0x04, bytes(16))))
    assert read_identity(added) == read_identity(good)


@given(st.binary(max_size=600))
def test_bytes_that_are_no_extension_are_refused(data: bytes) -> None:
    with pytest.raises(Rejected):
        read_identity(data)


@given(st.lists(st.tuples(st.integers(0, 30), st.binary(max_size=300)), max_size=4))
def test_der_is_read_as_it_was_written(parts: list[tuple[int, bytes]]) -> None:
    assert list(der.elements(b"".join(tlv(tag, content) for tag, content in parts))) == parts


@pytest.mark.parametrize("data", ["30", "3080", "308100", "308201", "3081057f", "3084000000010000", "300201"])
def test_der_has_one_form(data: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(der.elements(bytes.fromhex(data)))


# --- signed JSON


def changed(text: str, **changes: Any) -> str:  # Any: JSON
    return json.dumps(json.loads(text) | changes)


INFO, IDENTITY = tdx().tcb_info_text(), tdx().qe_identity_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        INFO + "x",
        INFO[:-1],
        INFO.replace('"id":"TDX"', '"id":"TDX","id":"TDX"'),
        INFO.replace('"version":3', '"version":3.0'),
        INFO.replace('"version":3', '"version":NaN'),
        INFO.replace('"version":3', '"version":true'),
        "[" * 100_000,
        " " * 600_000 + INFO,
        changed(INFO, version=2),
        changed(INFO, id="TEE"),
        changed(INFO, tcbType=1),
        changed(INFO, fmspc="90c06f00000"),
        changed(INFO, fmspc="90c06f00000g"),
        changed(INFO, pceId="00000000"),
        changed(INFO, issueDate="2026-06-01"),
        changed(INFO, issueDate="2026-13-01T00:00:00Z"),
        changed(INFO, nextUpdate="2026-06-01T00:00:00+00:00"),
        changed(INFO, tcbEvaluationDataNumber=-1),
        changed(INFO, tcbEvaluationDataNumber="18"),
        changed(INFO, tcbLevels={}),
        changed(INFO, tcbLevels=[1]),
        changed(INFO, tcbLevels=[level("Fine", 5, tdx=(5,))]),
        changed(INFO, tcbLevels=[level("TDRelaunchAdvised", 5, tdx=(5,))]),
        changed(INFO, tcbLevels=[level("UpToDate", 256, tdx=(5,))]),
        changed(INFO, tcbLevels=[level("UpToDate", 5, tdx=(5,), pce=65536)]),
        changed(INFO, tcbLevels=[level("UpToDate", 5)]),
        changed(INFO, tcbLevels=[level("UpToDate", 5, tdx=(5,)) | {"advisoryIDs": [1]}]),
        changed(INFO, tdxModule=None),
        changed(INFO, tdxModuleIdentities=[{}]),
    ],
    ids=lambda text: None,
)  # fmt: skip
def test_another_tcb_info_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_tcb_info(text)
    assert refused.value.check == "dcap.collateral.tcb-info"


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        changed(IDENTITY, version=3),
        changed(IDENTITY, id="QVE"),
        changed(IDENTITY, miscselect="00"),
        changed(IDENTITY, attributesMask="00"),
        changed(IDENTITY, mrsigner="00"),
        changed(IDENTITY, isvprodid=65536),
        changed(IDENTITY, tcbLevels=[isv_level("UpToDate", 65536)]),
        changed(IDENTITY, tcbLevels=[isv_level("Good", 1)]),
    ],
    ids=lambda text: None,
)  # fmt: skip
def test_another_qe_identity_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_qe_identity(text)
    assert refused.value.check == "dcap.collateral.qe-identity"


@given(st.text(max_size=400))
def test_text_that_is_no_statement_is_refused(text: str) -> None:
    for read in (read_tcb_info, read_qe_identity):
        with pytest.raises(Rejected):
            read(text)


def test_a_key_that_is_not_asked_for_stays_unread() -> None:
    assert read_tcb_info(changed(INFO, further=[1.5 and 1])) == read_tcb_info(INFO)


def test_levels_are_tried_from_the_highest_down() -> None:
    levels = [
        level("OutOfDate", 3, tdx=(5,)),
        level("UpToDate", 5, tdx=(5,)),
        level("OutOfDate", 5, tdx=(5,), pce=9),
    ]
    read = read_tcb_info(changed(INFO, tcbLevels=levels)).levels
    assert [(one.sgx[0], one.pce_svn) for one in read] == [(5, 13), (5, 9), (3, 13)]


@pytest.mark.parametrize("platform", Status)
def test_statuses_converge_to_the_worse(platform: Status) -> None:
    assert converge(platform, Status.UpToDate) is platform
    assert converge(platform, Status.Revoked) is Status.Revoked
    assert converge(Status.Revoked, Status.OutOfDate) is Status.Revoked
    worse = converge(platform, Status.OutOfDate)
    assert worse is Status.Revoked or worse.is_out_of_date
    assert platform is Status.Revoked or worse.needs_configuration is platform.needs_configuration


def test_sizes_are_those_of_the_specification() -> None:
    assert (quote.HEADER_SIZE, enclave_report.SIZE, td_report.SIZE_10, td_report.SIZE_15) == (
        48,
        384,
        584,
        648,
    )
    assert len(fields(TdReport)) == 17
