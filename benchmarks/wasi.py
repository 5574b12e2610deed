"""`wasi`: what one call of WASI costs inside a keep, beside plain wasmtime's own.

The same program makes a call many times over. `fd_write 4k memory` writes 4 KiB to a file: of the keep's
private memory, and in wasmtime of a folder in the computer's memory where it has one (``/dev/shm``). Nothing
leaves the keep in any of the three. wasmtime makes fewer calls where its take long; what is compared is the
time of one.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.comparison import Work, compare
from benchmarks.hosting import BUILD
from benchmarks.programs import compile_c
from benchmarks.results import Result

__all__ = ["measure"]

_MEMORY: Final = 32 << 20  # bytes
_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
_CALLS: Final = (
    ("fd_write 4k memory", "write", 1_500_000, 5_000),
    ("clock", "clock", 5_000_000, 2_000_000),
    ("random", "random", 5_000_000, 1_000_000),
)
"""Metric, the program's word for it, and how many calls take some tenths of a second: ours, wasmtime's."""


async def measure(*, rounds: int = 9, work: float = 1.0) -> list[Result]:
    """Nanoseconds a call. ``work`` scales the number of calls."""
    program = compile_c("calls", BUILD)
    results = []
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None) as name:
        root = Path(name)
        (root / "tmp").mkdir()
        for metric, word, *calls in _CALLS:
            ours, theirs = (max(2, int(each * work)) for each in calls)
            counts = Work((word, str(ours)), (word, "1"), (word, str(theirs)))
            keep, peer = await compare(program, counts, memory=_MEMORY, rounds=rounds, root=root)
            keep, peer = keep * 1e6 / (ours - 1), peer * 1e6 / (theirs - 1)
            results += [
                Result("wasi", metric, keep, "ns", "plain wasmtime, the same program", keep / peer),
                Result("wasi", f"{metric} wasmtime", peer, "ns", "", None),
            ]
    return results
