"""``wasmkeep host token list``: the names of this host's tokens, never the tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Print one name a line."""
    from wasmkeep.cli.console import answer
    from wasmkeep.host.tokens import TokenStore, token_store_path

    records = TokenStore(token_store_path()).list()
    if options.json:
        import json

        answer(json.dumps([{"name": record.name, "created": record.created} for record in records]))
    elif records:
        answer("\n".join(f"{record.name:<24}created {record.created}" for record in records))
    else:
        console.note("there are no tokens; `wasmkeep host token create NAME` makes one")
    return 0
