"""One timer for all the waits of a keep's life: a session has dozens, and each lasts microseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from wasmkeep.host.endings import Ending, timed_out

__all__ = ["Watch"]


class Watch:
    """``with watch.limit(seconds, what):`` calls ``expire`` with a time-out if the block lasts longer.

    Limits do not nest. The timer is moved only when it would come too late; one that comes early looks again.
    """

    def __init__(self, expire: Callable[[Ending], None]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._what = ""
        self._seconds = 0.0

    def limit(self, seconds: float, what: str) -> Watch:
        self._deadline = self._loop.time() + seconds
        self._what, self._seconds = what, seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self.close()
            self._timer = self._loop.call_at(self._deadline, self._look)
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadline = None

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look)
            return
        self._expire(timed_out(self._what, self._seconds))
