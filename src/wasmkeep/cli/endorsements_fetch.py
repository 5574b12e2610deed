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

_PRODUCTS = ("naples", "rome", "milan", "genoa", "turin")


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "report", nargs="?", metavar="REPORT", help="also the certificate of the key that signed it"
    )
    parser.add_argument("--product", choices=_PRODUCTS, help="the generation, without a report's")
    parser.add_argument(
        "--sev", action="store_true", help="ASK and ARK for SEV and SEV-ES, instead of chain and list"
    )
    parser.add_argument(
        "--chip-id", metavar="HEX", help="with --sev: also this chip's CEK, by the 128 digits of its GET_ID"
    )
    parser.add_argument(
        "--to", required=True, metavar="FOLDER", help="where they go; what is there is replaced"
    )
    parser.add_argument(
        "--from", dest="source", metavar="URL", help="the service; default: AMD's own addresses"
    )
    parser.epilog = "Nothing that is fetched is believed: `wasmkeep evidence verify` checks it."
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Fetch chain, revocation list, and where a report is named its key's certificate."""
    import asyncio

    return asyncio.run(_fetch(options, _of_sev(options) if options.sev else _of_snp(options), console))


def _of_sev(options: argparse.Namespace) -> tuple[Document, ...]:
    """ASK and ARK of the generation, and where a chip is named its CEK."""
    from wasmkeep.endorsements import Cek, SevCa, SevProduct
    from wasmkeep.errors import UsageError

    if options.product is None or options.report is not None:
        raise UsageError("usage", "--sev is about a generation and a chip", required="--product, no REPORT")
    pair = SevCa(SevProduct.named(options.product))
    return (pair,) if options.chip_id is None else (pair, Cek.of_request(options.chip_id))


def _of_snp(options: argparse.Namespace) -> tuple[Document, ...]:
    from wasmkeep.endorsements import CertChain, Crl
    from wasmkeep.errors import UsageError

    if options.chip_id is not None:
        raise UsageError("usage", "--chip-id needs --sev", required="--sev, or a REPORT")
    product, documents = _of_report(options)
    return (CertChain(product), Crl(product), *documents)


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
    from wasmkeep.endorsements import VendorSource, CachedSource, HttpSource

    async with VendorSource() if options.source is None else HttpSource(options.source) as service:
        kept = CachedSource(service, Path(options.to))
        for document in documents:
            path = str(Path(options.to) / document.file_path)
            with progress(console, "fetching", "fetching", document.file_path):
                body = await kept.refresh(document)
            facts = {"file": path, "size": len(body), "source": options.source or "AMD"}
            console.show(Block("fetched", "fetched", (f"{path} ({len(body)} B), not checked",), facts))
    return 0
