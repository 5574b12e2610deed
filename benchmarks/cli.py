"""`cli`: how long `wasmkeep --help` takes beside a Python that does nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.results import Result, median
from benchmarks.timing import interleaved, timed_process

__all__ = ["measure"]


async def measure(*, runs: int = 31) -> list[Result]:
    """Each run is a whole process, from its start to its end."""
    command = str(Path(sys.executable).with_name("wasmkeep"))

    async def ours() -> float:
        return timed_process((command, "--help"))

    async def nothing() -> float:
        return timed_process((sys.executable, "-c", "pass"))

    samples = await interleaved({"ours": ours, "nothing": nothing}, rounds=runs, warm_up=3)
    peer = median(samples["nothing"])
    help_ = median(samples["ours"])
    return [
        Result("cli", "help", help_, "ms", "python -c pass", help_ / peer),
        Result("cli", "python", peer, "ms", "", None),
    ]
