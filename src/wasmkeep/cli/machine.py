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

__all__ = ["CPUS", "KINDS", "PRODUCTS", "Machine", "MachineSettings", "booted", "parse_simulated"]

PRODUCTS = ("genoa", "turin", "milan")
"""Those that have SEV-SNP; the older ones have SEV and SEV-ES only."""
_OLD_PRODUCTS = ("rome", "naples")
KINDS = ("snp", "sev-es", "sev")
CPUS = ("auto", "kvm", "process")
_BOOT_SECONDS = 180.0  # a new machine makes two RSA-4096 keys first


class MachineSettings:
    """What the operator chose: the machine's name, the kinds of TEE that it offers, the processor's
    generation, what runs its guests."""

    __slots__ = ("cpu", "kinds", "name", "product")

    def __init__(self, name: str, kinds: tuple[str, ...], product: str, cpu: str) -> None:
        self.name = name
        self.kinds = kinds
        self.product = product
        self.cpu = cpu


class Machine:
    """A booted machine: its process, and the socket where it is reached as hardware is."""

    __slots__ = ("process", "socket")

    def __init__(self, process: Child, socket: Path) -> None:
        self.process = process
        self.socket = socket


def parse_simulated(text: str) -> tuple[tuple[str, ...], str]:
    """The kinds of TEE and the generation that ``--simulated KIND[,KIND…][=PRODUCT]`` names.

    Raises UsageError.
    """
    listed, equals, product = text.partition("=")
    kinds = tuple(listed.split(","))
    known = PRODUCTS if "snp" in kinds else PRODUCTS + _OLD_PRODUCTS
    if not set(kinds) <= set(KINDS) or len(set(kinds)) != len(kinds) or (equals and product not in known):
        raise UsageError(
            "usage.simulated",
            f"--simulated {text}: there is no such machine",
            required=f"snp, sev-es or sev, or several with commas, and =PRODUCT for another than genoa: "
            f"{', '.join(PRODUCTS[1:])}; {', '.join(_OLD_PRODUCTS)} without snp",
        )
    return tuple(kind for kind in KINDS if kind in kinds), product or "genoa"


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
