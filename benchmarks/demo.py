"""`demo`: the talk's demonstration, client and server, from nothing to the printed 7, on a booted machine.

A run is what `wasmkeep demo sev` does in one round: certificates fetched and both chains verified, session
and policy made, an empty machine started, measured, and the measurement verified, the program sealed,
injected and run. Every run makes its keys and its machine anew and verifies everything. Client and server are
in one process, as in that command, and hand their messages over in memory; `kvm apart` hands them over by a
pair of sockets, as two programs do. The machine is a process of its own. Its destruction afterwards is waited
for and not counted: the demonstration is over when the 7 is there.
"""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from benchmarks.results import Result, median, percentile
from benchmarks.timing import milliseconds_since
from wasmkeep.cli.console import Console
from wasmkeep.cli.demo_local import connected
from wasmkeep.cli.demo_machines import Opened, simulated
from wasmkeep.cli.demo_screen import TALK_MS
from wasmkeep.cli.folders import private_folder
from wasmkeep.cli.machine import MachineSettings, booted
from wasmkeep.demo.channel import Channel
from wasmkeep.demo.client import Client
from wasmkeep.demo.conversation import Step, play
from wasmkeep.demo.messages import TO_CLIENT, TO_SERVER
from wasmkeep.demo.server import Host, attend
from wasmkeep.hardware.simulated import Platform

__all__ = ["measure"]

_STEPS = ("chain", "session", "start", "measurement", "seal", "run")
_REFERENCE = f"the talk's {TALK_MS} ms"


class _Demonstration:
    def __init__(self, machine: Opened, *, apart: bool = False) -> None:
        self._machine = machine
        self._connected = _apart if apart else connected
        self.steps: list[list[Step]] = []

    async def __call__(self) -> float:
        """One round, in milliseconds."""
        steps: list[Step] = []
        host = Host(self._machine.machine, self._machine.vouchers)
        async with self._connected(host) as channel:
            began = time.perf_counter_ns()
            await play(Client(self._machine.trust), channel, steps.append)
            took = milliseconds_since(began)
        self.steps.append(steps)
        return took


@asynccontextmanager
async def _apart(host: Host) -> AsyncIterator[Channel]:
    """Over a pair of sockets."""
    ends = socket.socketpair()
    channel = Channel(*await asyncio.open_connection(sock=ends[0]), TO_CLIENT)
    its = Channel(*await asyncio.open_connection(sock=ends[1]), TO_SERVER)
    serving = asyncio.create_task(attend(host, its))
    try:
        yield channel
        await channel.close()
        await serving
    finally:
        serving.cancel()
        await asyncio.gather(serving, channel.close(), its.close(), return_exceptions=True)


async def measure(*, rounds: int = 200, warm_up: int = 20) -> list[Result]:
    """Of each machine that this computer has: encrypted on the emulated CPU, and unencrypted on KVM."""
    settings = MachineSettings("bench", ("sev",), "naples", "auto")
    with private_folder() as folder:
        async with (
            booted(settings, folder / "machine", Console(sys.stderr), meanwhile=_nothing) as machine,
            await Platform.open(str(machine.socket)) as platform,
        ):
            demonstrations: dict[str, _Demonstration] = {}
            if importlib.util.find_spec("unicorn") is not None:
                demonstrations["simulated"] = _Demonstration(await simulated(platform, emulated=True))
            if platform.description.cpu == "kvm":
                there = await simulated(platform, emulated=False)
                demonstrations["kvm"] = _Demonstration(there)
                demonstrations["kvm apart"] = _Demonstration(there, apart=True)
            samples = {name: await _samples(each, rounds, warm_up) for name, each in demonstrations.items()}
    results: list[Result] = []
    for name, taken in samples.items():
        results += _results(name, taken, demonstrations[name].steps[warm_up:])
    return results


async def _samples(demonstration: _Demonstration, rounds: int, warm_up: int) -> list[float]:
    """One kind after the other: nothing is compared here but with a number."""
    return [await demonstration() for _ in range(warm_up + rounds)][warm_up:]


def _nothing() -> None:
    pass


def _results(name: str, taken: list[float], steps: list[list[Step]]) -> Iterator[Result]:
    for share, word in ((0.5, "p50"), (0.95, "p95")):
        value = percentile(taken, share)
        yield Result("demo", f"{name} {word}", value, "ms", _REFERENCE, value / TALK_MS)
    if name == "kvm":
        for number, word in enumerate(_STEPS):
            each = [run[number].elapsed_ns / 1e6 for run in steps]
            yield Result("demo", f"{name} step_{word}", median(each), "ms", "", None)
