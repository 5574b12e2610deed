"""The log: one line an event, nothing of tenants or tokens in it, and no cursor moved."""

from __future__ import annotations

import io
import logging
from collections.abc import Generator

import pytest

from tests.host.daemon import NONCE, closed_with, daemon, run
from tests.host.machine import OFFER, FakePlatform, Step, exchange, received
from wasmkeep.errors import SystemFailure
from wasmkeep.host.journal import EscapingFormatter, journal


def test_a_line_stays_one_line() -> None:
    record = logging.LogRecord(
        "wasmkeep.host", logging.WARNING, "", 0, "keep: %s", ("a\nb\x1b[2J\u202e\r",), None
    )
    line = EscapingFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()
    assert "a\\nb\\x1b[2J\\u202e\\r" in line


def test_a_traceback_is_escaped_line_by_line() -> None:
    try:
        raise ValueError("\x1b[31mred")
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "", 0, "bug", (), (ValueError, error, error.__traceback__)
        )
    lines = EscapingFormatter().format(record).split("\n")
    assert len(lines) > 2
    assert all(line.isprintable() for line in lines)


SECRET = b"a program, an argument, an output"


def leaking(window: memoryview) -> Generator[Step, None, None]:
    """A keep that puts what it got wherever it can."""
    yield exchange(window, OFFER)
    message = received(window)
    yield exchange(window, message, 0)
    yield SystemFailure("platform.machine", "the machine \x1b[2J failed")


def test_the_log_holds_no_payload_no_token_and_no_url() -> None:
    stream = io.StringIO()

    async def scenario() -> None:
        async with daemon(FakePlatform(leaking)) as host:
            token = host.running.token
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                await tenant.send(SECRET)
                assert (await closed_with(tenant))[0] == 1011
            await host.client.get("/v1/keeps", params={"token": token, "q": "from the url"})
            await host.client.get("/v1/keeps", headers={"Authorization": f"Bearer {token}x"})
            written.append(token)

    written: list[str] = []
    with journal(stream):
        run(scenario())
    log = stream.getvalue()
    assert "machine failed: the machine" in log
    for secret in (written[0], written[0][3:20], SECRET.decode(), "from the url", NONCE.hex(), "Bearer"):
        assert secret not in log
    assert all(line.isprintable() for line in log.splitlines())


def test_without_a_journal_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(leaking)) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                await tenant.send(SECRET)
                await closed_with(tenant)

    run(scenario())
    assert capfd.readouterr() == ("", "")
