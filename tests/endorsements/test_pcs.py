"""Intel's service, and a PCCS, on local sockets: collateral arrives byte for byte, faults by name."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.endorsements.services import (
    FAULTS,
    FMSPC,
    MADE,
    VECTORS,
    Service,
    fmspc_of,
    genuine,
    intel_answers,
    path_of,
    running,
)
from wasmkeep.endorsements import (
    Addresses,
    CachedSource,
    FolderSource,
    IntelDocument,
    PckAuthority,
    PckCrl,
    QeIdentity,
    RootCaCrl,
    TcbInfo,
    Tee,
    VendorSource,
    vendors,
)
from wasmkeep.endorsements.answers import CHAIN_BYTES, join, split, split_statement
from wasmkeep.endorsements.collateral import collateral
from wasmkeep.endorsements.http import HttpSource
from wasmkeep.errors import HostUnreachable, InputError, WasmkeepError
from wasmkeep.evidence.dcap.evidence import Collateral

TCB, QE = TcbInfo(Tee.TDX, FMSPC), QeIdentity(Tee.TDX)
PCK, ROOT = PckCrl(PckAuthority.PLATFORM), RootCaCrl()
DOCUMENTS: dict[str, IntelDocument] = {"tcb": TCB, "qe": QE, "pckcrl": PCK, "rootcacrl": ROOT}


def gathered(service: Service, *, tee: str = "tdx", fmspc: bytes = FMSPC, ca: str = "platform") -> Collateral:
    async def scenario() -> Collateral:
        async with VendorSource(Addresses(intel=service.url)) as source:
            return await collateral(source, tee, fmspc, ca)  # type: ignore[arg-type]  # words of the two

    return asyncio.run(scenario())


def fetched(service: Service, document: IntelDocument, *, seconds: float = 5.0) -> bytes:
    async def scenario() -> bytes:
        async with HttpSource(service.url, total_seconds=seconds) as source:
            return await source.fetch(document)

    return asyncio.run(scenario())


@pytest.mark.parametrize("pccs", [True, False], ids=["lists in hexadecimal", "lists in DER"])
def test_collateral_arrives_byte_for_byte(*, pccs: bool) -> None:
    answers = intel_answers(MADE, pccs=pccs)
    if not pccs:
        answers["/sgx/certification/v4/rootcacrl"] = answers["/IntelSGXRootCA.der"]
    with running(answers) as service:
        assert gathered(service) == MADE
        assert sorted(service.requests) == sorted(path_of(each) for each in DOCUMENTS.values())


ROWS = (
    ("tdx/v4-uptodate", "tdx", "platform"),
    ("tdx/v5-uptodate", "tdx", "platform"),
    ("sgx/v3-debug-processor-ca", "sgx", "processor"),
    ("sgx/v3-debug", "sgx", "platform"),
)


@pytest.mark.skipif(not VECTORS.is_dir(), reason="no vectors beside the checkout")
@pytest.mark.parametrize(("row", "tee", "ca"), ROWS, ids=[row for row, _, _ in ROWS])
def test_genuine_collateral_arrives_and_is_kept_byte_for_byte(
    tmp_path: Path, row: str, tee: str, ca: str
) -> None:
    expected = genuine(row)
    fmspc = fmspc_of(expected)

    async def scenario(service: Service) -> None:
        async with VendorSource(Addresses(intel=service.url)) as source:
            cached = CachedSource(source, tmp_path)
            assert await collateral(cached, tee, fmspc, ca) == expected  # type: ignore[arg-type]
        folder = FolderSource(tmp_path)
        assert await collateral(folder, tee, fmspc, ca) == expected  # type: ignore[arg-type]

    with running(intel_answers(expected, tee=tee, fmspc=fmspc, ca=ca)) as service:
        asyncio.run(scenario(service))


def test_intels_own_service_has_the_roots_list_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = intel_answers(MADE, pccs=False)
    files = {path: answers.pop(path) for path in ("/IntelSGXRootCA.der",)}
    with running(answers) as service, running(files) as published:
        monkeypatch.setattr(vendors, "INTEL_PCS", service.url)
        monkeypatch.setattr(vendors, "_INTEL_CERTIFICATES", published.url)

        async def scenario() -> Collateral:
            async with VendorSource() as source:
                return await collateral(source, "tdx", FMSPC, "platform")

        assert asyncio.run(scenario()) == MADE
        assert published.requests == ["/IntelSGXRootCA.der"]
        assert len(service.requests) == 3


def test_one_request_is_under_way_at_a_time() -> None:
    with running(intel_answers(MADE)) as service:
        service.pause = 0.02
        gathered(service)
        assert service.most_together == 1


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_service_is_named(fault: str, document: IntelDocument) -> None:
    error, check = FAULTS[fault]
    with running(intel_answers(MADE)) as service:
        service.fault = fault
        with pytest.raises(WasmkeepError) as refused:
            fetched(service, document, seconds=0.2 if error == "TimedOut" else 5.0)
        assert check == refused.value.check
        assert error in {kind.__name__ for kind in type(refused.value).__mro__}
        assert refused.value.remedy
        assert service.requests == [path_of(document)], "asked once, and a redirect is not followed"


CHAIN = MADE.tcb_info_issuer_chain
HEADERS = {
    "none": {},
    "empty": {"TCB-Info-Issuer-Chain": ""},
    "not encoded PEM": {"TCB-Info-Issuer-Chain": "hello"},
    "a page": {"TCB-Info-Issuer-Chain": "<html>"},
    "half an escape": {"TCB-Info-Issuer-Chain": "%4"},
    "text after": {"TCB-Info-Issuer-Chain": "%2D" * 4},
    "long": {"TCB-Info-Issuer-Chain": "A" * (3 * CHAIN_BYTES + 1)},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_another_issuer_chain_is_refused(headers: dict[str, str]) -> None:
    answers = intel_answers(MADE)
    answers[path_of(TCB)] = (answers[path_of(TCB)][0], headers)
    with running(answers) as service, pytest.raises(HostUnreachable) as refused:
        fetched(service, TCB)
    assert refused.value.check == "endorsements.body"


def test_the_older_name_of_the_chains_header_counts_too() -> None:
    answers = intel_answers(MADE)
    body, headers = answers[path_of(TCB)]
    answers[path_of(TCB)] = (body, {"SGX-TCB-Info-Issuer-Chain": headers["TCB-Info-Issuer-Chain"]})
    with running(answers) as service:
        assert gathered(service) == MADE


def test_too_many_certificates_are_refused() -> None:
    with pytest.raises(HostUnreachable):
        join((CHAIN + CHAIN + CHAIN).replace("\n", "%0A"), b"{}", "TCB info")


GOOD = f'{{"tcbInfo":{{"a":1}},"signature":"{"ab" * 64}"}}'
STATEMENTS = {
    "empty": "",
    "another member": GOOD.replace("tcbInfo", "enclaveIdentity"),
    "signature first": f'{{"signature":"{"ab" * 64}","tcbInfo":{{"a":1}}}}',
    "a member more": GOOD[:-1] + ',"x":1}',
    "twice": GOOD[:-1] + ',"signature":"00"}',
    "text after": GOOD + "x",
    "short signature": GOOD.replace("abab", "ab", 1),
    "no digits": GOOD.replace("ab", "zz"),
    "a text inside": GOOD.replace('{"a":1}', '"a"'),
    "cut": GOOD[:20],
    "deep": '{"tcbInfo":{"a":' + "[" * 100_000,
    "not UTF-8": "\udcff",
}


@pytest.mark.parametrize("text", STATEMENTS.values(), ids=STATEMENTS)
def test_another_statement_is_refused(text: str) -> None:
    with pytest.raises(HostUnreachable) as refused:
        split_statement(text.encode("utf-8", "surrogateescape"), "tcbInfo", "TCB info")
    assert refused.value.check == "endorsements.body"


def test_a_statement_is_cut_out_and_not_written_anew() -> None:
    odd = '{"z" : 1,\n "a":"\\u00e9é","n":1.0e0,"z":2}'
    found = split_statement(
        f' {{ "tcbInfo" : {odd} , "signature" : "{"AB" * 64}" }}\n'.encode(), "tcbInfo", "TCB info"
    )
    assert (found.text, found.signature) == (odd, b"\xab" * 64)


@given(st.binary(max_size=200))
def test_any_bytes_are_split_or_refused_by_name(data: bytes) -> None:
    for read in (lambda: split(data, "x"), lambda: split_statement(data, "tcbInfo", "x")):
        with contextlib.suppress(HostUnreachable):
            read()


@given(st.binary(max_size=100))
def test_what_is_kept_is_chain_and_body(body: bytes) -> None:
    kept = join(CHAIN.replace("\n", "%0A").replace(" ", "%20"), body, "x")
    assert (split(kept, "x").chain, split(kept, "x").body) == (CHAIN, body)


@pytest.mark.parametrize("fmspc", ["", "00806f0500", "00806f05000g", "00806f050000\n", "../../../../etc"])
def test_a_family_is_six_bytes_in_hexadecimal(fmspc: str) -> None:
    with pytest.raises(InputError) as refused:
        TcbInfo.of_digits(Tee.TDX, fmspc)
    assert refused.value.check == "endorsements.name"


@given(st.sampled_from(Tee), st.binary(max_size=12))
def test_whatever_family_is_asked_for_stays_inside_the_folder(tee: Tee, fmspc: bytes) -> None:
    try:
        document = TcbInfo(tee, fmspc)
    except InputError:
        assert len(fmspc) != 6
        return
    assert document.file_path == f"{tee}/certification/v4/tcb/fmspc={fmspc.hex()}"
    assert document.query == f"fmspc={fmspc.hex().upper()}"
    assert TcbInfo.of_digits(tee, fmspc.hex()) == document


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_intels_documents_are_fetched_again_in_time(tmp_path: Path, document: IntelDocument) -> None:
    now = [time.time()]

    async def scenario(service: Service) -> None:
        async with HttpSource(service.url) as source:
            cache = CachedSource(source, tmp_path, refetch_seconds=100, clock=lambda: now[0])
            for later, requests in ((0, 1), (99, 1), (2, 2)):
                now[0] += later
                await cache.fetch(document)
                assert len(service.requests) == requests

    with running(intel_answers(MADE)) as service:
        asyncio.run(scenario(service))


def test_a_folder_without_collateral_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        asyncio.run(collateral(FolderSource(tmp_path), "tdx", FMSPC, "platform"))
    assert refused.value.check == "endorsements.missing"
    assert "endorsements fetch" in refused.value.remedy
