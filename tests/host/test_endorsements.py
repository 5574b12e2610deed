"""Endorsements served in the shape of AMD's key distribution service, from wherever the operator has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.endorsements.bodies import BODIES, CHAIN_BODY, CHIP, CRL, CRL_BODY, VCEK, VCEK_BODY
from tests.host.daemon import daemon, run
from wasmkeep.endorsements import CachedSource, Document, FolderSource, HttpSource, collect
from wasmkeep.errors import HostRefused, TimedOut, WasmkeepError


def fill(folder: Path) -> FolderSource:
    for document, body in BODIES.items():
        path = folder / document.file_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return FolderSource(folder)


class Failing:
    def __init__(self, error: WasmkeepError) -> None:
        self._error = error

    async def fetch(self, document: Document, /) -> bytes:
        raise self._error


def test_a_tenant_collects_from_its_host_and_keeps_what_it_got(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            daemon(endorsements=fill(tmp_path / "kds")) as host,
            HttpSource(host.running.url, headers=host.headers) as source,
        ):
            found = await collect(CachedSource(source, tmp_path / "kept"), VCEK)
        assert found.vcek == VCEK_BODY
        assert found.crl == CRL_BODY
        assert FolderSource(tmp_path / "kept").read(VCEK) == VCEK_BODY

    run(scenario())


def test_media_types_and_paddings_are_those_of_kds(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with daemon(endorsements=fill(tmp_path)) as host:
            chain = await host.client.get("/vcek/v1/Genoa/cert_chain")
            assert (chain.content, chain.headers["Content-Type"]) == (CHAIN_BODY, "application/x-pem-file")
            padded = f"/vcek/v1/Genoa/{CHIP.hex().upper()}?blSPL=09&teeSPL=00&snpSPL=23&ucodeSPL=72"
            assert (await host.client.get(padded)).content == VCEK_BODY

    run(scenario())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/vcek/v1/Rome/cert_chain", 404),
        ("/vcek/v1/Milan/crl", 404),
        (f"/vcek/v1/Genoa/{'00' * 64}?blSPL=9&teeSPL=0&snpSPL=23&ucodeSPL=72", 404),
        (f"/vcek/v1/Genoa/{CHIP.hex()}", 400),
        (f"/vcek/v1/Genoa/{CHIP.hex()}?blSPL=9&teeSPL=0&snpSPL=23&ucodeSPL=999", 400),
        (f"/vcek/v1/Turin/{CHIP.hex()}?fmcSPL=1&blSPL=9&teeSPL=0&snpSPL=23&ucodeSPL=9", 400),
        ("/vcek/v1/Genoa/..%2f..%2fetc%2fpasswd", 404),
        ("/vcek/v1/%2e%2e/crl", 404),
    ],
)
def test_what_is_not_there_or_malformed_is_refused(tmp_path: Path, path: str, status: int) -> None:
    async def scenario() -> None:
        async with daemon(endorsements=fill(tmp_path)) as host:
            answer = await host.client.get(path)
            assert answer.status_code == status, answer.text
            assert str(tmp_path) not in answer.text

    run(scenario())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            f"/vcek/v1/Genoa/{CHIP.hex()}?blSPL=9&teeSPL=0&snpSPL=23&ucodeSPL=71",
            "this host has no VCEK for that chip and TCB",
        ),
        ("/vcek/v1/Turin/cert_chain", "this host has no certificate chain for that generation"),
        ("/vcek/v1/Milan/crl", "this host has no revocation list for that generation"),
    ],
)
def test_what_is_missing_is_said_without_the_hosts_paths(tmp_path: Path, path: str, message: str) -> None:
    async def scenario() -> None:
        async with daemon(endorsements=fill(tmp_path)) as host:
            error = (await host.client.get(path)).json()["error"]
            assert error == {"code": "endorsements_missing", "message": message, "found": "", "required": ""}

    run(scenario())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (HostRefused("endorsements.rate_limited", "no more"), 429, "endorsements_rate_limited"),
        (TimedOut("endorsements.slow", "too slow"), 504, "endorsements_slow"),
        (HostRefused("endorsements.failing", "no"), 502, "endorsements_failing"),
    ],
)
def test_a_service_behind_that_fails_is_named(error: WasmkeepError, status: int, code: str) -> None:
    async def scenario() -> None:
        async with daemon(endorsements=Failing(error)) as host:
            answer = await host.client.get(f"/{CRL.url_path}")
            assert answer.status_code == status
            assert answer.json()["error"]["code"] == code

    run(scenario())
