"""``wasmkeep receipt show``: what a receipt claims, in words. Nothing is verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("file", metavar="FILE", help="the receipt")
    parser.epilog = "Shows what the bytes claim. `wasmkeep receipt verify` says whether it is true."
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 - the answer goes to stdout
    """Print every field. Reading a statement compares its signature; nobody vouches for the key here."""
    from wasmkeep.cli.console import answer
    from wasmkeep.cli.receipt_words import describe, mark, page
    from wasmkeep.errors import ReceiptInvalid, SessionError
    from wasmkeep.protocol import statements
    from wasmkeep.tenant import receipts

    file = receipts.decode(flags.read_file(options.file, "the receipt", limit=receipts.MAX_RECEIPT_SIZE))
    try:
        receipt = statements.verify_receipt(file.receipt, file.binding.receipt_key, file.binding.session_id)
    except SessionError as error:
        raise ReceiptInvalid(
            f"receipt.{error.check}", error.message, found=error.found, required=error.required
        ) from error
    facts = describe(receipt, file.binding.session_id) | mark(file)
    if options.json:
        import json

        answer(json.dumps({"file": options.file, "verified": False, **facts}))
    else:
        answer(page(f"{options.file} · nothing here was verified", facts))
    return 0
