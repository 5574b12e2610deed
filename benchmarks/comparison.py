"""A program's work in a keep beside the same work in plain wasmtime, by one clock for both.

The program runs twice, once with much work and once with little; the difference is the time of the work
alone, without starts, deliveries and exits. Programs' own clocks are not asked: a keep's is only as good as
its host's hint of the rate.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hosting import BUILD, Workload, warm_host
from benchmarks.peer import Peer
from benchmarks.results import median
from benchmarks.timing import Subject, interleaved, milliseconds_since

__all__ = ["Work", "compare"]


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


@dataclass(frozen=True, slots=True)
class Work:
    """Arguments of a program: for much work and for little. ``peer_much``, where the peer is to do less."""

    much: tuple[str, ...]
    little: tuple[str, ...]
    peer_much: tuple[str, ...] | None = None


async def compare(
    program: Path, work: Work, *, memory: int, rounds: int, root: Path | None = None
) -> tuple[float, float]:
    """Milliseconds of the work in the keep, and in plain wasmtime.

    :param memory: linear memory's limit in the keep, in bytes.
    :param root: the folder that wasmtime gives the program as ``/``; a keep always has its own.
    """
    peer = Peer(program, BUILD, root=root)
    peer_much = work.peer_much or work.much
    much, little = peer.run(*peer_much), peer.run(*work.little)
    async with warm_host() as workload:
        subjects = {
            "keep much": _in_keep(workload(program, *work.much, memory=memory), much),
            "peer much": _in_wasmtime(peer, peer_much, much),
            "keep little": _in_keep(workload(program, *work.little, memory=memory), little),
            "peer little": _in_wasmtime(peer, work.little, little),
        }
        samples = await interleaved(subjects, rounds=rounds)
    took = {name: median(values) for name, values in samples.items()}
    return took["keep much"] - took["keep little"], took["peer much"] - took["peer little"]
