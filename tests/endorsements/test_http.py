"""A key distribution service that behaves, and one that does not, each on a local socket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import example, given
from hypothesis import strategies as st

from tests.endorsements.bodies import BODIES, CHAIN, CHIP, CRL, SEV_BODIES, VCEK, VCEK_BODY
from tests.endorsements.services import FAULTS, Answer, Service, running
from wasmkeep.endorsements import (
    Addresses,
    CertChain,
    ChipKey,
    Crl,
    Document,
    HttpSource,
    Product,
    RateLimited,
    VendorSource,
    collect,
    http,
    vendors,
)
from wasmkeep.endorsements.sources import authorities
from wasmkeep.errors import ConfigurationError, HostUnreachable, TimedOut, WasmkeepError

ALL = BODIES | SEV_BODIES


def path_of(document: Document) -> str:
    return f"/{document.url_path}" + (f"?{document.query}" if document.query else "")


ANSWERS: dict[str, Answer] = {path_of(document): (body, {}) for document, body in ALL.items()}


@pytest.fixture
def kds() -> Iterator[Service]:
    with running(ANSWERS) as service:
        yield service


def fetch(
    kds: Service, document: Document = VCEK, *, seconds: float = 5.0, token: str | None = None
) -> bytes:
    async def scenario() -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else None
        async with HttpSource(f"{kds.url}/", headers=headers, total_seconds=seconds) as source:
            return await source.fetch(document)

    return asyncio.run(scenario())


def test_a_service_that_behaves(kds: Service) -> None:
    async def scenario() -> None:
        async with HttpSource(kds.url) as source:
            found = await collect(source, VCEK)
        assert found.vcek == VCEK_BODY

    asyncio.run(scenario())
    assert set(kds.requests) == {path_of(document) for document in BODIES}
    assert f"/vcek/v1/Genoa/{CHIP.hex()}?blSPL=9&teeSPL=0&snpSPL=23&ucodeSPL=72" in kds.requests


def test_the_chain_above_a_vlek_is_another_document(kds: Service) -> None:
    key = ChipKey.VLEK
    for document in (CertChain(Product.MILAN, key), Crl(Product.MILAN, key)):
        kds.answers[path_of(document)] = (BODIES[CHAIN if isinstance(document, CertChain) else CRL], {})

    async def scenario() -> None:
        async with HttpSource(kds.url) as source:
            assert (await authorities(source, Product.MILAN, key)).crl == BODIES[CRL]

    asyncio.run(scenario())
    assert kds.requests == ["/vlek/v1/Milan/cert_chain", "/vlek/v1/Milan/crl"]


def test_the_token_travels_in_its_header_only(kds: Service) -> None:
    fetch(kds, CRL, token="wk_secret")
    assert (kds.requests, kds.tokens) == (["/vcek/v1/Genoa/crl"], ["Bearer wk_secret"])


@pytest.mark.parametrize("document", ALL, ids=[type(document).__name__ for document in ALL])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_that_does_not_behave(kds: Service, fault: str, document: Document) -> None:
    error, check = FAULTS[fault]
    kds.fault = fault
    with pytest.raises(WasmkeepError) as refused:
        fetch(kds, document, seconds=0.2 if error == "TimedOut" else 5.0)
    assert refused.value.check == check
    assert error in {kind.__name__ for kind in type(refused.value).__mro__}
    assert refused.value.remedy
    assert len(kds.requests) == 1, "asked once, and a redirect is not followed"


def test_nobody_there() -> None:
    async def scenario() -> None:
        async with HttpSource("http://127.0.0.1:1") as source:
            await source.fetch(CRL)

    with pytest.raises(HostUnreachable) as refused:
        asyncio.run(scenario())
    assert refused.value.check == "endorsements.unreachable"


def test_a_slow_service_does_not_keep_the_next_in_line_from_its_own_time(kds: Service) -> None:
    """The bound is on one answer, not on waiting for one's turn."""
    kds.pause = 0.1

    async def scenario() -> None:
        async with HttpSource(kds.url, total_seconds=0.8) as source:
            await asyncio.gather(*(source.fetch(CRL) for _ in range(10)))

    asyncio.run(scenario())
    assert kds.most_together == 1


