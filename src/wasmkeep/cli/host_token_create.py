"""``wasmkeep host token create``: a token that lets a tenant use this host, shown once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("name", metavar="NAME", help="whose it is: a-z, 0-9, dot, dash, underscore")
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Print the token on standard output; a running host accepts it at once."""
    from wasmkeep.cli.console import answer
    from wasmkeep.host.tokens import TokenStore, token_store_path

    token = TokenStore(token_store_path()).create(options.name)
    if options.json:
        import json

        answer(json.dumps({"name": options.name, "token": token}))
        return 0
    console.note(f"the token of {options.name}, shown once: give it to the tenant over a private channel")
    answer(token)
    return 0
