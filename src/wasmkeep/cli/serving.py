"""The daemon of ``host serve``: a machine is booted or found, and served until somebody says stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wasmkeep.cli.console import Block
from wasmkeep.cli.folders import private_folder
from wasmkeep.cli.machine import Machine, MachineSettings, booted, parse_simulated
from wasmkeep.cli.screens import TEE_NAMES, cpu_note, simulated_banner
from wasmkeep.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from wasmkeep.cli.console import Console
    from wasmkeep.hardware.simulated import MachineDescription, Platform
    from wasmkeep.host.machine import Tee
    from wasmkeep.host.server import Running, Service
    from wasmkeep.host.settings import Limits, Listen

__all__ = ["serve"]

_KHZ_WHERE_UNKNOWN = 2_500_000


def serve(options: argparse.Namespace, console: Console) -> int:
    """Serve until Ctrl-C or SIGTERM, or, started by ``run``, until its parent is gone."""
    listen = _listen(options)
    limits = _limits(options)
    if options.simulated is None:
        from wasmkeep.cli.tees import no_tee

        raise no_tee()
    kinds, product = parse_simulated(options.simulated)
    machine = MachineSettings(options.machine, kinds, product, options.cpu)
    private = Path(options.private) if options.private else None
    return asyncio.run(_serve(machine, listen, limits, console, private))


def _listen(options: argparse.Namespace) -> Listen:
    from wasmkeep.host.settings import DEFAULT_PORT, Listen

    address, port = _split_address(options.listen, DEFAULT_PORT)
    cert, key = options.tls_cert, options.tls_key
    return Listen(
        address, port, Path(cert) if cert else None, Path(key) if key else None, tuple(options.name)
    )


def _split_address(text: str, default_port: int) -> tuple[str, int]:
    """``ADDRESS[:PORT]``, with an IPv6 address in brackets where a port follows. Raises UsageError."""
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        well_formed = bool(bracket) and colon in ("", ":")
    elif text.count(":") == 1:
        address, colon, port = text.partition(":")
        well_formed = True
    else:
        address, colon, port, well_formed = text, "", "", True
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    if not well_formed or (colon and not 0 <= number <= 65535):
        raise UsageError(
            "usage.listen", f"--listen {text}: not understood", required="ADDRESS[:PORT], such as [::1]:7433"
        )
    return address, number if colon else default_port


def _limits(options: argparse.Namespace) -> Limits:
    from wasmkeep.cli.host_serve import LIMITS
    from wasmkeep.host.settings import Limits

    given = {field: getattr(options, field) for _, field, _, _ in LIMITS}
    return Limits(**{field: value for field, value in given.items() if value is not None})


async def _serve(
    settings: MachineSettings, listen: Listen, limits: Limits, console: Console, private: Path | None
) -> int:
    stop = _stop_signals()
    if private is not None:
        _stop_with_parent(stop)
    work = asyncio.create_task(_boot_and_serve(settings, listen, limits, console, private))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
        await work
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        stopping.cancel()
    console.show(Block("stopped", "stopped", ("every keep was ended",), {}))
    return 0


async def _boot_and_serve(
    settings: MachineSettings, listen: Listen, limits: Limits, console: Console, private: Path | None
) -> None:
    """Serve until cancelled; then every keep is ended, and the machine. Raises where the machine ends."""
    with private_folder(private) as folder:
        booting = booted(settings, folder / "machine", console, meanwhile=_import_host)
        async with booting as machine, _platform(machine) as platform:
            await _serve_machine(machine, platform, settings.kinds, listen, limits, console, private)


async def _serve_machine(
    machine: Machine,
    platform: Platform,
    kinds: tuple[str, ...],
    listen: Listen,
    limits: Limits,
    console: Console,
    private: Path | None,
) -> None:
    from wasmkeep.cli.log_lines import LogLines
    from wasmkeep.host.journal import journal
    from wasmkeep.host.server import serving

    description = platform.description
    console.show(simulated_banner((cpu_note(description.cpu, description.cpu_reason),)))
    service = _service(platform, kinds, limits, private)
    _announce_platform(description, service.tees, console)
    async with serving(service, listen, leave_token=private is None) as running:
        _announce_listening(running, console, private)
        with journal(LogLines(console) if console.json and private is None else sys.stderr):
            raise machine.process.failure(await machine.process.wait())


def _import_host() -> None:
    """Load what serving needs; it takes as long as a machine takes to boot."""
    import wasmkeep.host.server
    import wasmkeep.image  # noqa: F401


@asynccontextmanager
async def _platform(machine: Machine) -> AsyncIterator[Platform]:
    from wasmkeep.hardware.simulated import Platform

    platform = await Platform.open(str(machine.socket))
    try:
        yield platform
    finally:
        await platform.close()


def _service(platform: Platform, kinds: tuple[str, ...], limits: Limits, private: Path | None) -> Service:
    from wasmkeep.endorsements import FolderSource
    from wasmkeep.host.images import InstalledImages, PreparedImage
    from wasmkeep.host.server import Service
    from wasmkeep.host.tokens import TokenStore, token_store_path
    from wasmkeep.image import OWN_NAME, MachineKind, launch, read_image

    process = platform.description.cpu == "process"

    def prepare(memory: int, tee: str) -> PreparedImage:
        kind = MachineKind.of(tee, process=process)
        laid_out = launch(kind, read_image(kind), memory)
        return PreparedImage(kind.value, laid_out.sha256, laid_out.regions, laid_out.vmsa)

    tees = _tees(platform, kinds)
    for tee in tees:  # an image that is missing or damaged is said now, not to the first tenant
        read_image(MachineKind.of(tee.kind, process=process))
    return Service(
        platform=platform,
        images=InstalledImages(OWN_NAME, prepare),
        endorsements=FolderSource(Path(platform.description.kds)),
        tsc_khz=_tsc_khz(),
        limits=limits,
        tokens=None if private is not None else TokenStore(token_store_path()),
        tees=tees,
    )


def _tees(platform: Platform, kinds: tuple[str, ...]) -> tuple[Tee, ...]:
    """Those of ``kinds`` that the machine has. Raises PlatformUnavailable where it has none."""
    from wasmkeep.errors import PlatformUnavailable
    from wasmkeep.host.machine import Tee

    offered = {tee.kind: tee.slots for tee in platform.description.tees}
    tees = tuple(Tee(kind, offered[kind]) for kind in kinds if kind in offered)
    if not tees:
        raise PlatformUnavailable(
            "platform.kind",
            f"the machine has no {' or '.join(kinds)}",
            found=", ".join(offered) or "none",
            required=" or ".join(kinds),
        )
    return tees


def _tsc_khz() -> int:
    """The rate of this computer's time stamp counter: a hint for keeps, which check its range."""
    from wasmkeep.errors import PlatformUnavailable
    from wasmkeep.hardware.kvm import Kvm

    try:
        kvm = Kvm()
    except PlatformUnavailable:
        return _khz_of_cpuinfo()
    try:
        machine = kvm.create_vm()
        try:
            vcpu = machine.create_vcpu()
            try:
                return vcpu.tsc_khz()
            finally:
                vcpu.close()
        finally:
            machine.close()
    except OSError:
        return _khz_of_cpuinfo()
    finally:
        kvm.close()


