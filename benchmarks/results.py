"""Figures, their tables for people and their list for machines (``build/bench.json``)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

GOALS: Final = {
    ("start", "p50"): 3.0,
    ("cpu", "compute"): 1.1,
    ("cpu", "cpython"): 1.1,
    ("python", "p50"): 2.0,
    ("cli", "help"): 3.0,
    ("demo", "kvm p50"): 0.2,
    ("verify", "import"): 1.0,
}
"""The ratio that a figure is to stay within, by bench and metric. The others are there to explain these."""

RATE_GOALS: Final = {
    ("verify", "snp"): 0.9,
    ("verify", "parse"): 1.0,
    ("files", "read seq 4k warm"): 1.0,
    ("files", "read rand 4k warm"): 1.0,
    ("files", "write seq 4k warm"): 1.0,
    ("files", "write rand 4k warm"): 1.0,
    ("files", "create small warm"): 1.0,
    ("files", "stat"): 1.0,
    ("files", "unlink"): 1.0,
    ("files", "read seq 64k gocryptfs"): 3.0,
    ("files", "read rand 64k gocryptfs"): 3.0,
    ("files", "read seq 64k warm gocryptfs"): 3.0,
    ("files", "write seq 64k gocryptfs"): 3.0,
}
"""The same for rates: the ratio that a figure is to reach."""


@dataclass(frozen=True, slots=True)
class Result:
    """One figure; ``ratio`` is ``value`` over the value of ``reference``, measured in the same run."""

    bench: str
    metric: str
    value: float
    unit: str
    reference: str
    ratio: float | None

    @property
    def verdict(self) -> str:
        """How the ratio stands to its goal; empty where there is none."""
        named = (self.bench, self.metric)
        if self.ratio is None:
            return ""
        if named in RATE_GOALS:
            goal = RATE_GOALS[named]
            return f"≥ {goal:g} {'met' if self.ratio >= goal else 'MISSED'}"
        if named in GOALS:
            goal = GOALS[named]
            return f"≤ {goal:g} {'met' if self.ratio <= goal else 'MISSED'}"
        return ""


def percentile(samples: list[float], share: float) -> float:
    """The sample below which ``share`` (0 to 1) of them lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(samples: list[float]) -> float:
    """The middle sample; of an even number, the upper of the two."""
    return percentile(samples, 0.5)


def table(results: list[Result]) -> str:
    """Lines for people."""
    lines = [f"{'bench':<8} {'metric':<28} {'value':>12} {'unit':<4} {'ratio':>6}  {'goal':<12} reference"]
    for r in results:
        ratio = "" if r.ratio is None else f"{r.ratio:.3g}"
        figure = f"{r.bench:<8} {r.metric:<28} {r.value:>12.3f} {r.unit:<4} {ratio:>6}"
        lines.append(f"{figure}  {r.verdict:<12} {r.reference}".rstrip())
    return "\n".join(lines)


def write(results: list[Result], path: Path) -> None:
    """The same for machines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
