"""`cpu`: a program that computes, and CPython's loop, in a keep beside plain wasmtime.

How one is compared with the other is in `comparison`.
"""

from __future__ import annotations

from benchmarks.comparison import Work, compare
from benchmarks.hosting import BUILD
from benchmarks.programs import compile_c, cpython
from benchmarks.results import Result

__all__ = ["LOOP", "measure"]

LOOP = """
total = 0
for number in range({count}):
    total = (total * 31 + number) % 1000003
print(total)
"""
_CPYTHON_MEMORY = 256 << 20  # bytes


async def measure(*, rounds: int = 7, work: float = 1.0) -> list[Result]:
    """``work`` scales the work; 1 is about a second."""
    compute = compile_c("compute", BUILD)
    results = []
    for name, program, much, little, memory in (
        ("compute", compute, (str(max(2, int(80 * work))),), ("1",), 32 << 20),
        ("cpython", cpython(), _loop(int(500_000 * work)), _loop(1), _CPYTHON_MEMORY),
    ):
        keep, peer = await compare(program, Work(much, little), memory=memory, rounds=rounds)
        reference = "plain wasmtime, precompiled"
        results.append(Result("cpu", name, keep, "ms", reference, keep / peer))
        results.append(Result("cpu", f"{name}_wasmtime", peer, "ms", "", None))
    return results


def _loop(count: int) -> tuple[str, ...]:
    return ("-c", LOOP.format(count=count))
