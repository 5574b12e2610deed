"""Keeps and tenants that misbehave: ended with a reason, and the others notice nothing."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Generator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection

from tests.host import machine
from tests.host.daemon import Daemon, closed_with, daemon, run, until
from tests.host.machine import (
    OFFER,
    Exit,
    FakePlatform,
    Loop,
    Step,
    echo,
    endless_echo,
    exchange,
    guest_message,
)
from wasmkeep.errors import SystemFailure
from wasmkeep.host.settings import Limits

Script = Generator[Step, None, None]


def after_offer(*steps: Callable[[memoryview], Step]) -> machine.Keep:
    def keep(window: memoryview) -> Script:
        yield exchange(window, OFFER)
        for step in steps:
            yield step(window)
        raise AssertionError("the keep was run on")

    return keep


def wrong_length(window: memoryview) -> Step:
    exchange(window)
    struct.pack_into("<I", window, machine.CONTROL + 4, 1 << 30)
    return Exit()


def wild_exit(window: memoryview) -> Step:
    exchange(window)
    struct.pack_into("<Q", window, machine.EXITCODE, 0x8000_0010)
    return Exit()


MISBEHAVIOUR: dict[str, tuple[Callable[[memoryview], Step], int, str]] = {
    "a length above the window": (wrong_length, 4002, "a message of 1073741824 bytes"),
    "an exit nobody serves": (wild_exit, 4002, "exit code 0x80000010"),
    "a triple fault": (lambda _: Exit("shutdown"), 4002, "it stopped (shutdown)"),
    "a triple fault with an address": (lambda _: Exit("shutdown", 0x10_0123), 4002, "at 0x100123"),
    "an end without a word": (lambda _: Exit("ended"), 4002, "it stopped (ended)"),
    "a machine that fails": (
        lambda _: SystemFailure("x", "DRAM\x1b[2J"),
        1011,
        "machine failed: DRAM\\x1b[2J",
    ),
    "a connection to the machine that breaks": (lambda _: BrokenPipeError(), 1011, "BrokenPipeError"),
}


@pytest.mark.parametrize(("step", "code", "reason"), MISBEHAVIOUR.values(), ids=MISBEHAVIOUR.keys())
def test_a_keep_that_misbehaves_is_ended_and_costs_others_nothing(
    step: Callable[[memoryview], Step], code: int, reason: str
) -> None:
    async def scenario() -> None:
        platform = FakePlatform(endless_echo)
        async with daemon(platform) as host:
            good = await host.create()
            async with host.session(good["id"]) as other:
                assert await other.recv() == OFFER
                platform.keep = after_offer(step)
                bad = await host.create()
                async with host.session(bad["id"]) as tenant:
                    await tenant.recv()
                    await tenant.send(b"go")
                    closed = await closed_with(tenant)
                assert closed[0] == code
                assert reason in closed[1]
                await until(lambda: platform.alive == 1)
                await other.send(b"well")
                assert await other.recv() == b"echo well"

    run(scenario())


SHORT = Limits(
    boot_seconds=0.1, connect_seconds=0.2, idle_seconds=0.1, stall_seconds=0.2, compute_seconds=0.1
)


def looping_at_once(window: memoryview) -> Script:
    yield Loop


def looping_later(window: memoryview) -> Script:
    yield exchange(window, OFFER)
    yield Loop


def waiting(window: memoryview) -> Script:
    yield exchange(window, OFFER)
    raise AssertionError("the keep was run on")


@pytest.mark.parametrize(
    ("keep", "send", "reason"),
    [
        (looping_at_once, False, "the keep ran without an exit (0.1 s)"),
        (looping_later, True, "the keep ran without an exit (0.1 s)"),
        (waiting, False, "the keep waited for its tenant too long (0.1 s)"),
    ],
    ids=["loops at once", "loops later", "waits for ever"],
)
def test_every_wait_has_an_end(keep: machine.Keep, send: bool, reason: str) -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(keep), limits=SHORT) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                if send:
                    await tenant.recv()
                    await tenant.send(b"go")
                assert await closed_with(tenant) == (4003, reason)
            await host.gone()

    run(scenario())


def test_a_launch_that_never_ends_is_given_up() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(stalled=True), limits=SHORT) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                assert await closed_with(tenant) == (4003, "the launch took too long (0.1 s)")

    run(scenario())


def test_a_keep_nobody_connects_to_is_ended() -> None:
    async def scenario() -> None:
        async with daemon(limits=SHORT) as host:
            created = await host.create()
            await until(lambda: host.platform.alive == 1)
            await host.gone()
            shown = (await host.client.get(f"/v1/keeps/{created['id']}")).json()
            assert shown["ending"] == {"code": 4003, "reason": "no tenant connected (0.2 s)"}

    run(scenario())


def test_a_keep_lives_so_long_and_no_longer() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo), limits=Limits(lifetime_seconds=0.2)) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                assert await closed_with(tenant) == (4003, "the keep's lifetime is over (0.2 s)")

    run(scenario())


def test_a_launch_that_the_machine_refuses_is_told_to_a_tenant_who_comes_later() -> None:
    async def scenario() -> None:
        platform = FakePlatform(refusing=SystemFailure("platform.firmware", "no key slot is left"))
        async with daemon(platform) as host:
            created = await host.create()
            path = f"/v1/keeps/{created['id']}"
            for _ in range(200):
                if (await host.client.get(path)).json()["state"] == "ended":
                    break
            async with host.session(created["id"]) as tenant:
                assert await closed_with(tenant) == (1011, "machine failed: no key slot is left")

    run(scenario())


def test_a_tenant_who_comes_while_its_keep_is_being_ended_learns_why() -> None:
    def broken(_: memoryview) -> Script:
        yield Exit("shutdown")

    async def scenario() -> None:
        async with daemon(FakePlatform(broken, close_seconds=0.2)) as host:
            created = await host.create()
            path = f"/v1/keeps/{created['id']}"
            while (await host.client.get(path)).json()["state"] != "ending":
                pass
            async with host.session(created["id"]) as tenant:
                assert await closed_with(tenant) == (4002, "keep misbehaved: it stopped (shutdown)")

    run(scenario())


def test_a_machine_that_does_not_confirm_an_end_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wasmkeep.host.keep.CLOSE_SECONDS", 0.05)

    async def scenario() -> None:
        platform = FakePlatform(endless_echo)
        async with daemon(platform) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
            platform.close_seconds = 60
            await host.client.delete(f"/v1/keeps/{(await host.create())['id']}")
            platform.close_seconds = 0
            async with host.session((await host.create())["id"]) as tenant:
                assert await tenant.recv() == OFFER
            platform.alive -= sum(not launched.guest.closed for launched in platform.launched)
            await asyncio.sleep(0)

    run(scenario())
    assert any("did not confirm" in record.message for record in caplog.records)


def test_a_tenant_that_reads_nothing_stalls_its_own_keep_only() -> None:
    def flooding(window: memoryview) -> Script:
        while True:
            yield exchange(window, b"x" * 900_000, 0)

    async def scenario() -> None:
        platform = FakePlatform(flooding)
        async with daemon(platform, limits=Limits(stall_seconds=0.2)) as host:
            flooded = await host.create()
            stalled = await host.session(flooded["id"], max_queue=1)
            platform.keep = endless_echo
            good = await host.create()
            async with host.session(good["id"]) as tenant:
                await tenant.recv()
                for number in range(50):
                    await tenant.send(b"%d" % number)
                    assert await tenant.recv() == b"echo %d" % number
                    await asyncio.sleep(0.005)
            await host.gone()
            shown = (await host.client.get(f"/v1/keeps/{flooded['id']}")).json()
            assert shown["ending"] == {"code": 4003, "reason": "the tenant took no more output (0.2 s)"}
            stalled.transport.abort()

    run(scenario())


def test_a_keep_that_floods_the_secure_processor_is_ended() -> None:
    def flooding(window: memoryview) -> Script:
        while True:
            yield guest_message(window)

    async def scenario() -> None:
        async with daemon(FakePlatform(flooding), limits=Limits(guest_messages=5)) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                assert await closed_with(tenant) == (4002, "keep misbehaved: more than 5 guest messages")
            assert len(host.platform.launched[0].guest.requests) == 5

    run(scenario())


def test_a_keep_that_polls_without_end_is_slowed_down() -> None:
    def polling(window: memoryview) -> Script:
        yield exchange(window, OFFER)
        while True:
            yield exchange(window, b"", 0)

    async def scenario() -> None:
        async with daemon(FakePlatform(polling)) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                await tenant.send(b"go")
                guest = host.platform.launched[0].guest
                await until(lambda: guest.runs > 70)
                before = guest.runs
                await asyncio.sleep(0.1)
                assert guest.runs - before <= 110

    run(scenario())


def test_a_tenant_that_sends_more_than_its_keep_takes_is_held_back() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(after_offer(lambda _: Loop))) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(flood(tenant), 0.5)
                tenant.transport.abort()
                await host.client.delete(f"/v1/keeps/{created['id']}")

    run(scenario())


async def flood(tenant: ClientConnection) -> None:
    for _ in range(200):
        await tenant.send(b"x" * 900_000)


async def _raw_session(host: Daemon) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    created = await host.create()
    reader, writer = await asyncio.open_connection("127.0.0.1", host.running.port)
    lines = [
        f"GET /v1/keeps/{created['id']}/session HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        f"Authorization: Bearer {host.running.token}",
        "",
        "",
    ]
    writer.write("\r\n".join(lines).encode())
    assert b"101" in await reader.readline()
    return reader, writer


@pytest.mark.parametrize(
    "frames",
    [
        b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 5000,
        b"\x89\xfd\0\0\0\0" + bytes(125),
        b"\x82\x81\0\0\0\0m" * 30_000,
        b"\xff" * 100,
        b"\x82\x05hello",
    ],
    ids=["empty fragments", "pings nobody reads", "tiny messages", "no frame", "unmasked"],
)
def test_a_tenant_that_breaks_the_websocket_is_cut_off(frames: bytes) -> None:
    repeat = 60_000 if frames[0] == 0x89 else 1

    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            _, writer = await _raw_session(host)
            try:
                async with asyncio.timeout(20):
                    for _ in range(repeat):
                        writer.write(frames)
                        await writer.drain()
            except OSError:
                pass
            await host.gone()
            writer.transport.abort()

    run(scenario())


def test_a_bug_of_the_host_ends_one_keep_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        platform = FakePlatform(lambda _: iter([ZeroDivisionError()]))  # type: ignore[arg-type,return-value]
        async with daemon(platform) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                assert await closed_with(tenant) == (1011, "the host failed")
            platform.keep = echo
            async with host.session((await host.create())["id"]) as tenant:
                assert await tenant.recv() == OFFER

    run(scenario())
    assert any("a bug in the host" in record.message for record in caplog.records)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0x1FFF), st.binary(min_size=1, max_size=8)), min_size=1, max_size=8))
def test_whatever_a_keep_writes_the_host_lives_on(writes: list[tuple[int, bytes]]) -> None:
    def keep(window: memoryview) -> Script:
        while True:
            exchange(window, b"x", 0)
            for offset, value in writes:
                window[offset : offset + len(value)] = value
            yield Exit()

    async def scenario() -> None:
        async with daemon(FakePlatform(keep), limits=SHORT) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                try:
                    async with asyncio.timeout(0.2):
                        await closed_with(tenant)
                except TimeoutError:
                    pass
            assert (await host.client.get("/v1/health")).status_code == 200
            await host.gone()

    run(scenario())
