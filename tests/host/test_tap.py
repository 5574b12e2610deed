"""A host that lies, and a host that is watched, are made by construction; the daemon has neither."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from tests.host.daemon import daemon, run, until
from tests.host.machine import OFFER, FakePlatform, endless_echo
from wasmkeep.host import app, openapi, server, settings
from wasmkeep.host.tap import PASS_THROUGH, LaunchOrder, PassThrough


class Recorder(PassThrough):
    """Keeps every message and the whole window at each exit and each resumption."""

    guest_messages = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []

    def resuming(self, keep: str, window: memoryview) -> None:
        self.seen.append(("resuming", bytes(window)))

    def exited(self, keep: str, window: memoryview) -> None:
        self.seen.append(("exited", bytes(window)))

    async def to_tenant(self, keep: str, message: bytes) -> Sequence[bytes]:
        self.seen.append(("to tenant", message))
        return (message,)

    async def to_keep(self, keep: str, message: bytes) -> Sequence[bytes]:
        self.seen.append(("to keep", message))
        return (message,)


class Liar(PassThrough):
    """Alters the launch, doubles what the keep says, drops and replaces what the tenant says."""

    guest_messages = True

    def launch(self, keep: str, order: LaunchOrder) -> LaunchOrder:
        return replace(order, policy=order.policy | 1 << 19, host_data=b"\x66" * 32)

    async def to_tenant(self, keep: str, message: bytes) -> Sequence[bytes]:
        return (message, message)

    async def to_keep(self, keep: str, message: bytes) -> Sequence[bytes]:
        return () if message == b"dropped" else (message.upper(),)

    async def guest_message(
        self, keep: str, window: memoryview, forward: Callable[[], Awaitable[int]]
    ) -> int:
        window[0x2000] ^= 1
        await forward()
        window[0x3000] ^= 1
        return 0x16


def test_a_recorder_sees_all_that_passes() -> None:
    recorder = Recorder()

    async def scenario() -> None:
        async with daemon(tap=recorder) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                await tenant.send(b"package")
                async for _ in tenant:
                    pass

    run(scenario())
    assert [kind for kind, _ in recorder.seen if kind.startswith("to ")] == ["to tenant", "to keep"] + [
        "to tenant"
    ] * 2
    assert [kind for kind, _ in recorder.seen].count("exited") == 4
    windows = b"".join(content for kind, content in recorder.seen if kind == "exited")
    for content in (OFFER, b"sealed request..", b"sealed response.", b"first package", b"last package"):
        assert content in windows
    assert all(len(content) == 1 << 20 for kind, content in recorder.seen if kind in {"exited", "resuming"})


def test_a_liar_alters_whatever_the_host_carries() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(endless_echo), tap=Liar()) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                assert [await tenant.recv(), await tenant.recv()] == [OFFER, OFFER]
                await tenant.send(b"dropped")
                await tenant.send(b"kept")
                assert await tenant.recv() == b"echo KEPT"
            launched = host.platform.launched[0]
            assert (launched.policy, launched.host_data) == (0xB0000, b"\x66" * 32)

    run(scenario())


def test_a_liar_alters_guest_messages_both_ways() -> None:
    async def scenario() -> None:
        async with daemon(tap=Liar()) as host:
            created = await host.create()
            async with host.session(created["id"]) as tenant:
                await tenant.recv()
                window = host.platform.launched[0].guest.window
                assert bytes(window[0x2000:0x2002]) == bytes([ord("s") ^ 1]) + b"e"
                assert bytes(window[0x3000:0x3002]) == bytes([ord("s") ^ 1]) + b"e"

    run(scenario())


def test_a_tap_that_stalls_is_subject_to_the_limits() -> None:
    class Stalling(PassThrough):
        async def to_tenant(self, keep: str, message: bytes) -> Sequence[bytes]:
            await asyncio.Event().wait()
            return ()

    async def scenario() -> None:
        async with daemon(tap=Stalling(), limits=settings.Limits(stall_seconds=0.1)) as host:
            created = await host.create()
            async with host.session(created["id"]):
                await until(lambda: bool(host.platform.launched))
                await host.gone()

    run(scenario())


def test_nothing_but_construction_selects_a_tap() -> None:
    default = inspect.signature(server.Service).parameters["tap"].default
    assert default is PASS_THROUGH
    assert type(default) is PassThrough
    for module in (app, openapi, settings):
        assert "PassThrough" not in inspect.getsource(module)
        assert "tap" not in " ".join(settings.Limits.__dataclass_fields__)
