"""Endorsements on the command line: fetched ahead, kept, and asked for only where the user says so."""

from __future__ import annotations

import json
import socket
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.cli.conftest import User
from tests.endorsements.services import (
    FMSPC,
    MADE,
    VECTORS,
    Service,
    fmspc_of,
    genuine,
    intel_answers,
    running,
)
from wasmkeep.cli import evidence_verify
from wasmkeep.cli.__main__ import main
from wasmkeep.cli.console import Console
from wasmkeep.cli.endorsements_places import ONLINE, cache_folder, services_at
from wasmkeep.endorsements import Addresses, PckAuthority, PckCrl, QeIdentity, RootCaCrl, TcbInfo, Tee
from wasmkeep.errors import ConfigurationError, InputError
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.tenant.state import TenantState

ROW = "tdx/v4-uptodate"
QUOTE = VECTORS / ROW / "quote.bin"
IN_DATE = "2025-07-01"
needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason="no vectors beside the checkout")


@pytest.fixture
def pccs() -> Iterator[Service]:
    """A caching service with collateral of the right shape."""
    with running(intel_answers(MADE)) as service:
        yield service


@pytest.fixture
def genuine_pccs() -> Iterator[Service]:
    """One with the collateral of a genuine quote."""
    collateral = genuine(ROW)
    with running(intel_answers(collateral, fmspc=fmspc_of(collateral))) as service:
        yield service


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configuration, cache and state of nobody else's, for commands in this process."""
    for name in ("CONFIG", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    return tmp_path


def configure(home: Path, text: str) -> None:
    folder = home / "config" / "wasmkeep"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "endorsements.toml").write_text(text)


def test_a_family_is_fetched_ahead_for_either_tee_and_authority(user: User, pccs: Service) -> None:
    words = ["endorsements", "fetch", "--fmspc", FMSPC.hex(), "--to", "e", "--from", pccs.url]
    done = user.run(*words, "--tee", "tdx", "--ca", "platform", "--json")
    assert done.returncode == 0, done.stderr.decode()
    documents = (TcbInfo(Tee.TDX, FMSPC), QeIdentity(Tee.TDX), PckCrl(PckAuthority.PLATFORM), RootCaCrl())
    assert {path.relative_to(user.home) for path in (user.home / "e").rglob("*") if path.is_file()} == {
        Path("e") / document.file_path for document in documents
    }
    said = [
        json.loads(line) for line in done.stderr.decode().splitlines() + done.stdout.decode().splitlines()
    ]
    assert [one["source"] for one in said if "source" in one] == [pccs.url] * 4
    pccs.requests.clear()
    assert user.run(*words).returncode == 71, "this service has nothing for SGX"
    assert pccs.requests[0].startswith("/sgx/certification/v4/tcb?")


@needs_vectors
def test_what_is_fetched_for_a_quote_judges_it_offline(user: User, genuine_pccs: Service) -> None:
    done = user.run("endorsements", "fetch", QUOTE, "--to", "e", "--from", genuine_pccs.url)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr.decode().count("not checked") == 4
    genuine_pccs.requests.clear()
    words: list[str | Path] = ["evidence", "verify", QUOTE, "--policy", "plain", "--at", IN_DATE]
    offline = user.run(*words, "--endorsements", "e")
    assert offline.returncode == 0, offline.stderr.decode()
    assert genuine_pccs.requests == []
    assert user.run(*words).returncode == 77, "no collateral, and nobody is asked for it"
    online = user.run(*words, "--endorsements", genuine_pccs.url)
    assert online.returncode == 0, online.stderr.decode()
    assert len(genuine_pccs.requests) == 4


