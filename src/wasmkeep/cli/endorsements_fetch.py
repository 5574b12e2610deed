"""``wasmkeep endorsements fetch``: certificates and the revocation list, to judge evidence offline later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags
from wasmkeep.cli.console import Block

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console
    from wasmkeep.endorsements import Document, Product

__all__ = ["configure", "execute"]

_AMD = "https://kdsintf.amd.com"


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "report", nargs="?", metavar="REPORT", help="also the certificate of the key that signed it"
    )
    parser.add_argument(
        "--product", choices=("milan", "genoa", "turin"), help="the generation, without a report's"
    )
    parser.add_argument(
        "--to", required=True, metavar="FOLDER", help="where they go; what is there is replaced"
    )
    parser.add_argument(
        "--from", dest="source", default=_AMD, metavar="URL", help=f"the service; default: {_AMD}"
    )
    parser.epilog = "Nothing that is fetched is believed: `wasmkeep evidence verify` checks it."
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Fetch chain, revocation list, and where a report is named its key's certificate."""
    import asyncio

    from wasmkeep.endorsements import CertChain, Crl

    product, documents = _of_report(options)
    return asyncio.run(_fetch(options, (CertChain(product), Crl(product), *documents), console))


def _of_report(options: argparse.Namespace) -> tuple[Product, tuple[Document, ...]]:
    """The generation, by the report's CPUID or the flag, and the certificate to ask for."""
    from wasmkeep.cli.evidence_files import read_report
    from wasmkeep.endorsements import Product, Vcek
    from wasmkeep.errors import UsageError
    from wasmkeep.evidence.snp.products import line_of
    from wasmkeep.evidence.snp.report import parse

    named = options.product
    if options.report is None:
        if named is None:
            raise UsageError("usage", "whose endorsements?", required="a REPORT, or --product")
        return Product.named(named), ()
    report = parse(read_report(options.report))
    if report.cpuid_family is not None and report.cpuid_model is not None:
        line = line_of(report.cpuid_family, report.cpuid_model)
        named = line.product if line else named
    if named is None:
        raise UsageError(
            "usage", f"{options.report} does not say which processor made it", required="--product"
        )
    product = Product.named(named)
    return product, (Vcek.of_report(product, report.chip_id, report.reported_tcb.to_bytes(8, "little")),)


async def _fetch(options: argparse.Namespace, documents: tuple[Document, ...], console: Console) -> int:
    from pathlib import Path

    from wasmkeep.cli.progress import progress
    from wasmkeep.endorsements import CachedSource, HttpSource

    async with HttpSource(options.source) as service:
        kept = CachedSource(service, Path(options.to))
        for document in documents:
            path = str(Path(options.to) / document.file_path)
            with progress(console, "fetching", "fetching", document.file_path):
                body = await kept.refresh(document)
            facts = {"file": path, "size": len(body), "source": options.source}
            console.show(Block("fetched", "fetched", (f"{path} ({len(body)} B), not checked",), facts))
    return 0
