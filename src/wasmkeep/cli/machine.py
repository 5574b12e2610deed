"""Booting a simulated machine: a process of its own, reached as hardware is."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from wasmkeep.cli.children import child, module_command
from wasmkeep.cli.progress import progress
from wasmkeep.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from wasmkeep.cli.children import Child
    from wasmkeep.cli.console import Console

__all__ = ["CPUS", "PRODUCTS", "Machine", "MachineSettings", "booted", "parse_simulated"]

PRODUCTS = ("genoa", "turin", "milan")
CPUS = ("auto", "kvm", "process")
_BOOT_SECONDS = 180.0  # a new machine makes two RSA-4096 keys first


class MachineSettings:
    """What the operator chose: the machine's name, the processor's generation, what runs its guests."""

    __slots__ = ("cpu", "name", "product")

    def __init__(self, name: str, product: str, cpu: str) -> None:
        self.name = name
        self.product = product
        self.cpu = cpu


class Machine:
    """A booted machine: its process, and the socket where it is reached as hardware is."""

    __slots__ = ("process", "socket")

    def __init__(self, process: Child, socket: Path) -> None:
        self.process = process
        self.socket = socket


def parse_simulated(text: str) -> str:
    """The generation that ``--simulated snp[=genoa|turin|milan]`` names. Raises UsageError."""
    kind, equals, product = text.partition("=")
    if kind != "snp" or (equals and product not in PRODUCTS):
        raise UsageError(
            "usage.simulated",
            f"--simulated {text}: there is no such machine",
            required=", ".join(f"snp={name}" for name in PRODUCTS) + ", or snp for snp=genoa",
        )
    return product or "genoa"


@asynccontextmanager
async def booted(
    settings: MachineSettings, socket: Path, console: Console, *, meanwhile: Callable[[], None]
) -> AsyncIterator[Machine]:
    """Start the machine, wait until it is ready, power it off on leaving. Raises SystemFailure, TimedOut.

    ``meanwhile`` is called while it boots, for what takes time anyway.
    """
    command = [*module_command("wasmkeep.simulator"), "--machine", settings.name]
    command += ["--product", settings.product, "--cpu", settings.cpu, "--socket", str(socket)]
    doing = f"the simulated machine {settings.name}; a new one makes its keys, this once"
    async with child(command, name="the simulated machine", lines_on="stdout") as process:
        with progress(console, "starting", "starting", doing):
            meanwhile()
            await process.line(_BOOT_SECONDS)
        process.started()
        yield Machine(process, socket)
