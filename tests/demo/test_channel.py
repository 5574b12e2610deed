"""The other side of a connection says nothing, or reads nothing: neither lasts for ever."""

from __future__ import annotations

import asyncio

import pytest

from tests.demo.fake_machine import FakeMachine
from tests.demo.playing import channels
from wasmkeep.demo import channel, server
from wasmkeep.demo.messages import End, Output
from wasmkeep.demo.server import Host, attend
from wasmkeep.errors import TimedOut


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(channel, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(channel, "_CLOSE_SECONDS", 0.05)


async def _talk(to: channel.Channel) -> None:
    while True:
        await to.send(Output(End.STOPPED, bytes(4096)))


def test_a_client_that_never_speaks_gives_its_place_back(fake: FakeMachine) -> None:
    async def test() -> None:
        async with channels() as (_, theirs):
            with pytest.raises(TimedOut, match="said nothing"):
                await attend(Host(fake, fake.vouchers), theirs)

    asyncio.run(asyncio.wait_for(test(), 10))


def test_a_client_that_never_reads_is_given_up() -> None:
    async def test() -> None:
        async with channels() as (_, theirs):
            with pytest.raises(TimedOut, match="takes nothing"):
                await _talk(theirs)

    asyncio.run(asyncio.wait_for(test(), 10))
