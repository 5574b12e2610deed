"""Reference values: the launch digests of the keep images that came with this installation.

A keep's memory is measured too, and comes in few sizes: offline, where nobody says which it was, all of them
are tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wasmkeep.evidence.policy import Policy

__all__ = ["for_policy"]


def for_policy(policy: Policy) -> dict[bytes, str]:
    """The launch digests that the policy's names stand for and those it lists, each with its name.

    Raises ConfigurationError for a name that is not known here, InputError where images are missing.
    """
    from wasmkeep.tenant.appraisal import reference_values
    from wasmkeep.tenant.preparation import KEEP_MEMORY_SIZES

    values: dict[bytes, str] = {}
    for memory in KEEP_MEMORY_SIZES:
        for tee in policy.platforms:
            values |= reference_values(policy, memory, tee)
    return values
