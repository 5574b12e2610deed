"""``wasmkeep platform``: which TEEs are on this computer, or at a host, and their state."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console
    from wasmkeep.tenant.host_api import TeeOffered

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--host", metavar="URL", help="ask this host instead of looking at this computer")
    parser.add_argument("--token-file", metavar="FILE", help="the host's token; or set WASMKEEP_TOKEN")
    parser.add_argument("--ca-file", metavar="FILE", help="certificates (PEM) to accept for the host's TLS")
    parser.epilog = "What a host answers is its word: a keep is trusted because of its evidence alone."
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Print what is there; 0 where there is at least one usable TEE, 69 where there is none."""
    if options.host:
        import asyncio

        return asyncio.run(_remote(options, console))
    return _local(options)


def _local(options: argparse.Namespace) -> int:
    from wasmkeep.cli.console import answer
    from wasmkeep.cli.platform_local import as_json, as_text, look_here

    here = look_here()
    if options.json:
        import json

        answer(json.dumps(as_json(here)))
    else:
        answer(as_text(here))
    return 69


async def _remote(options: argparse.Namespace, console: Console) -> int:
    from wasmkeep.cli import tokens
    from wasmkeep.cli.console import answer
    from wasmkeep.tenant.client import HostClient

    token = tokens.find(options.token_file, options.host, console)
    async with HostClient(options.host, token, options.ca_file) as host:
        tees = await host.platform()
    if options.json:
        import json

        answer(json.dumps({"host": options.host, "tees": [asdict(tee) for tee in tees]}))
    else:
        answer("\n".join([f"what {options.host} says of itself", *(_row(tee) for tee in tees)]))
    return 0 if tees else 69


def _row(tee: TeeOffered) -> str:
    from wasmkeep.cli.screens import TEE_NAMES
    from wasmkeep.cli.text import escape

    parts = [TEE_NAMES.get(tee.kind, tee.kind), tee.product.capitalize()]
    if tee.simulated:
        parts.append("SIMULATED: protects nothing from that computer's owner")
    parts.append(f"{tee.slots - tee.slots_used} of {tee.slots} key slots free")
    cpu = {"kvm": "virtual machines", "process": "sandboxed processes"}.get(tee.cpu, tee.cpu)
    parts.append(cpu + (f" ({tee.cpu_reason})" if tee.cpu_reason else ""))
    return "  " + escape(" · ".join(parts))
