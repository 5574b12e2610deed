"""``wasmkeep endorsements fetch``: certificates, lists and statements, to judge evidence offline later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags
from wasmkeep.cli.console import Block

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from wasmkeep.cli.console import Console
    from wasmkeep.cli.endorsements_places import Services
    from wasmkeep.endorsements import CachedSource, Document

__all__ = ["configure", "execute"]

_PRODUCTS = ("naples", "rome", "milan", "genoa", "turin")
_LONGEST_PAUSE = 120.0
"""Seconds to wait for a service that limits its rate; for longer ones the user may come back."""
_ATTEMPTS = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="what vouches for this report, quote or collection"
    )
    amd = parser.add_argument_group("AMD")
    amd.add_argument("--product", choices=_PRODUCTS, help="the generation, without a report's")
    amd.add_argument("--vlek", action="store_true", help="the authority above VLEKs instead of VCEKs")
    amd.add_argument(
        "--sev", action="store_true", help="ASK and ARK for SEV and SEV-ES, instead of chain and list"
    )
    amd.add_argument(
        "--chip-id", metavar="HEX", help="with --sev: also this chip's CEK, by the 128 digits of its GET_ID"
    )
    intel = parser.add_argument_group("Intel")
    intel.add_argument("--fmspc", metavar="HEX", help="the family of platforms, 12 digits, without a quote's")
    intel.add_argument("--tee", choices=("tdx", "sgx"), help="with --fmspc: for one of the two")
    intel.add_argument(
        "--ca", choices=("processor", "platform"), help="with --fmspc: the list of one of the two authorities"
    )
    parser.add_argument(
        "--to", metavar="FOLDER", help="where they go; what is there is replaced; default: the cache"
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="URL",
        help="the service; default: those in endorsements.toml, else AMD's and Intel's own",
    )
    parser.epilog = "Nothing that is fetched is believed: `wasmkeep evidence verify` checks it."
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Fetch every document that is asked for, whatever is kept already, except what never changes."""
    import asyncio
    from pathlib import Path

    from wasmkeep.cli.endorsements_asked import documents
    from wasmkeep.cli.endorsements_places import ONLINE, cache_folder, services_at

    asked = documents(options)
    services = services_at(options.source or ONLINE)
    folder = Path(options.to) if options.to is not None else cache_folder(services.addresses)
    asyncio.run(_fetch(asked, services, folder, console))
    return 0


async def _fetch(documents: tuple[Document, ...], services: Services, folder: Path, console: Console) -> None:
    from wasmkeep.endorsements import CachedSource

    async with services.open() as service:
        kept = CachedSource(service, folder)
        for document in documents:
            body = await _patiently(kept, document, console)
            path = folder / document.file_path
            origin = services.origin_of(document)
            facts = {"file": str(path), "size": len(body), "source": origin}
            console.show(Block("fetched", "fetched", (f"{path} ({len(body)} B), not checked",), facts))


async def _patiently(kept: CachedSource, document: Document, console: Console) -> bytes:
    """One document; a service that limits its rate is asked again when it allows, a few times.

    Raises what the source raises.
    """
    import asyncio

    from wasmkeep.cli.progress import progress
    from wasmkeep.endorsements import Cek, RateLimited, Vcek

    unchanging = isinstance(document, Vcek | Cek)
    for _ in range(_ATTEMPTS - 1):
        try:
            with progress(console, "fetching", "fetching", document.file_path):
                return await (kept.fetch(document) if unchanging else kept.refresh(document))
        except RateLimited as limited:
            if limited.seconds > _LONGEST_PAUSE:
                raise
            with progress(console, "waiting", "waiting", f"{limited.seconds:.0f} s, as the service asks"):
                await asyncio.sleep(limited.seconds)
    return await kept.refresh(document)
