"""Where a keep's WASI gives something else than wasmtime's, on purpose: both results, and the reason.

They are listed in ``differences.txt``: a reason, below it what a keep gives and what wasmtime gives, with a
bar between, and below that, further in, the cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["DIFFERENCES", "Difference"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A case that gives ``keep`` (errno and values) in a keep and ``wasmtime`` in plain wasmtime."""

    case: str
    keep: str
    wasmtime: str
    reason: str


def _read(text: str) -> Iterator[Difference]:
    reason = keep = peer = ""
    begun = False
    for line in text.splitlines():
        stripped = line.strip()
        match len(line) - len(line.lstrip()):
            case 0 if stripped:
                reason = f"{reason} {stripped}" if begun else stripped
                begun = True
            case 2:
                keep, _, peer = stripped.partition(" | ")
                begun = False
            case 4:
                yield Difference(stripped, keep, peer, reason)


DIFFERENCES: Final = tuple(_read(Path(__file__).with_suffix(".txt").read_text()))
