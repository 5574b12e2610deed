"""The machine that the demonstration runs on: simulated, an unencrypted KVM guest of one, or real SEV."""

from __future__ import annotations

import importlib.util
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wasmkeep.cli.console import Block
from wasmkeep.cli.demo_screen import plain_sev, unencrypted
from wasmkeep.cli.folders import private_folder
from wasmkeep.cli.machine import MachineSettings, booted
from wasmkeep.cli.screens import simulated_banner
from wasmkeep.demo.client import Trust
from wasmkeep.demo.drivers import AheadGuest, DrivenGuest, DrivenMachine
from wasmkeep.demo.machine import Vouchers
from wasmkeep.demo.program import ADDRESS, MEMORY
from wasmkeep.endorsements import Cek, FolderSource, SevCa, SevProduct
from wasmkeep.endorsements.bodies import split_sev_ca
from wasmkeep.errors import PlatformUnavailable
from wasmkeep.evidence.roots import AMD_ROOTS, format_pin, simulated_root
from wasmkeep.evidence.sev import certificate
from wasmkeep.evidence.sev.chain import key_digest
from wasmkeep.hardware.machine_calls import CpuChoice
from wasmkeep.hardware.simulated import Platform

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Mapping

    from wasmkeep.cli.console import Console
    from wasmkeep.demo.machine import Machine
    from wasmkeep.endorsements import Source
    from wasmkeep.hardware.sev_platform import SevPlatform

__all__ = ["Opened", "opened", "simulated"]

_PRODUCT = "naples"
"""The talk's generation."""
_CERTIFICATE = 2084


class Opened:
    """A machine that is there; what vouches for it; and what a client may be told beforehand to trust.

    ``pins`` are the flags that give another program's client the same; ``encrypted`` is whether guests'
    memory holds ciphertext.
    """

    __slots__ = ("encrypted", "machine", "pins", "trust", "vouchers")

    def __init__(
        self,
        machine: Machine,
        vouchers: Vouchers,
        trust: Trust,
        pins: Mapping[str, str],
        *,
        encrypted: bool = True,
    ) -> None:
        self.encrypted = encrypted
        self.machine = machine
        self.vouchers = vouchers
        self.trust = trust
        self.pins = pins


@asynccontextmanager
async def opened(options: argparse.Namespace, console: Console) -> AsyncIterator[Opened]:
    """The machine that ``--machine`` names, and what must be said of it. Raises PlatformUnavailable."""
    if options.machine == "sev":
        from wasmkeep.cli.demo_real import real

        async with real(console) as there:
            yield there
        return
    if options.machine == "simulated":
        _require_emulator()
    cpu = "kvm" if options.machine == "kvm" else "auto"
    settings = MachineSettings(options.name, ("sev",), _PRODUCT, cpu)
    with private_folder() as folder:
        async with (
            booted(settings, folder / "machine", console, meanwhile=_load_client) as booted_machine,
            await Platform.open(str(booted_machine.socket)) as platform,
        ):
            _announce(platform, console, encrypted=options.machine == "simulated")
            there = await simulated(platform, emulated=options.machine == "simulated")
            # One guest made and destroyed: a machine that cannot says so now, and has loaded its CPU.
            await (await there.machine.create(MEMORY, ADDRESS)).close()
            yield there


def _require_emulator() -> None:
    if importlib.util.find_spec("unicorn") is None:
        raise PlatformUnavailable(
            "machine.emulator",
            "the simulated machine has no CPU for this guest here",
            found="the emulator is not installed",
            required="the optional extra `emulator`: pip install 'wasmkeep[emulator]'",
            remedy="or use --machine kvm, whose guest is not encrypted",
        )


def _load_client() -> None:
    """Load what the client needs; it takes as long as a machine takes to boot."""
    import wasmkeep.cli.demo_rounds
    import wasmkeep.demo.server  # noqa: F401


def _announce(platform: Platform, console: Console, *, encrypted: bool) -> None:
    cpu = "The guest runs on an emulated CPU, and its memory holds ciphertext." if encrypted else ""
    console.show(simulated_banner((cpu,) if cpu else ()))
    if not encrypted:
        console.show(unencrypted())
    console.show(plain_sev())
    machine = platform.description
    text = f"AMD SEV · {machine.product.capitalize()} · simulated · firmware {machine.sev_firmware}"
    facts = {
        "tee": "sev",
        "product": machine.product,
        "simulated": True,
        "encrypted": encrypted,
        "firmware": machine.sev_firmware,
        "machine": machine.machine,
    }
    console.show(Block("platform", "platform", (text,), facts))


async def simulated(platform: Platform, *, emulated: bool) -> Opened:
    """A simulated machine that is booted, whose root and owner the client pins."""
    description = platform.description
    source = FolderSource(Path(description.kds))
    vouchers = await vouched(platform, source, SevProduct.named(description.product))
    cpu = CpuChoice.EMULATED if emulated else CpuChoice.OWN

    async def create(memory: int, entry: int) -> DrivenGuest:
        return AheadGuest(await platform.create_sev_guest(memory, cpu=cpu, entry=entry))

    root = simulated_root(bytes.fromhex(description.root_sha256))
    owner = await owner_of(platform)
    trust = Trust({root.spki_sha256: root}, frozenset({owner}))
    pins = {"simulated": root.pin, "owner": format_pin(owner)}
    return Opened(DrivenMachine(platform, create), vouchers, trust, pins, encrypted=emulated)


async def vouched(platform: SevPlatform, source: Source, product: SevProduct) -> Vouchers:
    """What AMD publishes of this chip. Raises what ``source`` raises."""
    ask, ark = split_sev_ca(await source.fetch(SevCa(product)))
    return Vouchers(await source.fetch(Cek(await platform.get_id())), ask, ark)


async def owner_of(platform: SevPlatform) -> bytes:
    """The digest of the platform's OCA, as whoever sits at the computer reads it. 32 bytes."""
    _, chain = await platform.pdh_cert_export()
    return key_digest(certificate.parse(chain[_CERTIFICATE : 2 * _CERTIFICATE], "OCA"))


def vendor_trust(owner: bytes) -> Trust:
    """AMD's own roots, and this owner."""
    return Trust(AMD_ROOTS, frozenset({owner}))
