"""The attestation result: a verdict of this verifier's, and the facts that screens and receipts show.

There is no negative result: evidence that fails raises `Rejected`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from wasmkeep.evidence.roots import Root, format_pin

if TYPE_CHECKING:
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.evidence.sev.facts import SevFacts
    from wasmkeep.evidence.sgx.facts import SgxFacts
    from wasmkeep.evidence.snp.facts import SnpFacts
    from wasmkeep.evidence.tdx.facts import TdxFacts

__all__ = ["AttestationResult", "LostProtection"]


@dataclass(frozen=True, slots=True)
class LostProtection:
    """Something that the shipped policy refuses and this one allowed, or a floor that this one
    lowered. ``what`` is a stable word."""

    what: str
    text: str


class AttestationResult(NamedTuple):
    """Evidence that passed a policy at a moment.

    ``simulated`` is True because the chain reached the root that the policy pins for a simulator, and for no
    other reason. ``bound`` is False when the report data was not compared with a session (`UNBOUND`), and
    ``host_data_bound`` likewise for the host data: a session must require both. (SEV, TDX and SGX
    have no host data; there both say the same.) ``reference`` is the name of the
    reference value that the launch digest matched, None only where the policy accepts any measurement.
    ``chain`` names the certificates from the signing key up. ``policy_checks`` are short phrases of what the
    policy required, for people; ``lost_protections`` must be shown. ``evidence_digest`` is SHA-256 of the raw
    report or quote, or of SEV's launch (32 bytes); ``root_spki`` of the root's public key (32 bytes).
    ``at`` is when it was judged. One of ``snp``, ``sev``, ``tdx`` and ``sgx`` is there.
    """

    tee: str
    at: datetime
    verifier: str
    policy: Policy
    evidence_digest: bytes
    root_name: str
    root_spki: bytes
    simulated: bool
    chain: tuple[str, ...]
    product: str
    launch_digest: bytes
    reference: str | None
    report_data: bytes
    host_data: bytes
    bound: bool
    host_data_bound: bool
    chip: str
    tcb: str
    revocation: str
    policy_checks: tuple[str, ...]
    lost_protections: tuple[LostProtection, ...]
    snp: SnpFacts | None = None
    sev: SevFacts | None = None
    tdx: TdxFacts | None = None
    sgx: SgxFacts | None = None

    @property
    def tenant_only(self) -> bool:
        """The evidence convinces the tenant who made the launch's keys, and nobody else (SEV, SEV-ES)."""
        return self.sev is not None

    @property
    def policy_name(self) -> str:
        return self.policy.name

    @property
    def policy_id(self) -> str:
        """``sha256:<hex>`` over the policy's effective values."""
        return self.policy.identifier

    @property
    def root(self) -> Root:
        """The root the chain reached."""
        product = self.product if not self.simulated and (self.snp or self.sev) else ""
        return Root(self.root_name, self.root_spki, product, self.simulated)

    @property
    def lists_issued(self) -> dict[str, datetime]:
        """When each revocation list that was consulted was issued, by the pin of its issuer's key."""
        if self.snp is not None and self.snp.revocation.issued is not None:
            return {format_pin(self.root_spki): self.snp.revocation.issued}
        intel = self.tdx or self.sgx
        return {} if intel is None else dict(intel.lists_issued)

    def claims(self) -> dict[str, object]:
        """An EAT attestation result (draft-ietf-rats-ear-04) as JSON types, unsigned."""
        from wasmkeep.evidence.ear import claims

        return claims(self)
