"""A look at running guests every few milliseconds: does somebody want one, or has it run for long enough?

One thread for the process, there while there are guests. It stops emulators from outside, since nothing
inside one counts instructions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_PERIOD = 0.005  # seconds


class Ticker:
    """Calls what was added, until it is removed; once `remove` returns it is not called any more."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._called: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None

    def add(self, call: Callable[[], None]) -> None:
        with self._lock:
            self._called.append(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._tick, name="ticker", daemon=True)
                self._thread.start()
            self._lock.notify()

    def remove(self, call: Callable[[], None]) -> None:
        with self._lock:
            self._called.remove(call)

    def _tick(self) -> None:
        with self._lock:
            while True:
                for call in self._called:
                    call()
                self._lock.wait(_PERIOD if self._called else None)


TICKER = Ticker()
