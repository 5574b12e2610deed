"""What TDX and SGX ask of a body alike: its binding to a session, and a measurement that the policy names."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.dcap.findings import refused
from wasmkeep.evidence.errors import Finding
from wasmkeep.evidence.policy import Policy

__all__ = ["Asked", "binding", "listed_report_data", "measurement", "reference"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asks of a quote beside the policy; see `wasmkeep.evidence.verify`."""

    at: datetime
    binding: bytes | Unbound
    reference_values: Mapping[bytes, str]


def reference(measured: bytes, policy: Policy, values: Mapping[bytes, str]) -> str | None:
    """The policy's name for a measurement, None when it accepts no such one. A reference value counts only
    under a name that the policy lists."""
    name = values.get(measured)
    if name is not None and name in policy.runtime_names:
        return name
    if measured in policy.runtime_digests:
        return f"launch digest {measured[:4].hex()}…{measured[-2:].hex()}"
    return None


def binding(check: str, found: bytes, asked: Asked, section: str) -> Iterator[Finding]:
    """Report data are what this session asks for."""
    if not isinstance(asked.binding, Unbound) and not hmac.compare_digest(found, asked.binding):
        yield refused(
            check,
            "the quote is not bound to this session",
            found.hex(),
            asked.binding.hex(),
            section,
            meaning="the evidence is replayed, forwarded, or for another key or nonce",
        )


def listed_report_data(
    check: str, found: bytes, accepted: frozenset[bytes], section: str
) -> Iterator[Finding]:
    """Report data are among those that the policy lists, where it lists any."""
    if accepted and found not in accepted:
        required = f"one of {len(accepted)} in the policy"
        yield refused(
            check, "the report data are not some that the policy lists", found.hex(), required, section
        )


def measurement(check: str, name: str, measured: bytes, policy: Policy, asked: Asked) -> Iterator[Finding]:
    """The measurement is a reference value that the policy names."""
    if policy.any_measurement or reference(measured, policy, asked.reference_values) is not None:
        return
    size = len(measured)
    accepted = [
        f"{digest[:4].hex()}…{digest[-2:].hex()} ({known})"
        for digest, known in asked.reference_values.items()
        if known in policy.runtime_names and len(digest) == size
    ]
    accepted += [
        f"{digest[:4].hex()}…{digest[-2:].hex()}" for digest in policy.runtime_digests if len(digest) == size
    ]
    yield refused(
        check,
        f"{name} is not one you accept",
        measured.hex(),
        " or ".join(accepted) or f"{', '.join(policy.runtime)}, for which no digest is known",
        "wasmkeep policy: runtime",
        meaning="the host started something other than what you expect",
    )