def _khz_of_cpuinfo() -> int:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("cpu MHz"):
                    return int(float(line.partition(":")[2]) * 1000)
    except (OSError, ValueError):
        pass
    return _KHZ_WHERE_UNKNOWN


def _announce_platform(machine: MachineDescription, tees: tuple[Tee, ...], console: Console) -> None:
    root = f"sha256:{machine.root_sha256}"
    product = machine.product.capitalize()
    lines = [f"{TEE_NAMES[tee.kind]} · {product} · {tee.slots} key slots" for tee in tees]
    lines[-1] += f" · simulator root {root}"
    facts = {
        "tee": tees[0].kind,
        "tees": [{"kind": tee.kind, "slots": tee.slots} for tee in tees],
        "product": machine.product,
        "simulated": True,
        "root": root,
        "slots": tees[0].slots,
        "cpu": machine.cpu,
        "cpu_reason": machine.cpu_reason,
        "machine": machine.machine,
    }
    console.show(Block("platform", "platform", tuple(lines), facts))


def _announce_listening(running: Running, console: Console, private: Path | None) -> None:
    loopback = running.url.startswith("http://")
    note = " (loopback only; --listen with --tls-cert to serve others)" if loopback else ""
    token = "shown once; `wasmkeep host token create` makes more"  # noqa: S105 - words about a token
    if private is None:
        console.show(Block("token", "token", (f"{running.token}  ({token})",), {"token": running.token}))
        console.show(Block("listening", "listening", (f"{running.url}{note}",), {"url": running.url}))
    else:
        facts = {"url": running.url, "token": running.token}
        console.show(Block("listening", "listening", (running.url,), facts))


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    return stop


def _stop_with_parent(stop: asyncio.Event) -> None:
    """Stop when standard input ends: it is a pipe that closes with the process that started this one."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.set()

    loop.add_reader(0, readable)
