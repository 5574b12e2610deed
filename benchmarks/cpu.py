"""`cpu`: a program that computes, and CPython's loop, in a keep beside plain wasmtime.

Each program runs twice, once with much work and once with little; the difference is the time of the work
alone, by the same clock for both sides and without starts, deliveries and exits. Programs' own clocks are
not asked: a keep's is only as good as its host's hint of the rate.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.hosting import BUILD, Workload, warm_host
from benchmarks.peer import Peer
from benchmarks.programs import compile_c, cpython
from benchmarks.results import Result, median
from benchmarks.timing import Subject, interleaved, milliseconds_since

__all__ = ["LOOP", "measure"]

LOOP = """
total = 0
for number in range({count}):
    total = (total * 31 + number) % 1000003
print(total)
"""
_CPYTHON_MEMORY = 256 << 20  # bytes


def _in_wasmtime(peer: Peer, arguments: tuple[str, ...], expected: bytes) -> Subject:
    async def subject() -> float:
        began = time.perf_counter_ns()
        output = peer.run(*arguments)
        took = milliseconds_since(began)
        _require(output, expected)
        return took

    return subject


def _in_keep(workload: Workload, expected: bytes) -> Subject:
    async def subject() -> float:
        run = await workload.run()
        _require(run.stdout, expected)
        return run.milliseconds

    return subject


def _require(output: bytes, expected: bytes) -> None:
    if output != expected:
        raise RuntimeError(f"wrong output: {output!r}, not {expected!r}")


async def measure(*, rounds: int = 7, work: float = 1.0) -> list[Result]:
    """``work`` scales the work; 1 is about a second."""
    compute = compile_c("compute", BUILD)
    results = []
    for name, program, much, little, memory in (
        ("compute", compute, (str(max(2, int(80 * work))),), ("1",), 32 << 20),
        ("cpython", cpython(), _loop(int(500_000 * work)), _loop(1), _CPYTHON_MEMORY),
    ):
        keep, peer = await _compare(program, much, little, memory, rounds)
        reference = "plain wasmtime, precompiled"
        results.append(Result("cpu", name, keep, "ms", reference, keep / peer))
        results.append(Result("cpu", f"{name}_wasmtime", peer, "ms", "", None))
    return results


def _loop(count: int) -> tuple[str, ...]:
    return ("-c", LOOP.format(count=count))


async def _compare(
    program: Path, much: tuple[str, ...], little: tuple[str, ...], memory: int, rounds: int
) -> tuple[float, float]:
    """Milliseconds of the work in the keep, and in plain wasmtime."""
    peer = Peer(program, BUILD)
    expected = {arguments: peer.run(*arguments) for arguments in (much, little)}
    async with warm_host() as workload:
        subjects = {
            "keep much": _in_keep(workload(program, *much, memory=memory), expected[much]),
            "peer much": _in_wasmtime(peer, much, expected[much]),
            "keep little": _in_keep(workload(program, *little, memory=memory), expected[little]),
            "peer little": _in_wasmtime(peer, little, expected[little]),
        }
        samples = await interleaved(subjects, rounds=rounds)
    took = {name: median(values) for name, values in samples.items()}
    return took["keep much"] - took["keep little"], took["peer much"] - took["peer little"]