def later(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


PAUSES = {
    "number": ("17", 17, 17),
    "zero": ("0", 1, 1),
    "date": (later(100_000), 3600, 3600),
    "date in the past": (later(-50), 1, 1),
    "far": ("999999", 3600, 3600),
    "negative": ("-5", 10, 10),
    "no number": ("soon", 10, 10),
    "other digits": ("١٧", 10, 10),
    "long": ("9" * 5000, 10, 10),
    "none": (None, 10, 10),
}


@pytest.mark.parametrize(("said", "least", "most"), PAUSES.values(), ids=PAUSES)
def test_a_service_that_limits_its_rate_is_left_alone_as_long_as_it_says(
    kds: Service, said: str | None, least: float, most: float
) -> None:
    now = [1000.0]

    async def scenario() -> None:
        kds.fault = "429"
        kds.fault_headers = {} if said is None else {"Retry-After": said.encode().decode("latin-1")}
        async with HttpSource(kds.url, clock=lambda: now[0]) as source:
            with pytest.raises(RateLimited) as limited:
                await source.fetch(CRL)
            assert least <= limited.value.seconds <= most
            kds.fault = ""
            now[0] += least - 0.5
            with pytest.raises(RateLimited):
                await source.fetch(CHAIN)
            assert len(kds.requests) == 1, "none was sent meanwhile"
            now[0] += most - least + 1
            assert await source.fetch(CRL) == BODIES[CRL]

    asyncio.run(scenario())


@given(st.text(max_size=40) | st.from_regex(r"\A[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ \S+\Z"))
@example("Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
@example("Mon, 01 Jan 2026 00:00:00 +99999999999")
def test_whatever_pause_is_asked_for_is_bounded(said: str) -> None:
    assert 1 <= http._pause(said) <= http.MAX_PAUSE_SECONDS


@pytest.mark.parametrize(
    "address",
    [
        "http://kds.example",
        "ftp://127.0.0.1",
        "https://",
        "https://user:word@kds.example",
        "https://kds.example/?a=b",
        "https://kds.example/#a",
        "file:///etc",
        "http://127.0.0.1.example",
        "https://[",
        "",
    ],
)
def test_an_address_that_is_not_safe_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        HttpSource(address)
    assert refused.value.check == "endorsements.address"
    assert "word" not in str(refused.value)


def test_the_environment_cannot_redirect_requests(kds: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetch(kds) == VCEK_BODY


def test_another_address_has_all_of_amds_documents_and_amds_own_are_on_two(
    kds: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(addresses: Addresses | None) -> None:
        async with VendorSource(addresses) as source:
            for document, body in ALL.items():
                assert await source.fetch(document) == body

    asyncio.run(scenario(Addresses(amd=kds.url)))
    assert set(kds.requests) == set(ANSWERS)
    kds.requests.clear()
    pair = next(path for path in ANSWERS if path.startswith("/sev/"))
    with running({pair: ANSWERS[pair]}) as downloads:
        monkeypatch.setattr(vendors, "AMD_KDS", kds.url)
        monkeypatch.setattr(vendors, "_AMD_DOWNLOADS", downloads.url)
        asyncio.run(scenario(None))
        assert downloads.requests == [pair]
    assert pair not in kds.requests


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, as a PCCS makes itself, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.OID_COMMON_NAME, "PCCS")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    path = tmp_path / "pccs.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.with_suffix(".key").write_bytes(plain)
    return path


def test_a_certificate_of_nobodys_is_refused_until_its_authority_is_named(authority: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority, authority.with_suffix(".key"))

    async def scenario(url: str, verify: ssl.SSLContext | bool) -> bytes:
        async with VendorSource(Addresses(amd=url), verify=verify) as source:
            return await source.fetch(CRL)

    with running(ANSWERS, tls=tls) as service:
        with pytest.raises(HostUnreachable) as refused:
            asyncio.run(scenario(service.url, True))
        assert refused.value.check == "endorsements.unreachable"
        assert service.requests == []
        trusting = ssl.create_default_context(cafile=authority)
        assert asyncio.run(scenario(service.url, trusting)) == BODIES[CRL]


def test_waiting_is_bounded_where_a_service_never_answers(kds: Service) -> None:
    kds.fault = "silent"
    with pytest.raises(TimedOut):
        fetch(kds, seconds=0.1)
