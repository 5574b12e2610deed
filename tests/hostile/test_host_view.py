"""All that a host ever sees: no program, argument, environment, file, input, output or key is in it.

The host's view is every byte that reaches or leaves the daemon's listening socket, everything that passes
its tap, and the whole shared window at every exit and every resumption.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.lying_host import EXAMPLES, Attempt, Liar, attempt, lying_host, sev_policy
from tests.machines import machine
from wasmkeep.evidence.policy import Policy
from wasmkeep.hardware.machine_calls import WINDOW_GPA, View
from wasmkeep.hardware.sev_guest_vm import SevGuest
from wasmkeep.hardware.simulated import Platform
from wasmkeep.host.settings import Limits
from wasmkeep.host.tap import LaunchOrder
from wasmkeep.protocol import binding, slot
from wasmkeep.protocol.pre_attested import Drawn, FreshLaunch
from wasmkeep.tenant.preparation import Prepared, prepare
from wasmkeep.tenant.request import DeliveredDirectory, DeploymentRequest

ARGUMENT = "--password=correct-horse-battery-staple"
VARIABLE = ("TOKEN", "swordfish-0123456789-abcdefghij")
FILE_NAME = "a-telling-name-of-a-file.csv"
CONTENT = b"account,balance\nalice,1000000000\n" * 40
INPUT = b"what the user typed, in confidence " * 30
WINDOW_EXITS_AT_LEAST = 5
LAUNCHED, OUTPUT = 2, 3
"""What a keep says after the measurement and its offer."""


class Recorder(Liar):
    """Keeps everything."""

    def __init__(self) -> None:
        super().__init__()
        self.view: list[bytes] = []

    def relaunch(self, order: LaunchOrder) -> LaunchOrder:
        self.view += [repr(replace(order, regions=())).encode(), order.vmsa]
        self.view += [region.data for region in order.regions]
        return order

    def resuming(self, keep: str, window: memoryview) -> None:
        self.view.append(bytes(window))

    def exited(self, keep: str, window: memoryview) -> None:
        super().exited(keep, window)
        self.view.append(bytes(window))

    def alter_to_tenant(self, index: int, message: bytes) -> Sequence[bytes]:
        self.view.append(message)
        return (message,)

    def alter_to_keep(self, index: int, message: bytes) -> Sequence[bytes]:
        self.view.append(message)
        return (message,)

    async def guest_message(
        self, keep: str, window: memoryview, forward: Callable[[], Awaitable[int]]
    ) -> int:
        self.view.append(bytes(window))
        result = await forward()
        self.view.append(bytes(window))
        return result


@asynccontextmanager
async def wiretap(port: int, heard: list[bytes]) -> AsyncIterator[int]:
    """A port that leads to ``port`` and keeps every byte, both ways."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            heard.append(data)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, onward_writer), pump(onward_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("tree")
    (folder / FILE_NAME).write_bytes(CONTENT)
    request = DeploymentRequest(
        program=EXAMPLES / "cat.wat",
        host="http://127.0.0.1:1",
        policy=Policy.default(),
        arguments=(ARGUMENT,),
        environment=(VARIABLE,),
        directories=(DeliveredDirectory(folder, "/data"),),
        memory=1 << 20,
    )
    return prepare(request, lambda _: None)


class Secrets:
    """Remembers the secrets of a session as they are drawn, so that they can be looked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[bytes] = []
        derive = binding._direction_key

        def remembering(secret: bytes, session: bytes, info: bytes) -> binding.DirectionKey:
            key = derive(secret, session, info)
            self.keys += [secret, key.key, key.iv]
            return key

        monkeypatch.setattr(binding, "_direction_key", remembering)
        self._remember_launches(monkeypatch)

    def _remember_launches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a pre-attested launch draws: TEK, TIK, the packet for the slot, and the secret from it."""
        take, secret_of = FreshLaunch.take, slot.launch_secret

        def taking(launch: FreshLaunch) -> Drawn:
            drawn = take(launch)
            self.keys += [drawn.keys.tek, drawn.keys.tik, drawn.packet[20:52], drawn.packet[-32:]]
            return drawn

        def deriving(packet: bytes, tee: str) -> bytes:
            self.keys.append(secret_of(packet, tee))
            return self.keys[-1]

        monkeypatch.setattr(FreshLaunch, "take", taking)
        monkeypatch.setattr(slot, "launch_secret", deriving)


def probes_of(goods: Prepared, secrets: Secrets) -> dict[str, list[bytes]]:
    part = goods.program.part
    pieces = [part[i : i + 16] for i in range(0, len(part) - 16, 48)]
    return {
        "program": [piece for piece in pieces if len(set(piece)) > 8],
        "argument": [ARGUMENT.encode(), b"battery"],
        "environment": [VARIABLE[1].encode(), b"swordfish"],
        "file": [FILE_NAME.encode(), CONTENT[:24], b"alice,1000"],
        "input and output": [INPUT[:24], b"in confidence"],
        "keys": secrets.keys,
    }


def found(probes: dict[str, list[bytes]], view: Sequence[bytes]) -> dict[str, int]:
    everything = b"\0".join(view)
    return {name: sum(probe in everything for probe in them) for name, them in probes.items()}


