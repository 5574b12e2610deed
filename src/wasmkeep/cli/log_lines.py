"""The daemon's log for machines: each record one JSON object on standard error, as all it says there."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from wasmkeep.cli.console import Block

if TYPE_CHECKING:
    from wasmkeep.cli.console import Console

__all__ = ["LogLines"]


class LogLines(io.StringIO):
    """A stream that shows each record written to it; a `logging.StreamHandler` writes one at a time."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def write(self, text: str) -> int:
        """Show ``text``, also with ``--quiet``: a log of what goes wrong is what that leaves."""
        self._console.show(Block("log", "log", (), {"text": text.rstrip("\n")}, loud=True))
        return len(text)
