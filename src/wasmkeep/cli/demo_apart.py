"""Client and server of the demonstration as two programs."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from wasmkeep.cli import demo_address, demo_rounds
from wasmkeep.cli.console import Block
from wasmkeep.cli.demo_local import host_for
from wasmkeep.cli.demo_screen import Screen, ServerScreen, plain_sev
from wasmkeep.cli.outputs import ProgramOutput
from wasmkeep.cli.screens import simulated_banner
from wasmkeep.demo.channel import Channel
from wasmkeep.demo.client import Trust
from wasmkeep.demo.messages import TO_CLIENT, TO_SERVER
from wasmkeep.demo.server import attend
from wasmkeep.errors import UsageError, WasmkeepError
from wasmkeep.evidence.roots import AMD_ROOTS, parse_pin, simulated_root

if TYPE_CHECKING:
    import argparse
    import socket

    from wasmkeep.cli.console import Console
    from wasmkeep.cli.demo_machines import Opened

__all__ = ["connect", "listen", "trust_for"]

_MOST_CLIENTS = 8


async def connect(options: argparse.Namespace, console: Console) -> int:
    """Be the client. Raises what a round raises."""
    trust = trust_for(options)
    address = demo_address.parse(options.connect)
    if any(root.simulated for root in trust.roots.values()):
        console.show(simulated_banner(where="that"))
    console.show(plain_sev())
    connection = demo_address.dial(address)
    channel = Channel(*await asyncio.open_connection(sock=connection), TO_CLIENT)
    output = ProgramOutput(1, "standard output", console)
    try:
        await demo_rounds.play_rounds(trust, channel, options.rounds, Screen(console), output)
    finally:
        await channel.close()
    return 0


def trust_for(options: argparse.Namespace) -> Trust:
    """AMD's roots, or the one that is named instead; and the owner. Raises UsageError."""
    roots = dict(AMD_ROOTS)
    if options.simulated:
        pin = _pin("--simulated", options.simulated)
        try:
            roots = {pin: simulated_root(pin)}
        except ValueError as error:
            raise UsageError(
                "usage.demo", f"--simulated: {error}", required="a simulated machine's root"
            ) from error
    owner = frozenset({_pin("--owner", options.owner)}) if options.owner else frozenset[bytes]()
    return Trust(roots, owner)


def _pin(flag: str, text: str) -> bytes:
    try:
        return parse_pin(text)
    except ValueError as error:
        raise UsageError(
            "usage.demo", f"{flag} {text}: {error}", required="what the server printed"
        ) from error


async def listen(options: argparse.Namespace, console: Console) -> int:
    """Be the server, with its machine: until Ctrl-C, or for that many rounds."""
    from wasmkeep.cli.demo_machines import opened

    address = demo_address.parse(options.listen)
    with demo_address.listening(address) as (listener, bound):
        async with opened(options, console) as machine:
            _announce(machine, bound, console)
            await _Server(options, console, machine).serve(listener)
    console.show(Block("stopped", "stopped", ("every machine was ended",), {}))
    return 0


def _announce(machine: Opened, address: demo_address.Address, console: Console) -> None:
    console.show(Block("listening", "listening", (str(address),), {"address": str(address)}))
    pins = machine.pins
    words = " ".join(f"--{name} {pin}" for name, pin in pins.items())
    text = f"wasmkeep demo sev --connect {address} {words}"
    console.show(Block("client", "client", (text,), dict(pins)))


class _Server:
    """Serves clients, each with a host of its own, that share the machine."""

    def __init__(self, options: argparse.Namespace, console: Console, machine: Opened) -> None:
        self._options = options
        self._console = console
        self._machine = machine
        self._left: int | None = options.rounds
        self._clients: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._bug: BaseException | None = None

    async def serve(self, listener: socket.socket) -> None:
        """Until it is told to stop, or has served its rounds."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        accepting = asyncio.create_task(self._accept(listener))
        try:
            await self._stop.wait()
        finally:
            accepting.cancel()
            for client in self._clients:
                client.cancel()
            await asyncio.gather(accepting, *self._clients, return_exceptions=True)
        if self._bug is not None:
            raise self._bug

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            if len(self._clients) >= _MOST_CLIENTS:
                connection.close()
                continue
            client = asyncio.create_task(self._serve(connection))
            self._clients.add(client)
            client.add_done_callback(self._ended)

    def _ended(self, client: asyncio.Task[None]) -> None:
        self._clients.discard(client)
        if not client.cancelled() and (bug := client.exception()) is not None:
            self._bug = bug
            self._stop.set()

    async def _serve(self, connection: socket.socket) -> None:
        channel = Channel(*await asyncio.open_connection(sock=connection), TO_SERVER)
        screen = ServerScreen(self._console, spying=self._options.spy, encrypted=self._machine.encrypted)
        host = host_for(self._options.tamper, self._machine, screen)
        try:
            await attend(host, channel, rounds=self._left)
        except WasmkeepError as error:
            self._console.error(error)
        finally:
            with suppress(OSError):
                await channel.close()
            self._count(host.round)

    def _count(self, rounds: int) -> None:
        if self._left is not None:
            self._left = max(0, self._left - rounds)
            if not self._left:
                self._stop.set()
