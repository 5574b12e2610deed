"""`start`: attest, deliver, run add.wat, hold a verified receipt; one session after another, and a floor.

After each session the floor is measured once in the same process, so that both see the same computer.
"""

from __future__ import annotations

from benchmarks.floor import PARTS, Floor
from benchmarks.hosting import EXAMPLES, Run, warm_host
from benchmarks.results import Result, median, percentile
from wasmkeep.tenant import events

__all__ = ["measure"]

_STEPS = {
    "create": events.KeepStarted,
    "attest": events.EvidenceVerified,
    "deliver": events.Delivered,
    "launch": events.Launched,
    "run": events.Finished,
}
"""What a session consists of, each up to the event that ends it."""
_EXPECTED = b"7"


async def measure(*, sessions: int = 300, warm_up: int = 20) -> list[Result]:
    """``sessions`` are measured, after ``warm_up`` that are not."""
    runs: list[Run] = []
    floors: list[dict[str, float]] = []
    async with warm_host() as workload:
        add = workload(EXAMPLES / "add.wat", "3", "4")
        floor = Floor(add.prepared.keep_memory)
        try:
            for number in range(warm_up + sessions):
                run = await add.run()
                parts = floor.sample()
                if run.stdout.strip() != _EXPECTED:
                    raise RuntimeError(f"add.wat said {run.stdout!r}")
                if number >= warm_up:
                    runs.append(run)
                    floors.append(parts)
        finally:
            floor.close()
    return _results(runs, floors, floor.machine_name)


def _results(runs: list[Run], floors: list[dict[str, float]], machine: str) -> list[Result]:
    whole = [sum(parts.values()) for parts in floors]
    took = [run.milliseconds for run in runs]
    bottom = median(whole)
    reference = f"floor: {machine}, sign, verify, agree"
    results = [
        Result("start", "p50", median(took), "ms", reference, median(took) / bottom),
        Result("start", "p95", percentile(took, 0.95), "ms", reference, percentile(took, 0.95) / bottom),
        Result("start", "floor", bottom, "ms", "", None),
        Result("start", "floor_p95", percentile(whole, 0.95), "ms", "", None),
    ]
    results += [
        Result("start", f"floor_{part}", median([parts[part] for parts in floors]), "ms", "", None)
        for part in PARTS
    ]
    steps = [_steps(run) for run in runs]
    results += [
        Result("start", f"step_{name}", median([step[name] for step in steps]), "ms", "", None)
        for name in _STEPS
    ]
    return results


def _steps(run: Run) -> dict[str, float]:
    """Milliseconds of each step: from the event before it to its own."""
    took = {}
    at = run.began
    for name, kind in _STEPS.items():
        reached = next(when for when, event in run.events if isinstance(event, kind))
        took[name] = (reached - at) / 1e6
        at = max(at, reached)
    return took
