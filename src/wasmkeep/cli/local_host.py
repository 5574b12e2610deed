"""A host for one run: its own process, a free loopback port, a token and a folder that nobody else knows."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from wasmkeep.cli.children import child, class_of, module_command
from wasmkeep.cli.folders import folder_of_child
from wasmkeep.cli.progress import progress
from wasmkeep.cli.screens import cpu_note, simulated_banner
from wasmkeep.errors import SystemFailure, WasmkeepError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Coroutine

    from wasmkeep.cli.children import Child
    from wasmkeep.cli.console import Console

__all__ = ["LocalHost", "local_host"]

_NO_HURRY = str(30 * 24 * 3600)  # seconds

T = TypeVar("T")

_START_SECONDS = 200.0  # a new machine makes two RSA-4096 keys first


class LocalHost:
    """A running host: where it listens, the token that opens it, the root of the machine it started."""

    __slots__ = ("_process", "root", "token", "url")

    def __init__(self, process: Child, *, url: str, token: str, root: str) -> None:
        self._process = process
        self.url = url
        self.token = token
        self.root = root

    async def ended(self) -> int:
        """Wait until it ends, which it should not; its return code."""
        return await self._process.wait()

    def failure(self, code: int) -> WasmkeepError:
        """The error that says it ended while it was needed."""
        return self._process.failure(code)


@asynccontextmanager
async def local_host(
    options: argparse.Namespace, kinds: tuple[str, ...], console: Console, *, meanwhile: asyncio.Task[Any]
) -> AsyncIterator[LocalHost]:
    """Start a host with a simulated machine that offers ``kinds`` of TEE, and end both on leaving.

    Raises what the host raised.

    Where ``meanwhile`` fails first there is no use for a host, and its error is raised.
    """
    with folder_of_child() as folder:
        command = [*module_command("wasmkeep.cli"), "host", "serve", "--json", "--private", str(folder)]
        command += ["--simulated", ",".join(kinds), "--machine", options.machine, "--listen", "127.0.0.1:0"]
        for limit in ("--launch", "--idle", "--stall", "--compute", "--lifetime"):
            command += [limit, _NO_HURRY]  # one's own program may wait for its user as any local command may
        if options.cpu:
            command += ["--cpu", options.cpu]
        async with child(command, name="the local host", lines_on="stderr") as process:
            with progress(
                console, "starting", "starting", "a simulated machine; a new one makes its keys, this once"
            ):
                said = await _unless_failed(_until_listening(process), meanwhile)
                process.started()
            note = cpu_note(said["cpu"], said["cpu_reason"])
            console.show(simulated_banner((note,)))
            yield LocalHost(process, url=said["url"], token=said["token"], root=said["root"])


async def _unless_failed(work: Coroutine[Any, Any, T], watched: asyncio.Task[Any]) -> T:
    """The result of ``work``, or at once the error of ``watched``."""
    working = asyncio.create_task(work)
    try:
        await asyncio.wait((working, watched), return_when=asyncio.FIRST_COMPLETED)
        if watched.done() and (error := watched.exception()) is not None:
            raise error
        return await working
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _until_listening(process: Child) -> dict[str, str]:
    """Read what the host says until it listens; its own errors become ours."""
    said: dict[str, Any] = {}
    while said.get("event") != "listening":
        line = await process.line(_START_SECONDS)
        if line.get("event") == "error":
            raise _its_error(line)
        said.update(line)
    needed = ("url", "root", "token", "cpu", "cpu_reason")
    if not all(isinstance(said.get(name), str) for name in needed):
        raise process.failure(None)
    return {name: said[name] for name in needed}


def _its_error(line: dict[str, Any]) -> WasmkeepError:
    """The error that the host printed, as the same class: the exit code says which."""
    fields = {name: str(line.get(name, "")) for name in ("found", "required", "meaning", "remedy")}
    cls = class_of(line.get("exit_code")) or SystemFailure
    return cls(str(line.get("check", "")), str(line.get("message", "the local host failed")), **fields)
