"""The program's output, written where the command's own output goes."""

from __future__ import annotations

import codecs
import os
from threading import Event
from typing import TYPE_CHECKING

from wasmkeep.tenant.streams import FileOutput

if TYPE_CHECKING:
    from wasmkeep.cli.console import Console
    from wasmkeep.tenant.streams import Output

__all__ = ["ProgramOutput", "program_error_output", "writing"]

_WRITING = Event()


def writing() -> bool:
    """Whether the program's output is being written now, which may take as long as its reader likes."""
    return _WRITING.is_set()


class ProgramOutput:
    """A standard stream that tells the console whether it left a line open on the screen both share."""

    def __init__(self, descriptor: int, name: str, console: Console) -> None:
        self._output = FileOutput(descriptor, name)
        self._console = console
        self._seen = descriptor == 2 or (console.terminal and os.isatty(descriptor))

    async def write(self, data: bytes) -> None:
        """Write all of ``data``. Raises OutputError."""
        _WRITING.set()
        try:
            await self._output.write(data)
        finally:
            _WRITING.clear()
        if data:
            self._console.program_wrote(data[-1], seen=self._seen)


class _ErrorAsJson:
    """Standard error under ``--json``: in objects of its own, so that every line stays one object."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    async def write(self, data: bytes) -> None:
        """Show ``data``; bytes that are not UTF-8 appear as lone surrogates."""
        text = self._decoder.decode(data)
        if text:
            self._console.program_error(text)


def program_error_output(console: Console) -> Output:
    """Where the program's standard error goes: straight through, or wrapped under ``--json``."""
    return _ErrorAsJson(console) if console.json else ProgramOutput(2, "standard error", console)
