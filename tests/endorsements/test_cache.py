"""What is kept, for how long, and what happens to torn and foreign files."""

from __future__ import annotations

import asyncio
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.endorsements.bodies import BODIES, CEK, CHAIN, CRL, SEV_BODIES, SEV_CA, VCEK, VCEK_BODY, der
from wasmkeep.endorsements import CachedSource, Document, FolderSource, RateLimited, collect
from wasmkeep.endorsements.bodies import split_chain
from wasmkeep.errors import HostRefused, InputError, SystemFailure

REFUSAL = HostRefused("endorsements.denied", "no")


class Counting:
    """A source that counts, can be made to refuse, and can be made to answer with something else."""

    def __init__(self) -> None:
        self.bodies = BODIES | SEV_BODIES
        self.asked: list[Document] = []
        self.refusing: HostRefused | None = None

    async def fetch(self, document: Document, /) -> bytes:
        self.asked.append(document)
        await asyncio.sleep(0)
        if self.refusing is not None:
            raise self.refusing
        return self.bodies[document]


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def test_everything_for_one_chip_comes_at_once(tmp_path: Path) -> None:
    source = Counting()
    found = asyncio.run(collect(CachedSource(source, tmp_path), VCEK))
    assert found.vcek == VCEK_BODY
    assert (found.ask, found.ark) == split_chain(BODIES[CHAIN])
    assert found.crl == BODIES[CRL]
    assert sorted(map(repr, source.asked)) == sorted(map(repr, BODIES))


def test_one_failure_is_that_error_and_not_a_group(tmp_path: Path) -> None:
    source = Counting()
    source.refusing = REFUSAL
    with pytest.raises(HostRefused) as refused:
        asyncio.run(collect(CachedSource(source, tmp_path), VCEK))
    assert refused.value.check == "endorsements.denied"


@pytest.mark.parametrize("document", [VCEK, CEK])
def test_what_never_changes_is_fetched_once_and_survives_a_restart(
    tmp_path: Path, document: Document
) -> None:
    source, clock = Counting(), Clock()

    async def scenario() -> None:
        first = CachedSource(source, tmp_path, clock=clock)
        await first.fetch(document)
        clock.now += 10 * 365 * 86400
        await first.fetch(document)
        assert await CachedSource(source, tmp_path, clock=clock).fetch(document) == source.bodies[document]

    asyncio.run(scenario())
    assert source.asked == [document]


@pytest.mark.parametrize("document", [CRL, CHAIN, SEV_CA])
def test_an_old_list_or_chain_is_fetched_again(tmp_path: Path, document: Document) -> None:
    source, clock = Counting(), Clock()

    async def scenario() -> None:
        cache = CachedSource(source, tmp_path, refetch_seconds=100, clock=clock)
        await cache.fetch(document)
        clock.now += 99
        await CachedSource(source, tmp_path, refetch_seconds=100, clock=clock).fetch(document)
        assert len(source.asked) == 1
        clock.now += 2
        await cache.fetch(document)
        assert len(source.asked) == 2
        clock.now -= 50  # the clock was set back: what seems to come from the future is fetched again
        await cache.fetch(document)
        assert len(source.asked) == 3

    asyncio.run(scenario())


def test_an_old_list_is_used_where_no_newer_can_be_had_and_retried_after_a_while(tmp_path: Path) -> None:
    source, clock = Counting(), Clock()

    async def scenario() -> None:
        cache = CachedSource(source, tmp_path, refetch_seconds=100, clock=clock)
        await cache.fetch(CRL)
        clock.now += 101
        source.refusing = REFUSAL
        assert await cache.fetch(CRL) == BODIES[CRL]
        assert await cache.fetch(CRL) == BODIES[CRL]
        assert len(source.asked) == 2  # not asked again at once
        clock.now += 61
        source.refusing = None
        source.bodies[CRL] = der(b"newer")
        assert await cache.fetch(CRL) == der(b"newer")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "damage", [b"", VCEK_BODY[:-1], b"<html>", b"\x30" * 9000], ids=["empty", "torn", "page", "large"]
)
def test_a_torn_or_foreign_file_is_fetched_again_and_replaced(tmp_path: Path, damage: bytes) -> None:
    source = Counting()
    path = tmp_path / VCEK.file_path
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    assert asyncio.run(CachedSource(source, tmp_path).fetch(VCEK)) == VCEK_BODY
    assert path.read_bytes() == VCEK_BODY
    assert list(path.parent.iterdir()) == [path]


