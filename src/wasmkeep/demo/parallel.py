"""Work done by two threads: while one signature is verified, another may be, or a key is made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev.chain import Check

__all__ = ["ahead", "by_two"]

_HELPER: Final = ThreadPoolExecutor(
    1, "checks"
)  # its thread starts with the first check, and ends with Python


T = TypeVar("T")


def ahead(work: Callable[[], T]) -> Future[T]:
    """Have ``work`` done meanwhile."""
    return _HELPER.submit(work)


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