def run(recorder: Recorder, goods: Prepared, heard: list[bytes], tee: str = "snp") -> Attempt:
    async def whole() -> Attempt:
        async with lying_host(recorder) as running, wiretap(running.port, heard) as port:
            tapped = replace(running, url=f"http://127.0.0.1:{port}")
            return await attempt(tapped, sev_policy(machine(), tee), goods, INPUT)

    return asyncio.run(whole())


@pytest.mark.parametrize(("tee", "keys"), [("snp", 6), ("sev-es", 11), ("sev", 11)])
def test_the_host_sees_ciphertext_only(
    goods: Prepared, monkeypatch: pytest.MonkeyPatch, tee: str, keys: int
) -> None:
    secrets, recorder, heard = Secrets(monkeypatch), Recorder(), list[bytes]()
    result = run(recorder, goods, heard, tee)
    assert result.error is None
    assert result.stdout == INPUT
    probes = probes_of(goods, secrets)
    assert len(probes["program"]) >= 5
    assert len(probes["keys"]) == keys
    assert recorder.exits >= WINDOW_EXITS_AT_LEAST
    assert sum(map(len, heard)) > len(goods.program.part)
    nothing = dict.fromkeys(probes, 0)
    assert found(probes, recorder.view) == nothing
    assert found(probes, heard) == nothing

    # The controls: what is looked for is what was sent, and looking for it finds it.
    package = b"".join(bytes(part) for part in goods.ship().package)
    plain = [package, result.stdout, *secrets.keys]
    assert all(found(probes, [*recorder.view, *plain])[name] == len(them) for name, them in probes.items())


def test_what_the_host_carries_does_not_compress(goods: Prepared) -> None:
    recorder, heard = Recorder(), list[bytes]()
    run(recorder, goods, heard)
    carried = b"".join(message[1168:] for message in recorder.from_tenant) + b"".join(recorder.from_keep[1:])
    assert len(carried) > 4_000
    assert len(zlib.compress(carried, 9)) > 0.99 * len(carried)


def test_the_log_names_nothing_of_the_workload(goods: Prepared, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    recorder, heard = Recorder(), list[bytes]()
    run(recorder, goods, heard)
    text = caplog.text
    for word in (ARGUMENT, VARIABLE[1], FILE_NAME, "alice", "in confidence", "Bearer", "wk_"):
        assert word not in text


def test_the_token_is_in_no_address(goods: Prepared) -> None:
    recorder, heard = Recorder(), list[bytes]()
    run(recorder, goods, heard)
    lines = [line for line in b"".join(heard).split(b"\r\n") if b" HTTP/1.1" in line]
    assert lines
    assert not any(b"wk_" in line for line in lines)


def test_the_test_looks_at_this_process_and_not_at_the_machines() -> None:
    assert machine().process.pid != os.getpid()
    assert Path(f"/proc/{machine().process.pid}").exists()


class Dumping(Recorder):
    """Searches all of the guest's memory while it runs its program, as a hypervisor and as a device."""

    def __init__(self, probes: Callable[[], dict[str, list[bytes]]]) -> None:
        super().__init__()
        self._probes = probes
        self._guest: SevGuest | None = None
        self.hits: list[dict[str, int]] = []
        self.last = b""

    def of(self, platform: Platform) -> object:
        outer = self

        class Watched:
            def __getattr__(self, name: str) -> Any:
                return getattr(platform, name)

            async def launch_sev(self, *arguments: Any, **named: Any) -> SevGuest:
                outer._guest = await platform.launch_sev(*arguments, **named)
                return outer._guest

        return Watched()

    async def to_tenant(self, keep: str, message: bytes) -> Sequence[bytes]:
        guest, number = self._guest, len(self.from_keep)
        if guest is not None and number in (LAUNCHED, OUTPUT):
            view = View.HYPERVISOR if number == LAUNCHED else View.DEVICE
            self.last = await guest.host_read(0, self.orders[0].memory, view)
            self.hits.append(found(self._probes(), [self.last]))
        return await super().to_tenant(keep, message)


@pytest.mark.parametrize("tee", ["sev-es", "sev"])
def test_a_dump_of_the_keeps_memory_is_ciphertext(
    goods: Prepared, monkeypatch: pytest.MonkeyPatch, tee: str
) -> None:
    secrets = Secrets(monkeypatch)
    dumping = Dumping(lambda: probes_of(goods, secrets))

    async def whole() -> Attempt:
        async with lying_host(dumping, altered=dumping.of, limits=Limits()) as running:
            return await attempt(running, sev_policy(machine(), tee), goods, INPUT)

    result = asyncio.run(whole())
    assert result.error is None
    assert result.stdout == INPUT
    assert len(dumping.hits) == 2
    assert all(hits == dict.fromkeys(hits, 0) for hits in dumping.hits)

    # The controls: the window stands in a dump as it is; the image does not, though the host put it there.
    order = dumping.orders[0]
    assert dumping.last[WINDOW_GPA + 0x1200 : WINDOW_GPA + 0x1220] == order.nonce
    image = max((region.data for region in order.regions), key=len)
    pieces = [image[at : at + 32] for at in range(0, len(image), 4096)]
    telling = [piece for piece in pieces if len(set(piece)) > 12]
    assert telling
    assert not any(piece in dumping.last for piece in telling)
