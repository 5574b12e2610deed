"""A keep from its creation to its end, over a real socket."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Generator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.host.daemon import KEY_DIGEST, NONCE, TSC_KHZ, closed_with, daemon, run, until
from tests.host.machine import (
    MEMORY,
    OFFER,
    FakePlatform,
    Step,
    echo,
    end,
    endless_echo,
    exchange,
    received,
    refuse,
)
from wasmkeep.host.window import DATA_SIZE


def test_a_whole_session() -> None:
    async def scenario() -> None:
        async with daemon() as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                assert await tenant.recv() == OFFER
                await tenant.send(b"package")
                assert await tenant.recv() == b"first package"
                assert await tenant.recv() == b"last package"
                assert await closed_with(tenant) == (1000, "")
            await host.gone()
            guest = host.platform.launched[0].guest
            assert guest.requests == [(0x20_2000, 0x20_3000)]

    run(scenario())


def test_what_is_launched_is_what_was_asked_for() -> None:
    async def scenario() -> None:
        async with daemon() as host:
            created = await host.create(policy=0xB0000)
            await until(lambda: bool(host.platform.launched))
            launched = host.platform.launched[0]
            assert (launched.memory, launched.policy, launched.host_data) == (MEMORY, 0xB0000, KEY_DIGEST)
            assert [region.gpa for region in launched.regions] == [0x10_0000]
            window = launched.guest.window
            assert window[0x1200:0x1240] == NONCE + KEY_DIGEST
            assert struct.unpack_from("<Q", window, 0x1240) == (TSC_KHZ,)
            assert created["image"] == {"name": "wasmkeep 0.1.0", "kind": "process", "sha256": "11" * 32}
            assert created["product"] == "genoa"
            assert created["memory"] == MEMORY

    run(scenario())


def test_the_default_guest_policy_forbids_debug_and_migration() -> None:
    async def scenario() -> None:
        async with daemon() as host:
            await host.create()
            await until(lambda: bool(host.platform.launched))
            assert host.platform.launched[0].policy == 0x30000

    run(scenario())


def test_messages_of_every_size_pass_whole() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                for size in (1, 125, 126, 65_535, 65_536, DATA_SIZE - 5):
                    message = bytes([size % 251]) * size
                    await tenant.send(message)
                    assert await tenant.recv() == b"echo " + message

    run(scenario())


def test_a_message_in_fragments_is_one_message() -> None:
    async def scenario() -> None:
        async with daemon() as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                await tenant.send([b"pack", b"age"])
                assert await tenant.recv() == b"first package"

    run(scenario())


def test_a_message_that_is_here_already_is_delivered_to_a_keep_that_does_not_wait() -> None:
    got: list[bytes] = []

    def polling(window: memoryview) -> Generator[Step, None, None]:
        yield exchange(window, OFFER)
        got.append(received(window))
        while len(got) < 2:
            yield exchange(window, b"", 0)
            if message := received(window):
                got.append(message)
        yield end(window)

    async def scenario() -> None:
        async with daemon(FakePlatform(polling)) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                await tenant.send(b"one")
                await asyncio.sleep(0.05)
                await tenant.send(b"two")
                assert await closed_with(tenant) == (1000, "")
        assert got == [b"one", b"two"]

    run(scenario())


def test_a_keeps_wait_for_its_tenant_ends_when_it_says() -> None:
    got: list[bytes] = []

    def waiting(window: memoryview) -> Generator[Step, None, None]:
        yield exchange(window, OFFER, 2_000_000)
        got.append(received(window))
        yield end(window)

    async def scenario() -> None:
        async with daemon(FakePlatform(waiting)) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                assert await closed_with(tenant) == (1000, "")
        assert got == [b""]

    run(scenario())


def test_a_keep_that_refuses_says_why() -> None:
    def refusing(window: memoryview) -> Generator[Step, None, None]:
        yield refuse(window, 7, 0x10_1234)

    async def scenario() -> None:
        async with daemon(FakePlatform(refusing)) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                assert await closed_with(tenant) == (4001, "keep refused: 7 at 0x101234")
            await host.gone()

    run(scenario())


def test_two_tenants_of_one_host_do_not_meet() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            first, second = await host.create(), await host.create()
            async with host.session(first["id"]) as one, host.session(second["id"]) as two:
                await one.recv()
                await two.recv()
                for number in range(20):
                    await one.send(b"one %d" % number)
                    await two.send(b"two %d" % number)
                    assert await two.recv() == b"echo two %d" % number
                    assert await one.recv() == b"echo one %d" % number

    run(scenario())


def test_a_keep_takes_one_connection_in_its_life() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                with pytest.raises(InvalidStatus) as refused:
                    await host.session(created["id"])
                assert refused.value.response.status_code == 409
                await tenant.send(b"still here")
                assert await tenant.recv() == b"echo still here"

    run(scenario())


@pytest.mark.parametrize("looping", [False, True], ids=["waiting", "running"])
def test_when_the_tenant_leaves_the_keep_ends(looping: bool) -> None:
    def keep(window: memoryview) -> Generator[Step, None, None]:
        yield exchange(window, OFFER)
        from tests.host.machine import Loop

        yield Loop

    async def scenario() -> None:
        async with daemon(FakePlatform(keep if looping else echo)) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                if looping:
                    await tenant.send(b"go")
                    await until(lambda: host.platform.launched[0].guest.runs == 2)
            await host.gone()
            answer = await host.client.get(f"/v1/keeps/{created['id']}")
            assert answer.json()["state"] == "ended"

    run(scenario())


def test_when_the_connection_is_cut_the_keep_ends() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            created = await host.create()
            tenant = await host.session(created["id"])
            await tenant.recv()
            tenant.transport.abort()
            await host.gone()
            with pytest.raises(ConnectionClosed):
                await tenant.recv()

    run(scenario())


@pytest.mark.parametrize(
    ("message", "code"),
    [("text", 1003), (b"", 1007), (b"x" * (DATA_SIZE + 1), 1009)],
    ids=["text", "empty", "large"],
)
def test_what_is_not_a_message_ends_the_keep(message: str | bytes, code: int) -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                await tenant.send(message)
                assert (await closed_with(tenant))[0] == code
            await host.gone()

    run(scenario())


def test_keeps_are_listed_shown_and_stopped() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            created = await host.create()
            await until(lambda: bool(host.platform.launched))
            listed = (await host.client.get("/v1/keeps")).json()["keeps"]
            assert [keep["id"] for keep in listed] == [created["id"]]
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                shown = (await host.client.get(f"/v1/keeps/{created['id']}")).json()
                assert shown["state"] == "connected"
                assert (await host.client.delete(f"/v1/keeps/{created['id']}")).status_code == 204
                assert host.platform.alive == 0
                assert await closed_with(tenant) == (1001, "stopped by request")
            assert (await host.client.get("/v1/keeps")).json() == {"keeps": []}

    run(scenario())


def test_stopping_the_daemon_ends_every_keep_and_tells_its_tenant() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo)) as host:
            connected = await host.session((await host.create())["id"])
            await connected.recv()
            await host.create()
        assert await closed_with(connected) == (1001, "the host is stopping")
        assert host.platform.alive == 0

    run(scenario())


def test_the_next_launch_is_begun_once_a_keep_has_spoken_and_counts_as_free() -> None:
    async def scenario() -> None:
        async with daemon() as host:
            assert host.platform.began == 0
            async with host.session((await host.create())["id"]) as tenant:
                assert await tenant.recv() == OFFER
                await tenant.send(b"package")
                assert (await closed_with(tenant))[0] == 1000
            assert host.platform.began == 1
            await host.gone()
            host.platform.alive, host.platform.begun = 3, 1
            (tee,) = (await host.client.get("/v1/platform")).json()["tees"]
            assert tee["slots_used"] == 2
            host.platform.alive, host.platform.begun = 0, 0

    run(scenario())
