"""Where a keep has its files in a benchmark: in private memory, or in a volume of its host's."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.hosting import BUILD, WarmHost, Workload, warm_host

__all__ = ["Place", "default", "in_memory", "in_volume"]

_MEMORY: Final = 64 << 20  # bytes of linear memory
_MEMORY_WITH_FILES: Final = 256 << 20  # what a keep has for both
_NAME: Final = "bench"
_KEEP: Final = f"""[[volumes]]
name = "{_NAME}"
path = "/data"
"""


@dataclass(frozen=True, slots=True)
class Place:
    """``name`` for people; ``folder`` for the program, from the root.

    ``workload`` makes a `Workload` of the program's arguments, anew for each run. ``host_folder`` is where
    the host has what a cold run must not find in this computer's memory; None where nothing is ever cold.
    """

    name: str
    folder: str
    workload: Callable[..., Workload]
    host_folder: Path | None = None


def default() -> Callable[[Path], AbstractAsyncContextManager[Place]]:
    """A volume where this release has them."""
    return in_volume if importlib.util.find_spec("wasmkeep.tenant.volumes") else in_memory


@asynccontextmanager
async def in_memory(program: Path) -> AsyncIterator[Place]:
    """In ``/tmp`` of a keep; each run begins empty."""
    async with warm_host() as host:

        def workload(*arguments: str) -> Workload:
            return host(program, *arguments, memory=_MEMORY_WITH_FILES)

        yield Place("the keep's memory", "tmp", workload)


@asynccontextmanager
async def in_volume(program: Path) -> AsyncIterator[Place]:
    """In one volume that every run mounts; it is deleted in the end."""
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        store, project = Path(name, "volumes"), _project(program, Path(name, "program"))
        async with warm_host("--volumes", str(store)) as host:
            with _volume(host, Path(name)):

                def workload(*arguments: str) -> Workload:
                    return host(project, *arguments, memory=_MEMORY)

                yield Place("an encrypted volume", "data", workload, store)


def _project(program: Path, folder: Path) -> Path:
    """A folder that can be deployed: the program, and where it has the volume."""
    folder.mkdir()
    shutil.copy(program, folder / "main.wasm")
    (folder / "Keep.toml").write_text(_KEEP)
    return folder


@contextmanager
def _volume(host: WarmHost, folder: Path) -> Iterator[None]:
    """Made and deleted from the command line, as anybody would. Raises CalledProcessError."""
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(host.token)
    there = ("--host", host.url, "--token-file", str(token))
    _wasmkeep("create", _NAME, *there, "--simulated", host.root, "--size", "2GiB")
    try:
        yield
    finally:
        _wasmkeep("delete", _NAME, "--yes", *there)


def _wasmkeep(*arguments: str) -> None:
    command = str(Path(sys.executable).with_name("wasmkeep"))
    subprocess.run([command, "volume", *arguments], check=True, stdout=subprocess.DEVNULL)
