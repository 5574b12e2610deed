"""``wasmkeep image show``: the keep images that came with this installation."""

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


def execute(options: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 - the answer goes to stdout
    """Print each image with its size and digest; what is missing or altered is an error."""
    from wasmkeep.cli.console import answer
    from wasmkeep.cli.text import digest, size
    from wasmkeep.image import OWN_NAME, resolve

    images = resolve(OWN_NAME, tee=None)
    if options.json:
        import json

        rows = [
            {
                "name": one.name,
                "kind": one.kind.value,
                "tee": one.tee,
                "size": one.size,
                "sha256": one.sha256.hex(),
                "simulated_only": one.simulated_only,
            }
            for one in images
        ]
        answer(json.dumps(rows))
        return 0
    for one in images:
        note = " (simulated machines only)" if one.simulated_only else ""
        answer(f"{one.name}  {one.kind.value:<14} {size(one.size):>7}  {digest(one.sha256)}{note}")
    return 0
