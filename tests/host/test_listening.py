"""Where a host may listen, and that TLS is TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect

from tests.host.daemon import daemon, run
from tests.host.machine import OFFER, FakePlatform, endless_echo
from wasmkeep.errors import InputError, SystemFailure, UsageError, WasmkeepError
from wasmkeep.host.listening import Listener, open_listener
from wasmkeep.host.settings import Listen

EVERYWHERE = "0.0.0.0"  # noqa: S104 - with TLS, or to be refused


def issue(folder: Path, *, key_mode: int = 0o600, password: bytes | None = None) -> tuple[Path, Path]:
    """A certificate for localhost, 127.0.0.1 and keeps.example that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test host")])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName("Keeps.Example")]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    key_path.touch(mode=0o600)
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    )
    key_path.chmod(key_mode)
    return cert_path, key_path


def listener(listen: Listen) -> Listener:
    return open_listener(listen, stall_seconds=60)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize("address", [EVERYWHERE, "::", "192.0.2.1", "10.0.0.1", "fe80::1"])
def test_elsewhere_needs_tls(address: str) -> None:
    with pytest.raises(UsageError) as refused:
        listener(Listen(address, 0))
    assert refused.value.check == "host.listen.tls"
    assert "--tls-cert" in refused.value.required


@pytest.mark.parametrize(
    "address", ["", "keeps.example", "127.0.0.1:7433", "127.1", "0x7f000001", "127.0.0.1\n"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError) as refused:
        listener(Listen(address, 0))
    assert refused.value.check == "host.listen.address"


@pytest.mark.parametrize(
    ("address", "shown"), [("localhost", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")]
)
def test_loopback_needs_no_tls(address: str, shown: str) -> None:
    found = listener(Listen(address, 0, names=("proxy.example",)))
    found.socket.close()
    assert found.url == f"http://{shown}:{found.port}"
    assert found.names == {"localhost", "127.0.0.1", "::1", "proxy.example"}
    assert found.loopback


def test_a_port_that_is_taken_is_named(taken: int) -> None:
    with pytest.raises(SystemFailure) as refused:
        listener(Listen("127.0.0.1", taken))
    assert refused.value.exit_code == 74
    assert refused.value.found == "the port is taken"
    assert str(taken) in refused.value.message


def test_a_second_daemon_on_the_port_is_refused() -> None:
    async def scenario() -> None:
        async with daemon() as host:
            with pytest.raises(SystemFailure):
                async with daemon(listen=Listen(port=host.running.port)):
                    pass
            assert (await host.client.get("/v1/health")).status_code == 200

    run(scenario())


def test_what_is_no_port_is_named() -> None:
    with pytest.raises(SystemFailure):
        listener(Listen("127.0.0.1", 70_000))


def test_certificate_and_key_come_together(tmp_path: Path) -> None:
    cert, key = issue(tmp_path)
    for half in (Listen(tls_cert=cert), Listen(tls_key=key)):
        with pytest.raises(UsageError):
            listener(half)


def bad_tls(folder: Path, case: str) -> Listen:
    cert, key = issue(
        folder,
        key_mode=0o644 if case == "a key all may read" else 0o600,
        password=b"secret" if case == "an encrypted key" else None,
    )
    if case == "no certificate there":
        cert.unlink()
    if case == "no key there":
        key.unlink()
    if case == "not a certificate":
        cert.write_bytes(b"hello")
    if case == "another key":
        (folder / "other").mkdir()
        _, key = issue(folder / "other")
    return Listen("127.0.0.1", 0, cert, key)


@pytest.mark.parametrize(
    "case",
    [
        "a key all may read",
        "an encrypted key",
        "no certificate there",
        "no key there",
        "not a certificate",
        "another key",
    ],
)
def test_tls_that_cannot_be_is_named(tmp_path: Path, case: str) -> None:
    with pytest.raises(WasmkeepError) as refused:
        listener(bad_tls(tmp_path, case))
    assert isinstance(refused.value, InputError)
    assert refused.value.check.startswith("host.tls")


def test_tls_serves_what_loopback_serves_and_nothing_older_than_1_3(tmp_path: Path) -> None:
    cert, key = issue(tmp_path)

    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo), listen=Listen(EVERYWHERE, 0, cert, key)) as host:
            url = f"https://127.0.0.1:{host.running.port}"
            trusting = ssl.create_default_context(cafile=cert)
            async with httpx.AsyncClient(
                base_url=url, headers=host.headers, verify=trusting, trust_env=False
            ) as client:
                assert (await client.get("/v1/keeps")).status_code == 200
                assert (await client.get("/v1/keeps", headers={"Host": "keeps.example"})).status_code == 200
                assert (await client.get("/v1/keeps", headers={"Host": "evil.example"})).status_code == 421
                from tests.host.daemon import REQUEST

                created = (await client.post("/v1/keeps", json=REQUEST)).json()
            session = f"wss://127.0.0.1:{host.running.port}/v1/keeps/{created['id']}/session"
            async with connect(session, ssl=trusting, additional_headers=host.headers, proxy=None) as tenant:
                assert await tenant.recv() == OFFER
            await host.gone()
            with pytest.raises(httpx.TransportError):
                await httpx.AsyncClient(trust_env=False).get(
                    f"http://127.0.0.1:{host.running.port}/v1/health"
                )
            trusting.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises((ssl.SSLError, OSError)):
                await asyncio.open_connection("127.0.0.1", host.running.port, ssl=trusting)

    run(scenario())


def test_no_token_is_left_for_a_host_others_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    cert, key = issue(tmp_path)

    async def scenario() -> None:
        async with daemon(listen=Listen(EVERYWHERE, 0, cert, key), leave_token=True) as host:
            assert host.running.token_file is None
        async with daemon(leave_token=True) as host:
            assert host.running.token_file is not None

    run(scenario())
