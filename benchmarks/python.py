"""`python`: CPython prints a line; a whole deployment from a warm cache beside plain wasmtime's warm start.

The keep's side is everything from choosing a host's keep to the verified receipt, with the program loaded
from the tenant's cache each time. The peer's is its precompiled module mapped, instantiated and run.
"""

from __future__ import annotations

import time

from benchmarks.hosting import BUILD, warm_host
from benchmarks.peer import Peer
from benchmarks.programs import cpython
from benchmarks.results import Result, median, percentile
from benchmarks.timing import interleaved, milliseconds_since

__all__ = ["measure"]

_MEMORY = 64 << 20  # bytes
_SCRIPT = ("-c", "print('hello from the keep')")
_EXPECTED = b"hello from the keep\n"


async def measure(*, rounds: int = 25) -> list[Result]:
    """Each round is one of either."""
    program = cpython()
    peer = Peer(program, BUILD)
    async with warm_host() as workload:
        workload(program, *_SCRIPT, memory=_MEMORY)  # warms the cache

        async def ours() -> float:
            began = time.perf_counter_ns()
            run = await workload(program, *_SCRIPT, memory=_MEMORY).run()
            took = milliseconds_since(began)
            _require(run.stdout)
            return took

        async def theirs() -> float:
            began = time.perf_counter_ns()
            output = peer.run(*_SCRIPT)
            took = milliseconds_since(began)
            _require(output)
            return took

        samples = await interleaved({"ours": ours, "theirs": theirs}, rounds=rounds, warm_up=3)
    ours_p50, theirs_p50 = median(samples["ours"]), median(samples["theirs"])
    reference = "plain wasmtime, its own precompiled module"
    p95 = percentile(samples["ours"], 0.95)
    return [
        Result("python", "p50", ours_p50, "ms", reference, ours_p50 / theirs_p50),
        Result("python", "p95", p95, "ms", reference, p95 / theirs_p50),
        Result("python", "wasmtime", theirs_p50, "ms", "", None),
    ]


def _require(output: bytes) -> None:
    if output != _EXPECTED:
        raise RuntimeError(f"wrong output: {output!r}")
