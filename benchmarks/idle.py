"""`idle`: what keeps cost that wait: many at once, each attested, loaded and waiting for its input.

Memory is what the system counts for the host, the machine and every process of theirs (PSS: shared pages
are divided among those who share them), and beside it how much less memory the whole system has left, which
also has what the kernel keeps for virtual machines.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from benchmarks.hosting import EXAMPLES, Workload, warm_host
from benchmarks.results import Result, median
from benchmarks.timing import milliseconds_since

__all__ = ["measure"]

_LINEAR_MEMORY = 16 << 20  # bytes
_AT_ONCE = 8  # starting at the same time
_KIB_PER_MIB = 1024


class _Held:
    """Standard input that comes when ``released``; ``asked`` is set when the program wants it."""

    def __init__(self, released: asyncio.Event) -> None:
        self._released = released
        self.asked = asyncio.Event()

    async def read(self, _: int) -> bytes:
        self.asked.set()
        await self._released.wait()
        return b""


async def measure(*, keeps: int = 200) -> list[Result]:
    """``keeps`` at once, after one that warms everything up."""
    async with warm_host("--keeps-per-token", str(keeps + 1)) as workload:
        cat = workload(EXAMPLES / "cat.wat", memory=_LINEAR_MEMORY)
        await cat.run()
        before, left_before = _host_memory(), _available()
        began = time.perf_counter_ns()
        released = asyncio.Event()
        gate = asyncio.Semaphore(_AT_ONCE)
        took = 0.0
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(_until_waiting(cat, released, gate, group)) for _ in range(keeps)]
            starts = list(await asyncio.gather(*waiting))
            took = milliseconds_since(began)
            after, left_after = _host_memory(), _available()
            released.set()
    memory = f"{cat.prepared.keep_memory >> 20} MiB each, {keeps} at once"
    return [
        Result("idle", "memory", (after - before) / keeps / _KIB_PER_MIB, "MiB", memory, None),
        Result("idle", "system", (left_before - left_after) / keeps / _KIB_PER_MIB, "MiB", memory, None),
        Result("idle", "host", before / _KIB_PER_MIB, "MiB", "host and machine without a keep", None),
        Result("idle", "all_waiting", took, "ms", f"{keeps} keeps, {_AT_ONCE} starting at a time", None),
        Result("idle", "start_p50", median(starts), "ms", "one of them, until it waits", None),
    ]


async def _until_waiting(
    cat: Workload, released: asyncio.Event, gate: asyncio.Semaphore, group: asyncio.TaskGroup
) -> float:
    """Start one and leave it waiting in ``group``; milliseconds until it waits."""
    held = _Held(released)
    async with gate:
        began = time.perf_counter_ns()
        group.create_task(cat.run(held))
        await held.asked.wait()
    return milliseconds_since(began)


def _host_memory() -> int:
    """KiB of every process that this one has started, PSS."""
    return sum(_pss(process) for process in _descendants(os.getpid()))


def _descendants(process: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    unseen = [process]
    while unseen:
        below = children.get(unseen.pop(), [])
        found += below
        unseen += below
    return found


def _pss(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return _kib(text, "Pss:")


def _available() -> int:
    """KiB."""
    return _kib(Path("/proc/meminfo").read_text(), "MemAvailable:")


def _kib(text: str, name: str) -> int:
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))
