"""The one entry: evidence of any supported platform, judged by its own checks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from wasmkeep.evidence.binding import UNBOUND, Unbound
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.evidence.snp import checks as snp_checks
from wasmkeep.evidence.snp.evidence import SnpEvidence
from wasmkeep.evidence.snp.memory import ChainMemory

__all__ = ["NO_LISTS_SEEN", "verify"]

NO_LISTS_SEEN: Final[Mapping[str, datetime]] = MappingProxyType({})
"""No revocation list was ever seen: any list in date is new enough."""

_BINDING_SIZE, _HOST_DATA_SIZE, _DIGEST_SIZE = 64, 32, 48


def verify(
    evidence: SnpEvidence,
    policy: Policy,
    *,
    at: datetime,
    binding: bytes | Unbound,
    reference_values: Mapping[bytes, str],
    host_data: bytes | Unbound = UNBOUND,
    crl_not_older_than: Mapping[str, datetime] = NO_LISTS_SEEN,
    memory: ChainMemory | None = None,
) -> AttestationResult:
    """Judge evidence against a policy at a moment.

    ``at`` is an aware datetime: now for a session, the time of the run for a receipt. ``binding`` is the 64
    bytes that the report data must equal, or `UNBOUND`. ``reference_values`` maps launch digests (48 bytes)
    to names; a digest counts only if the policy's ``runtime`` lists its name (or the digest itself).
    ``host_data`` is the 32 bytes that HOST_DATA must equal, or `UNBOUND`. ``crl_not_older_than`` maps root
    pins (``sha256:…``) to the issue date of the newest revocation list seen; an older one is refused.
    ``memory`` spares a caller who judges many reports of one chip to have its certificates checked each time.

    Returns the result or raises `Rejected` with every failed check; the steps are in
    `wasmkeep.evidence.snp.checks`. ``ValueError`` or ``TypeError`` for arguments that our own code got wrong.
    """
    _require_aware(at)
    for moment in crl_not_older_than.values():
        _require_aware(moment)
    _require_size("binding", binding, _BINDING_SIZE)
    _require_size("host_data", host_data, _HOST_DATA_SIZE)
    for digest in reference_values:
        _require_size("a reference value", digest, _DIGEST_SIZE)
    if isinstance(evidence, SnpEvidence):
        return snp_checks.verify(
            evidence,
            policy,
            at=at,
            binding=binding,
            host_data=host_data,
            reference_values=reference_values,
            crl_not_older_than=crl_not_older_than,
            memory=memory if memory is not None else ChainMemory(),
        )
    raise TypeError(f"{type(evidence).__name__} is not a kind of evidence")


def _require_aware(moment: datetime) -> None:
    if moment.tzinfo is None:
        raise ValueError("times in evidence are aware datetimes")


def _require_size(name: str, value: bytes | Unbound, size: int) -> None:
    if not isinstance(value, Unbound) and (not isinstance(value, bytes) or len(value) != size):
        raise ValueError(f"{name} has {size} bytes")
