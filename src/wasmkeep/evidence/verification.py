"""The one entry: evidence of any supported platform, judged by its own checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from wasmkeep.evidence.age import ReportedTogether, age_finding
from wasmkeep.evidence.binding import UNBOUND, Unbound
from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.evidence.sev.evidence import SevEvidence, SevKeys
from wasmkeep.evidence.snp import checks as snp_checks
from wasmkeep.evidence.snp.evidence import SnpEvidence
from wasmkeep.evidence.snp.memory import ChainMemory

__all__ = ["NO_LISTS_SEEN", "verify"]

NO_LISTS_SEEN: Final[Mapping[str, datetime]] = MappingProxyType({})
"""No revocation list was ever seen: any list in date is new enough."""

_BINDING_SIZE, _HOST_DATA_SIZE = 64, 32
_DIGEST_SIZES = (48, 32)


def verify(
    evidence: SnpEvidence | SevEvidence | TdxEvidence | SgxEvidence,
    policy: Policy,
    *,
    at: datetime,
    binding: bytes | Unbound,
    reference_values: Mapping[bytes, str],
    host_data: bytes | Unbound = UNBOUND,
    crl_not_older_than: Mapping[str, datetime] = NO_LISTS_SEEN,
    crl_retrieved: datetime | None = None,
    challenged_at: datetime | None = None,
    memory: ChainMemory | None = None,
    sev_keys: SevKeys | None = None,
) -> AttestationResult:
    """Judge evidence against a policy at a moment.

    ``at`` is an aware datetime: now for a session, the time of the run for a receipt. ``binding`` is the 64
    bytes that the report data must equal, or `UNBOUND`. ``reference_values`` maps launch digests (48 bytes:
    SNP's and TDX's MRTD; 32: SEV's and SGX's MRENCLAVE) to names; a digest counts only if the policy's
    ``runtime`` lists its name (or the digest itself). ``host_data`` is the 32 bytes that HOST_DATA must
    equal, or `UNBOUND`, as always for SEV, TDX and SGX, which have none. ``crl_not_older_than`` maps
    the pin (``sha256:…``) of a list's issuer, which of AMD's is the root, to the issue date of the newest one
    seen; an older one is refused. ``crl_retrieved`` is when the caller itself got the list from where it
    trusts to ask: the policy's maximum age counts from then, else from the list's issue. ``challenged_at``
    is when the challenge in ``binding`` was made, for a policy that limits the age of evidence
    (``evidence.age``). ``memory`` spares a caller who judges much evidence of one chip to have its
    certificates checked each time. ``sev_keys`` are the tenant's own for a SEV launch; evidence of one is
    refused without them (``sev.tenant-only``).

    Returns the result or raises `Rejected` with every failed check; the steps are in each platform's
    ``checks``. ``ValueError`` or ``TypeError`` for arguments that our own code got wrong.
    """
    for moment in (at, crl_retrieved, challenged_at, *crl_not_older_than.values()):
        if moment is not None and moment.tzinfo is None:
            raise ValueError("times in evidence are aware datetimes")
    _require_sizes(evidence, binding, host_data, reference_values)
    memory = memory if memory is not None else ChainMemory()
    session = (at, binding, host_data, reference_values, crl_not_older_than, crl_retrieved, memory, sev_keys)
    if policy.max_evidence_age_s is None:
        return _judge(evidence, policy, *session)
    with ReportedTogether(age_finding(policy, at, challenged_at, binding)):
        return _judge(evidence, policy, *session)


def _judge(
    evidence: SnpEvidence | SevEvidence | TdxEvidence | SgxEvidence,
    policy: Policy,
    at: datetime,
    binding: bytes | Unbound,
    host_data: bytes | Unbound,
    reference_values: Mapping[bytes, str],
    crl_not_older_than: Mapping[str, datetime],
    crl_retrieved: datetime | None,
    memory: ChainMemory,
    sev_keys: SevKeys | None,
) -> AttestationResult:
    """By the platform's own checks. Those of SEV, TDX and SGX are loaded where they are needed."""
    if isinstance(evidence, SnpEvidence):
        return snp_checks.verify(
            evidence,
            policy,
            at=at,
            binding=binding,
            host_data=host_data,
            reference_values=reference_values,
            crl_not_older_than=crl_not_older_than,
            crl_retrieved=crl_retrieved,
            memory=memory,
        )
    if isinstance(evidence, SevEvidence):
        from wasmkeep.evidence.sev import checks as sev_checks

        session = sev_checks.Session(at, binding, reference_values, sev_keys)
        return sev_checks.verify(evidence, policy, session, memory)
    if isinstance(evidence, TdxEvidence | SgxEvidence):
        return _verify_quote(evidence, policy, at, binding, reference_values, crl_not_older_than)
    raise TypeError(f"{type(evidence).__name__} is not a kind of evidence")


def _verify_quote(
    evidence: TdxEvidence | SgxEvidence,
    policy: Policy,
    at: datetime,
    binding: bytes | Unbound,
    reference_values: Mapping[bytes, str],
    seen: Mapping[str, datetime],
) -> AttestationResult:
    """Intel's checks are loaded where they are needed: most callers have AMD's evidence only."""
    if isinstance(evidence, TdxEvidence):
        from wasmkeep.evidence.tdx.checks import verify as verify_tdx

        return verify_tdx(
            evidence,
            policy,
            at=at,
            binding=binding,
            reference_values=reference_values,
            crl_not_older_than=seen,
        )
    from wasmkeep.evidence.sgx.checks import verify as verify_sgx

    return verify_sgx(
        evidence,
        policy,
        at=at,
        binding=binding,
        reference_values=reference_values,
        crl_not_older_than=seen,
    )


def _require_sizes(
    evidence: object, binding: bytes | Unbound, host_data: bytes | Unbound, digests: Iterable[bytes]
) -> None:
    if not isinstance(binding, Unbound):
        _require_size("binding", binding, (_BINDING_SIZE,))
    if not isinstance(host_data, Unbound):
        _require_size("host_data", host_data, (_HOST_DATA_SIZE,))
    for digest in digests:
        _require_size("a reference value", digest, _DIGEST_SIZES)
    if not isinstance(host_data, Unbound) and not isinstance(evidence, SnpEvidence):
        raise ValueError("SEV, TDX and SGX have no host data of 32 bytes")


def _require_size(name: str, value: object, sizes: tuple[int, ...]) -> None:
    if not isinstance(value, bytes) or len(value) not in sizes:
        raise ValueError(f"{name} has {' or '.join(map(str, sizes))} bytes")
