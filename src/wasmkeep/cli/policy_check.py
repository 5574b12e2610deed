"""``wasmkeep policy check``: explain a policy in plain words, rule by rule, and say what it lifts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.policy import Policy, SevPolicy
    from wasmkeep.evidence.policy_words import Rule

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "file", metavar="FILE", help="the policy (TOML), or `plain` for the one that comes with wasmkeep"
    )
    parser.epilog = "A rule that the file changed is marked with *; the others are this release's defaults."
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """0 where the policy is well formed."""
    from wasmkeep.cli import policies
    from wasmkeep.cli.console import answer
    from wasmkeep.evidence.policy_words import rules

    policy = policies.load(options.file)
    policies.warn_of_exceptions(policy, console)
    policies.warn_of_age(policy, console)
    explained = rules(policy)
    if options.json:
        import json

        answer(json.dumps(_facts(policy, explained)))
    else:
        answer(_page(policy, explained))
    return 0


def _page(policy: Policy, explained: tuple[Rule, ...]) -> str:
    from wasmkeep.cli.text import escape

    lines = [f"{policy.name} is a policy, {policy.identifier}"]
    subject = ""
    for rule in explained:
        if rule.subject != subject:
            subject = rule.subject
            lines += ["", f"{subject}:"]
        lines.append(f"  {'*' if rule.changed else ' '} {rule.text}.  [{rule.key}]")
    digests = [entry.hex() for entry in policy.runtime_digests]
    if digests:
        lines += ["", "launch digests accepted:", *(f"    {digest}" for digest in digests)]
    return "\n".join(escape(line) for line in lines)


def _facts(policy: Policy, explained: tuple[Rule, ...]) -> dict[str, Any]:  # Any: JSON
    from dataclasses import asdict

    from wasmkeep.evidence.policy import SEV_PLATFORMS

    tcb = {line: [getattr(value, name) for name in value.__dataclass_fields__] for line, value in
           sorted(policy.snp.minimum_tcb.items())}  # fmt: skip
    facts: dict[str, Any] = {
        "identifier": policy.identifier,
        "platforms": list(policy.platforms),
        "denied_platforms": list(policy.denied_platforms),
        "runtime": list(policy.runtime),
        "cpu": list(policy.cpu),
        "simulated": policy.simulated,
        "generations": list(policy.snp.generations),
        "minimum_tcb": tcb,
        "chips": sorted(chip.hex() for chip in policy.snp.chips_allow) or "any chip of these generations",
        "rules": [asdict(rule) for rule in explained],
    }
    if not set(policy.platforms).isdisjoint(SEV_PLATFORMS):
        facts |= _sev_facts(policy.sev)
    return facts


def _sev_facts(sev: SevPolicy) -> dict[str, Any]:
    from wasmkeep.evidence.sev.bits import format_api

    builds = [f"{name} {build}" for name, build in sev.minimum_build.items()]
    return {
        "sev_generations": list(sev.generations),
        "sev_api": f"at least {format_api(sev.minimum_api)}",
        "sev_build": builds or "any build of that API",
        "sev_owners": sorted(owner.hex() for owner in sev.owners) or "any owner of the platform",
    }
