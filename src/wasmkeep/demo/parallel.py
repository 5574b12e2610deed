"""Checks done by two threads: while one signature is verified, Python may verify another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev.chain import Check

__all__ = ["by_two"]

_HELPER: Final = ThreadPoolExecutor(
    1, "checks"
)  # its thread starts with the first check, and ends with Python


def by_two(checks: Sequence[Check]) -> None:
    """Perform all of them, from both ends; raises the refusal that comes first in their order."""
    remaining = deque(enumerate(checks))
    refusals: dict[int, Rejected] = {}
    helping = _HELPER.submit(_perform, remaining.pop, refusals)
    _perform(remaining.popleft, refusals)
    helping.result()
    if refusals:
        raise refusals[min(refusals)]


def _perform(take: Callable[[], tuple[int, Check]], refusals: dict[int, Rejected]) -> None:
    while True:
        try:
            number, check = take()
        except IndexError:
            return
        try:
            check()
        except Rejected as refusal:
            refusals[number] = refusal
