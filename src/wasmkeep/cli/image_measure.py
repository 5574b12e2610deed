"""``wasmkeep image measure``: the launch digests to expect, from the tenant's own image. No host is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console
    from wasmkeep.image import MachineKind

__all__ = ["configure", "execute"]

_TEES = ("snp", "sev-es", "sev")


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "--tee", choices=_TEES, default="snp", metavar="KIND", help="snp, sev-es or sev; default: snp"
    )
    parser.add_argument(
        "--memory",
        type=flags.memory_size,
        metavar="SIZE",
        help="of a keep with this memory; default: every size",
    )
    parser.add_argument(
        "--process", action="store_true", help="the image for machines without /dev/kvm: simulated ones only"
    )
    parser.epilog = (
        "A keep's memory is measured too: 64MiB and its doubles up to 8GiB, by what a program needs."
    )
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Print one digest a line on standard output, and what they are of on standard error."""
    from wasmkeep.cli.console import answer
    from wasmkeep.cli.text import size
    from wasmkeep.image import OWN_NAME, MachineKind
    from wasmkeep.tenant.preparation import KEEP_MEMORY_SIZES

    kind = MachineKind.of(options.tee, process=options.process)
    sizes = KEEP_MEMORY_SIZES if options.memory is None else (options.memory,)
    measured = [_facts(kind, memory) for memory in sizes]
    if options.json:
        import json

        for facts in measured:
            answer(
                json.dumps({"name": OWN_NAME, "tee": options.tee, "kind": kind.value, "vcpus": 1, **facts})
            )
        return 0
    console.note(f"launch digests of {OWN_NAME}, image {kind.value}, 1 vCPU, by memory")
    if kind.pre_attested:
        start = "" if kind.tee == "sev-es" else ", and none of where it starts"
        console.note(f"{kind.tee} measures contents in their order; it makes no claim of addresses{start}")
    for facts in measured:
        shown = f"{facts['launch_digest']}"
        answer(shown if options.memory else f"{size(int(facts['memory'])):<8} {shown}")
    return 0


def _facts(kind: MachineKind, memory: int) -> dict[str, int | str]:
    from wasmkeep.image import expected_launch_digest, launch, read_image

    described = launch(kind, read_image(kind), memory)
    launch_digest = expected_launch_digest(described).hex()
    return {"memory": memory, "sha256": described.sha256.hex(), "launch_digest": launch_digest}
