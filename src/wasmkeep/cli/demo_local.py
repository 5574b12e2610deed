"""Both halves in this process: what `wasmkeep demo sev` does by itself."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from wasmkeep.cli import demo_rounds
from wasmkeep.cli.demo_machines import opened
from wasmkeep.cli.demo_screen import Screen
from wasmkeep.cli.outputs import ProgramOutput
from wasmkeep.demo.channel import Handover
from wasmkeep.demo.cheats import BY_NAME
from wasmkeep.demo.client import HostGaveUp
from wasmkeep.demo.server import Host, Service
from wasmkeep.demo.spy import Spy
from wasmkeep.evidence.errors import Rejected

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from wasmkeep.cli.console import Console
    from wasmkeep.cli.demo_machines import Opened
    from wasmkeep.demo.channel import Exchange
    from wasmkeep.demo.messages import AnyMessage
    from wasmkeep.demo.server import Observer

__all__ = ["connected", "host_for", "run"]


async def run(options: argparse.Namespace, console: Console) -> int:
    """The exit code: 0, or 77 where a cheat was caught. Raises what a round raises without one."""
    async with opened(options, console) as machine:
        return await demonstrate(options, console, machine)


async def demonstrate(options: argparse.Namespace, console: Console, machine: Opened) -> int:
    """All rounds on a machine that is there."""
    screen = Screen(console, encrypted=machine.encrypted)
    spy = Spy(screen.spy()) if options.spy else None
    host = host_for(options.tamper, machine, spy)
    cheat = BY_NAME.get(options.tamper)
    output = ProgramOutput(1, "standard output", console)
    try:
        async with connected(host) as channel:
            await demo_rounds.play_rounds(machine.trust, channel, options.rounds, screen, output)
    except (Rejected, HostGaveUp) as error:
        if cheat is None:
            raise
        block, refusal = demo_rounds.caught(cheat, error, screen)
        console.show(block)
        return console.error(refusal)
    if cheat is not None:
        raise demo_rounds.unnoticed(cheat)
    return 0


def host_for(tamper: str | None, machine: Opened, observer: Observer | None) -> Host:
    """An honest host, or the one that cheats in that way."""
    if tamper is None:
        return Host(machine.machine, machine.vouchers, observer)
    from wasmkeep.demo.tamper import HOSTS

    return HOSTS[tamper](machine.machine, machine.vouchers, observer)


@asynccontextmanager
async def connected(host: Host) -> AsyncIterator[Exchange]:
    """The client's way to a host in this process.

    Where the host gave up for reasons of its own, such as a machine that is gone, its error is raised.
    """
    service = Service(host)

    async def answer(message: AnyMessage) -> AnyMessage:
        if not service.midway:
            await host.clear()
        return await service.answer(message)

    try:
        yield Handover(answer)
    except HostGaveUp as error:
        if not error.status and service.failure is not None:
            raise service.failure from None
        raise
    finally:
        await host.clear()
