"""Reference values: the launch digests of the keep images that came with this installation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmkeep.evidence.policy import Policy

__all__ = ["DEFAULT_MEMORY", "for_policy"]

DEFAULT_MEMORY = 64 << 20  # bytes


def for_policy(policy: Policy, memory: int) -> Mapping[bytes, str]:
    """The launch digests that the policy's names stand for, of keeps with ``memory`` bytes.

    Raises ConfigurationError for a name that is not known here, InputError where images are missing.
    """
    from wasmkeep.image import reference_values

    return reference_values(policy.runtime_names, memory, simulated=policy.simulated is not None)
