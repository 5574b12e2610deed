"""Processes that a command starts and that must never outlive it.

A child gets the reading end of a pipe as its standard input and promises to end when that closes, so that
it ends even if this process is killed. Leaving the context ends it in the ordinary way: the pipe closes, then
SIGTERM, then SIGKILL, each to the child's whole process group, with a bounded wait between.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from wasmkeep.errors import SystemFailure, TimedOut, WasmkeepError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

__all__ = ["Child", "child", "class_of", "module_command"]

_MAX_LINE = 1 << 16  # bytes of one JSON line
_MAX_SAID = 1 << 14  # bytes kept of what a child last wrote to standard error
_GRACE_SECONDS = 5.0


def module_command(module: str) -> list[str]:
    """The words that run a module of wasmkeep's. -P: the current folder may be somebody else's, and nothing
    is imported from it."""
    return [sys.executable, "-P", "-m", module]


def class_of(code: object) -> type[WasmkeepError] | None:
    """The class of `wasmkeep.errors` that has this exit code; None where none has."""
    plain = (cls for cls in WasmkeepError.__subclasses__() if cls.__module__ == WasmkeepError.__module__)
    return next((cls for cls in plain if cls.exit_code == code), None)


class Child:
    """A running process that writes JSON objects, one a line, to one of its streams while it starts."""

    def __init__(self, process: asyncio.subprocess.Process, lines: asyncio.StreamReader, name: str) -> None:
        self._process = process
        self._name = name
        self._said = bytearray()
        self._lines: asyncio.Queue[bytes] | None = asyncio.Queue()
        self._listeners = [asyncio.create_task(self._listen(lines))]
        if process.stderr is not None and process.stderr is not lines:
            self._listeners.append(asyncio.create_task(self._remember(process.stderr)))

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    async def line(self, seconds: float) -> dict[str, Any]:
        """The next object. Raises SystemFailure where the child ended instead, TimedOut."""
        if self._lines is None:
            raise RuntimeError("this child has started: nobody listens any more")
        try:
            async with asyncio.timeout(seconds):
                line = await self._lines.get()
        except TimeoutError:
            raise TimedOut(
                "child.silent", f"{self._name} did not start", found=f"nothing for {seconds:.0f} s"
            ) from None
        if not line:
            raise self.failure(await self._process.wait())
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise self.failure(None)
        return value

    def started(self) -> None:
        """What it says from now on is only kept for the message should it fail."""
        self._lines = None

    async def _listen(self, lines: asyncio.StreamReader) -> None:
        line = b"?"
        while line:
            try:
                line = await lines.readline()
            except ValueError:  # longer than the stream's limit
                line = b"?"
            self._keep(line)
            if self._lines is not None:
                self._lines.put_nowait(line)

    async def _remember(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(4096):
            self._keep(chunk)

    def _keep(self, chunk: bytes) -> None:
        self._said += chunk
        del self._said[:-_MAX_SAID]

    async def wait(self) -> int:
        """Wait for its end; its return code."""
        return await self._process.wait()

    def failure(self, code: int | None) -> WasmkeepError:
        """The error that says this child is not what the command needed.

        A child of wasmkeep's own ends with a documented code and says why; its error becomes this command's.
        """
        said = bytes(self._said).decode("utf-8", "replace").strip()
        its_class = class_of(code)
        if its_class is not None and (last := said.rpartition("error: ")[2]):
            return its_class("child.failed", f"{self._name}: {last}")
        ended = "it said something unexpected" if code is None else f"it ended with code {code}"
        return SystemFailure(
            "child.failed",
            f"{self._name} failed",
            found=ended + (f" and said:\n{said}" if said else ""),
            remedy="run it again; if it happens again, this is a bug in wasmkeep",
        )

    async def end(self) -> None:
        """End it and everything it started, and wait until it is gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        for number in (None, signal.SIGTERM):
            if number is not None:
                self._signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_SECONDS):
                    await self._process.wait()
                    break
        self._signal(signal.SIGKILL)
        await self._process.wait()
        await asyncio.gather(*self._listeners)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


@asynccontextmanager
async def child(
    command: Sequence[str], *, name: str, lines_on: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Child]:
    """Start ``command`` in a process group of its own; ``lines_on`` is ``stdout`` or ``stderr``."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if lines_on == "stdout" else asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_MAX_LINE,
            env=environment,
        )
    except OSError as error:
        raise SystemFailure(
            "child.failed", f"{name} cannot be started", found=error.strerror or "?"
        ) from error
    lines = process.stdout if lines_on == "stdout" else process.stderr
    if lines is None:
        raise RuntimeError("a child without its pipe")
    running = Child(process, lines, name)
    try:
        yield running
    finally:
        await asyncio.shield(running.end())
