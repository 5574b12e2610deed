"""``wasmkeep policy check``: read a policy, and say what it accepts and what it lifts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.policy import SevPolicy

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("file", metavar="FILE", help="the policy (TOML)")
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """0 where the policy is well formed."""
    from wasmkeep.cli import policies
    from wasmkeep.cli.console import answer
    from wasmkeep.evidence.policy import SEV_PLATFORMS

    policy = policies.load(options.file)
    policies.warn_of_exceptions(policy, console)
    tcb = {line: [getattr(value, name) for name in value.__dataclass_fields__] for line, value in
           sorted(policy.snp.minimum_tcb.items())}  # fmt: skip
    facts: dict[str, Any] = {  # Any: JSON
        "identifier": policy.identifier,
        "platforms": list(policy.platforms),
        "runtime": list(policy.runtime),
        "cpu": list(policy.cpu),
        "simulated": policy.simulated,
        "generations": list(policy.snp.generations),
        "minimum_tcb": tcb,
        "chips": sorted(chip.hex() for chip in policy.snp.chips_allow) or "any chip of these generations",
    }
    if not set(policy.platforms).isdisjoint(SEV_PLATFORMS):
        facts |= _sev_facts(policy.sev)
    if options.json:
        import json

        answer(json.dumps(facts))
        return 0
    lines = [f"{policy.name} is a policy"]
    for name, value in facts.items():
        if name == "minimum_tcb":
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value or "no: real hardware only"
        lines.append(f"  {name.replace('_', ' '):<17}{shown}")
    for line, minimum in sorted(policy.snp.minimum_tcb.items()):
        lines.append(f"  {'minimum TCB':<17}{line} {minimum}")
    answer("\n".join(lines))
    return 0


def _sev_facts(sev: SevPolicy) -> dict[str, Any]:
    from wasmkeep.evidence.sev.bits import format_api

    builds = [f"{name} {build}" for name, build in sev.minimum_build.items()]
    return {
        "sev_generations": list(sev.generations),
        "sev_api": f"at least {format_api(sev.minimum_api)}",
        "sev_build": builds or "any build of that API",
        "sev_owners": sorted(owner.hex() for owner in sev.owners) or "any owner of the platform",
    }
