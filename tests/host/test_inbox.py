"""Messages that wait for a keep: few, in order, and none after the end."""

from __future__ import annotations

import asyncio

import pytest

from tests.host.daemon import run
from wasmkeep.host.inbox import MESSAGES, Inbox


def test_messages_come_out_in_order() -> None:
    async def scenario() -> None:
        inbox = Inbox()
        for message in (b"a", b"b", b"c"):
            inbox.put(message)
        assert [inbox.take(), await inbox.wait(0), await inbox.wait(None), inbox.take()] == [
            b"a",
            b"b",
            b"c",
            None,
        ]
        assert await inbox.wait(0) is None
        assert await inbox.wait(0.001) is None

    run(scenario())


def test_a_message_that_comes_ends_the_wait() -> None:
    async def scenario() -> None:
        inbox = Inbox()
        waiting = asyncio.create_task(inbox.wait(None))
        await asyncio.sleep(0)
        inbox.put(b"a")
        assert await waiting == b"a"

    run(scenario())


def test_a_full_inbox_has_no_room_until_something_is_taken() -> None:
    async def scenario() -> None:
        inbox = Inbox()
        for _ in range(MESSAGES):
            await inbox.has_room()
            inbox.put(b"a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(inbox.has_room(), 0.01)
        inbox.take()
        await inbox.has_room()

    run(scenario())


def test_a_shut_inbox_always_has_room_and_keeps_nothing() -> None:
    async def scenario() -> None:
        inbox = Inbox()
        for _ in range(3 * MESSAGES):
            inbox.put(b"a")
        inbox.shut()
        for _ in range(3 * MESSAGES):
            inbox.put(b"a")
            await inbox.has_room()
        assert inbox.take() is None

    run(scenario())
