"""The policy that a command line asks for: a file or the shipped default, narrowed and pinned by flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli.flags import read_file
from wasmkeep.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.policy import Policy

__all__ = ["PLAIN", "load", "policy_for", "warn_of_age", "warn_of_exceptions"]

PLAIN = "plain"
"""Names the shipped policy for looking at evidence: genuine, not revoked, no debug, in date; nothing more."""

_MAX_SIZE = 1 << 20  # bytes


def load(path: str) -> Policy:
    """Read a policy file, or take the shipped one that ``plain`` names (a file of that name is ``./plain``).

    Raises InputError where it cannot be read, ConfigurationError where it is wrong.
    """
    if path == PLAIN:
        from wasmkeep.evidence.plain import plain

        return plain()
    from wasmkeep.evidence.policy import Policy

    data = read_file(path, "the policy", limit=_MAX_SIZE)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            "policy.syntax", f"{path}: not a policy", found="bytes that are not UTF-8", required="TOML"
        ) from error
    return Policy.from_toml(text, name=path)


def policy_for(options: argparse.Namespace, console: Console, *, simulated: str | None = None) -> Policy:
    """The policy of ``--policy``, ``--tee`` and the pin of a simulator; warns where this release's defaults
    are old. Raises ConfigurationError."""
    from wasmkeep.evidence.policy import Policy

    if options.policy:
        policy = load(options.policy) if options.tee is None else load(options.policy).narrowed(options.tee)
    else:
        policy = Policy.default() if options.tee is None else Policy.default(platforms=(options.tee,))
    warn_of_age(policy, console)
    return policy if simulated is None else policy.with_simulated(simulated)


def warn_of_exceptions(policy: Policy, console: Console, *, said: frozenset[str] = frozenset()) -> None:
    """Say which strict rules the policy lifts; not silenced by ``--quiet``.

    ``said`` are the words of what a result has said already, of evidence that made use of the exception.
    """
    from wasmkeep.cli.screens import warning
    from wasmkeep.evidence.exceptions import exceptions

    for exception in exceptions(policy):
        if exception.what not in said:
            console.show(warning(exception.what, exception.text, used=False))


def warn_of_age(policy: Policy, console: Console) -> None:
    """Say that this release's defaults are old, once they are; not silenced by ``--quiet``."""
    from datetime import UTC, datetime

    from wasmkeep.cli.screens import warning
    from wasmkeep.evidence.policy_age import aged_defaults

    for text in aged_defaults(policy.platforms, datetime.now(UTC).date()):
        console.show(warning("aged-defaults", text))
