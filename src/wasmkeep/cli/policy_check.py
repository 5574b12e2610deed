"""``wasmkeep policy check``: read a policy, and say what it accepts and what it lifts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("file", metavar="FILE", help="the policy (TOML)")
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """0 where the policy is well formed."""
    from wasmkeep.cli import policies
    from wasmkeep.cli.console import answer

    policy = policies.load(options.file)
    policies.warn_of_exceptions(policy, console)
    tcb = {line: [getattr(value, name) for name in value.__dataclass_fields__] for line, value in
           sorted(policy.snp.minimum_tcb.items())}  # fmt: skip
    facts = {
        "identifier": policy.identifier,
        "platforms": list(policy.platforms),
        "runtime": list(policy.runtime),
        "cpu": list(policy.cpu),
        "simulated": policy.simulated,
        "generations": list(policy.snp.generations),
        "minimum_tcb": tcb,
        "chips": sorted(chip.hex() for chip in policy.snp.chips_allow) or "any chip of these generations",
    }
    if options.json:
        import json

        answer(json.dumps(facts))
        return 0
    lines = [f"{policy.name} is a policy"]
    for name, value in facts.items():
        if name == "minimum_tcb":
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value or "no: real hardware only"
        lines.append(f"  {name:<14}{shown}")
    for line, minimum in sorted(policy.snp.minimum_tcb.items()):
        lines.append(f"  {'minimum TCB':<14}{line} {minimum}")
    answer("\n".join(lines))
    return 0