@needs_vectors
def test_without_being_asked_no_command_opens_a_connection(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    configure(home, 'amd = "https://kds.example"\nintel = "https://pccs.example"\n')
    genoa = VECTORS / "snp" / "genoa-v5-model-a0" / "report.bin"
    for file in (QUOTE, genoa):
        assert main(["evidence", "verify", str(file), "--policy", "plain"]) == 77
        assert main(["evidence", "verify", str(file), "--endorsements", str(home)]) == 77
        assert main(["evidence", "show", str(file)]) == 0
    capfd.readouterr()


@pytest.mark.parametrize("issued", [("2026-11-01", "2026-11-02"), ("2026-11-02", "2026-11-01")])
def test_the_newest_list_seen_is_remembered(home: Path, issued: tuple[str, str]) -> None:
    result = SimpleNamespace(lists_issued={})
    for day in issued:
        result.lists_issued["sha256:00"] = datetime.fromisoformat(f"{day}T00:00Z")
        evidence_verify._remember(cast(AttestationResult, result), Console(sys.stderr))
    assert TenantState().newest_crls() == {"sha256:00": datetime(2026, 11, 2, tzinfo=UTC)}


def test_a_state_folder_that_cannot_be_written_is_said(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (home / "state").write_bytes(b"no folder")
    result = SimpleNamespace(lists_issued={"sha256:00": datetime(2026, 11, 2, tzinfo=UTC)})
    evidence_verify._remember(cast(AttestationResult, result), Console(sys.stderr))
    assert "not remembered" in capfd.readouterr().err


def test_the_cache_is_where_fetched_documents_go_unless_named(home: Path, pccs: Service) -> None:
    configure(home, f'intel = "{pccs.url}"\n')
    words = ["endorsements", "fetch", "--fmspc", FMSPC.hex(), "--tee", "tdx", "--ca", "platform"]
    assert main([*words, "--quiet"]) == 0
    kept = cache_folder(Addresses(intel=pccs.url))
    assert kept.is_relative_to(home / "cache")
    assert (kept / QeIdentity(Tee.TDX).file_path).is_file()


def test_a_service_that_limits_its_rate_is_waited_for(home: Path, pccs: Service) -> None:
    pccs.limited = 2
    pccs.fault_headers = {"Retry-After": "1"}
    words = ["endorsements", "fetch", "--fmspc", FMSPC.hex(), "--tee", "tdx", "--ca", "platform"]
    assert main([*words, "--to", str(home / "e"), "--from", pccs.url, "--quiet"]) == 0
    assert len(pccs.requests) == 4 + 2
    pccs.limited, pccs.fault_headers = 1, {"Retry-After": "3000"}
    assert main([*words, "--to", str(home / "e"), "--from", pccs.url, "--quiet"]) == 71
    assert len(pccs.requests) == 4 + 2 + 1


USAGE = {
    "nothing": [],
    "a chip without SEV": ["--chip-id", "00" * 64],
    "a cloud's key of no generation": ["--vlek"],
    "a cloud's key for SEV": ["--sev", "--product", "genoa", "--vlek"],
    "a TEE of no family": ["--tee", "tdx", "--product", "genoa"],
    "an authority of no family": ["--ca", "platform"],
    "SEV without generation": ["--sev"],
    "an unknown generation": ["--product", "bulldozer"],
    "a product without SNP": ["--product", "rome"],
}


@pytest.mark.parametrize("words", USAGE.values(), ids=USAGE)
def test_what_is_asked_for_must_be_clear(home: Path, words: list[str]) -> None:
    assert main(["endorsements", "fetch", "--to", str(home), *words]) in (64, 66)


@pytest.mark.parametrize("fmspc", ["00", "zz" * 6, "../../../../"])
def test_a_family_is_twelve_digits(home: Path, fmspc: str) -> None:
    assert main(["endorsements", "fetch", "--to", str(home), "--fmspc", fmspc]) == 66


def test_a_file_without_evidence_names_no_endorsements(home: Path) -> None:
    (home / "x").write_bytes(b"nothing")
    assert main(["endorsements", "fetch", "--to", str(home), str(home / "x")]) == 66


def test_services_are_the_vendors_own_unless_the_user_sets_others(home: Path) -> None:
    assert services_at(ONLINE).addresses == Addresses()
    configure(home, 'amd = "https://kds.example"')
    assert services_at(ONLINE).addresses == Addresses(amd="https://kds.example")
    assert services_at("https://a.example").addresses == Addresses("https://a.example", "https://a.example")
    folders = {
        cache_folder(Addresses(*names)) for names in ((None, None), ("a", None), (None, "a"), ("b", "a"))
    }
    assert len(folders) == 4, "what one service answered is never taken for another's"


SETTINGS = {
    "unknown key": 'kds = "https://kds.example"',
    "no text": "amd = 1",
    "no TOML": "amd =",
    "no address": 'amd = "kds.example"',
    "plain HTTP": 'intel = "http://pccs.example"',
    "no authority": 'authority = "absent.pem"',
    "another authority": 'authority = "endorsements.toml"',
}


@pytest.mark.parametrize("text", SETTINGS.values(), ids=SETTINGS)
def test_wrong_settings_are_refused(home: Path, text: str) -> None:
    configure(home, text)
    with pytest.raises(ConfigurationError) as refused:
        services_at(ONLINE).open()
    assert refused.value.check in {"endorsements.settings", "endorsements.address"}


def test_an_authority_of_the_users_counts_beside_others(home: Path) -> None:
    bundle = ssl.get_default_verify_paths().cafile
    if bundle is None:
        pytest.skip("no bundle of authorities here")
    configure(home, f'authority = "{bundle}"')
    services_at(ONLINE).open()


def test_a_folder_that_is_not_there_is_named(home: Path) -> None:
    import asyncio

    from wasmkeep.cli.endorsements_places import opened

    async def scenario() -> None:
        async with opened(str(home / "absent")):
            pass

    with pytest.raises(InputError) as refused:
        asyncio.run(scenario())
    assert refused.value.check == "input.directory"
