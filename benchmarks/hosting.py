"""A warm host on loopback, started as `wasmkeep run` starts one, and a tenant that deploys to it repeatedly.

Host and simulated machine are processes of their own and end with the context, however it is left. Machines,
caches and what a tenant remembers live in a folder of the benchmarks' own, never in the user's.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.timing import milliseconds_since
from wasmkeep.cli.children import Child, child, module_command
from wasmkeep.errors import SystemFailure
from wasmkeep.evidence.policy import Policy
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.deployment import Deployment
from wasmkeep.tenant.events import Event
from wasmkeep.tenant.preparation import Prepared, prepare
from wasmkeep.tenant.request import DeploymentRequest
from wasmkeep.tenant.streams import BytesInput, BytesOutput, Input

__all__ = ["BUILD", "EXAMPLES", "Run", "WarmHost", "Workload", "own_folders", "warm_host"]

_ROOT = Path(__file__).parents[1]
BUILD = _ROOT / "build" / "bench"
EXAMPLES = _ROOT / "examples"
_BOOT_SECONDS = 200.0  # a new machine makes two RSA-4096 keys first
_TIMEOUT = 300.0  # of one deployment, in seconds


def own_folders(build: Path = BUILD) -> None:
    """From now on, here and in every child, state and caches are below ``build``."""
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        folder = build / variable.lower()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ[variable] = str(folder)


def _ignore(_: Event) -> None:
    pass


@dataclass(slots=True)
class Run:
    """One deployment that ended with a verified receipt. ``events``: when each came, in ns."""

    milliseconds: float = 0.0
    stdout: bytes = b""
    exit_code: int | None = None
    began: int = 0
    events: list[tuple[int, Event]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Workload:
    """A prepared program at a warm host; every `run` is a whole deployment with keys of its own."""

    request: DeploymentRequest
    client: HostClient
    prepared: Prepared

    async def run(self, stdin: Input | None = None) -> Run:
        """Raises what a deployment raises; a trap or an exit code other than 0 is a RuntimeError."""
        run = Run(began=time.perf_counter_ns())
        output, errors = BytesOutput(), BytesOutput()

        def on_event(event: Event) -> None:
            run.events.append((time.perf_counter_ns(), event))

        async with Deployment(
            self.request, on_event=on_event, client=self.client, prepared=self.prepared
        ) as deployment:
            outcome = await deployment.run(stdin or BytesInput(b""), output, errors)
        run.milliseconds = milliseconds_since(run.began)
        run.stdout, run.exit_code = output.getvalue(), outcome.exit_code
        if outcome.exit_code != 0:
            said = errors.getvalue().decode("utf-8", "replace")
            raise RuntimeError(f"exit code {outcome.exit_code}, trap {outcome.trap}: {said}")
        return run


@dataclass(frozen=True, slots=True)
class WarmHost:
    """A host that serves. Called with a program and its arguments, it prepares a `Workload`.

    ``root`` is the pin of its simulated machine.
    """

    url: str
    token: str
    root: str
    client: HostClient

    def __call__(self, program: Path, *arguments: str, memory: int | None = None) -> Workload:
        """``program``: a module, or a folder with a `Keep.toml`; ``memory`` is linear, in bytes."""
        request = DeploymentRequest(
            program=program,
            host=self.url,
            token=self.token,
            policy=Policy.default(simulated=self.root),
            arguments=arguments,
            memory=memory,
            timeout=_TIMEOUT,
        )
        return Workload(request, self.client, prepare(request, _ignore))


@asynccontextmanager
async def warm_host(*flags: str) -> AsyncIterator[WarmHost]:
    """Starts one and waits until it listens. ``flags`` are further ones of ``host serve``."""
    folder = Path(tempfile.mkdtemp(prefix="wasmkeep-bench-"))
    command = [*module_command("wasmkeep.cli"), "host", "serve", "--json"]
    command += ["--private", str(folder / "host")]
    command += ["--simulated", "snp", "--machine", "bench", "--listen", "127.0.0.1:0", *flags]
    try:
        async with child(command, name="the host", lines_on="stderr") as process:
            said = await _until_listening(process)
            async with HostClient(said["url"], said["token"]) as client:
                yield WarmHost(said["url"], said["token"], said["root"], client)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _until_listening(process: Child) -> dict[str, str]:
    """What the host says until it listens: ``url``, ``token``, ``root`` and more."""
    said: dict[str, str] = {}
    while said.get("event") != "listening":
        said.update(await process.line(_BOOT_SECONDS))
        if said["event"] == "error":
            raise SystemFailure("bench.host", "the host did not start", found=said["message"])
    process.started()
    return said