def test_a_fifo_in_the_place_of_a_file_does_not_stall(tmp_path: Path) -> None:
    path = tmp_path / VCEK.file_path
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert asyncio.run(CachedSource(Counting(), tmp_path).fetch(VCEK)) == VCEK_BODY


def test_one_request_for_many_who_ask_at_once(tmp_path: Path) -> None:
    source = Counting()

    async def scenario() -> None:
        cache = CachedSource(source, tmp_path)
        await asyncio.gather(*(cache.fetch(VCEK) for _ in range(20)))

    asyncio.run(scenario())
    assert source.asked == [VCEK]


def test_files_and_folders_are_the_users_alone(tmp_path: Path) -> None:
    folder = tmp_path / "kds"
    asyncio.run(CachedSource(Counting(), folder).fetch(VCEK))
    assert stat.S_IMODE((folder / VCEK.file_path).stat().st_mode) == 0o600


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_bytes(b"")
    with pytest.raises(SystemFailure) as refused:
        asyncio.run(CachedSource(Counting(), folder).fetch(VCEK))
    assert refused.value.check == "endorsements.cache"


def test_what_the_cache_keeps_is_a_folder_of_endorsements(tmp_path: Path) -> None:
    async def scenario() -> None:
        await collect(CachedSource(Counting(), tmp_path), VCEK)
        found = await collect(FolderSource(tmp_path), VCEK)
        assert found.vcek == VCEK_BODY

    asyncio.run(scenario())


def test_a_folder_that_lacks_a_document_says_which_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        FolderSource(tmp_path).read(CRL)
    assert refused.value.check == "endorsements.missing"
    assert "vcek/v1/Genoa/crl" in refused.value.required
    assert "endorsements fetch" in refused.value.remedy


def test_a_folder_with_a_damaged_document_refuses_it(tmp_path: Path) -> None:
    path = tmp_path / CRL.file_path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a list")
    with pytest.raises(Exception, match="revocation list"):
        FolderSource(tmp_path).read(CRL)


def test_a_service_that_limits_its_rate_is_asked_again_when_it_allows(tmp_path: Path) -> None:
    source, clock = Counting(), Clock()

    async def scenario() -> None:
        cache = CachedSource(source, tmp_path, refetch_seconds=100, clock=clock)
        await cache.fetch(CRL)
        source.refusing = RateLimited("https://kds.example", 300)
        for later, asked in ((101, 2), (299, 2), (2, 3)):
            clock.now += later
            assert await cache.fetch(CRL) == BODIES[CRL], "what was fetched before is kept"
            assert len(source.asked) == asked

    asyncio.run(scenario())


def test_when_a_copy_was_retrieved_is_kept_and_said(tmp_path: Path) -> None:
    source, clock = Counting(), Clock()
    began = datetime.fromtimestamp(clock.now, UTC)

    async def scenario() -> None:
        cache = CachedSource(source, tmp_path, refetch_seconds=1000, clock=clock)
        assert cache.retrieved(CRL) is None
        await cache.fetch(CRL)
        clock.now += 500
        later = CachedSource(source, tmp_path, refetch_seconds=1000, clock=clock)
        await later.fetch(CRL)
        folder = FolderSource(tmp_path)
        assert folder.retrieved(CRL) is None
        folder.read(CRL)
        assert cache.retrieved(CRL) == later.retrieved(CRL) == folder.retrieved(CRL) == began
        clock.now += 501
        await later.fetch(CRL)
        assert later.retrieved(CRL) == began + timedelta(seconds=1001)

    asyncio.run(scenario())
    assert len(source.asked) == 2
