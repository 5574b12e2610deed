"""``wasmkeep image measure``: the launch digest to expect, from the tenant's own image. No host is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags
from wasmkeep.cli.references import DEFAULT_MEMORY

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--tee", choices=flags.TEE_KINDS, default="snp", metavar="KIND", help="default: snp")
    parser.add_argument(
        "--memory",
        type=flags.memory_size,
        default=DEFAULT_MEMORY,
        metavar="SIZE",
        help=f"memory of the keep, which is measured; default: {DEFAULT_MEMORY >> 20}MiB",
    )
    parser.add_argument(
        "--process", action="store_true", help="the image for machines without /dev/kvm: simulated ones only"
    )
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Print the launch digest on standard output, and what it is of on standard error."""
    from wasmkeep.cli.console import answer
    from wasmkeep.cli.text import size
    from wasmkeep.image import OWN_NAME, MachineKind, expected_launch_digest, launch, read_image

    kind = MachineKind.PROCESS if options.process else MachineKind.SNP
    measured = launch(kind, read_image(kind), options.memory)
    launch_digest = expected_launch_digest(measured).hex()
    if options.json:
        import json

        facts = {
            "name": OWN_NAME,
            "tee": options.tee,
            "kind": kind.value,
            "memory": options.memory,
            "vcpus": 1,
            "sha256": measured.sha256.hex(),
            "launch_digest": launch_digest,
        }
        answer(json.dumps(facts))
        return 0
    console.note(
        f"launch digest of {OWN_NAME}, image {kind.value}, 1 vCPU, {size(options.memory)} of memory:"
    )
    answer(launch_digest)
    return 0
