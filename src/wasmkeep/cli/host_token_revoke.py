"""``wasmkeep host token revoke``: make a token useless, and end the keeps that it created."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags
from wasmkeep.cli.console import Block

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("name", metavar="NAME", help="whose it is")
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Forget the token."""
    from wasmkeep.host.tokens import TokenStore, token_store_path

    TokenStore(token_store_path()).revoke(options.name)
    text = f"the token of {options.name}; a running host ends its keeps"
    console.show(Block("revoked", "revoked", (text,), {"name": options.name}))
    return 0
