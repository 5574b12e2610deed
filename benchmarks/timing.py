"""Comparing what takes time: interleaved, so that whatever slows the computer down slows all of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence

__all__ = ["Subject", "interleaved", "milliseconds_since", "timed_process"]

Subject = Callable[[], Awaitable[float]]
"""Does the thing once and returns how long it took, in milliseconds."""


def milliseconds_since(began: int) -> float:
    """From a ``time.perf_counter_ns``."""
    return (time.perf_counter_ns() - began) / 1e6


async def interleaved(
    subjects: dict[str, Subject], *, rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Every subject once a round, every other round in the opposite order; the warm-up is thrown away."""
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(warm_up + rounds):
        order = list(subjects) if number % 2 == 0 else list(reversed(subjects))
        for name in order:
            took = await subjects[name]()
            if number >= warm_up:
                samples[name].append(took)
    return samples


def timed_process(command: Sequence[str]) -> float:
    """Milliseconds from starting ``command`` until it has ended. Raises CalledProcessError."""
    began = time.perf_counter_ns()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return milliseconds_since(began)
