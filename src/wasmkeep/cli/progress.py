"""What takes long says so: a moving line on a terminal, one plain line elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wasmkeep.cli.console import Block
from wasmkeep.cli.text import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wasmkeep.cli.console import Console

__all__ = ["Progress", "progress"]

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_SECONDS = 0.1
_QUIET_SECONDS = 0.3  # on a terminal: shorter work stays unmentioned
_PLAIN_SECONDS = 1.0  # elsewhere: what takes longer gets a line


class Progress:
    """Says what is being done from the moment it takes noticeably long until `stop`."""

    def __init__(self, console: Console, event: str, label: str, text: str) -> None:
        self._console = console
        self._block = Block(event, label, (text,), {"doing": text})
        self._line = f"  {label:<12}{text}"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the moving line away. Safe to call twice."""
        self._stopped.set()
        self._thread.join()
        self._console.status("", self)

    def _run(self) -> None:
        if not self._console.terminal or self._console.json:
            if not self._stopped.wait(_PLAIN_SECONDS):
                self._console.show(self._block)
            return
        start = time.monotonic_ns()
        wait, frame = _QUIET_SECONDS, 0
        while not self._stopped.wait(wait):
            elapsed = duration(time.monotonic_ns() - start)
            self._console.status(f"{self._line} {_FRAMES[frame % len(_FRAMES)]} {elapsed}", self)
            wait, frame = _FRAME_SECONDS, frame + 1


@contextmanager
def progress(console: Console, event: str, label: str, text: str) -> Iterator[None]:
    """Show progress while the block runs."""
    shown = Progress(console, event, label, text)
    try:
        yield
    finally:
        shown.stop()
