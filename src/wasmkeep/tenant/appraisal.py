"""From a keep's offer to a verdict: fetch endorsements, judge the evidence, remember the revocation list.

Endorsements come from the host (or a folder or service of the tenant's choice) and are believed no more than
the host is: ``wasmkeep.evidence`` checks them. They are asked for by the chip id and TCB of a report that is
not verified yet, which decide nothing but the name of what is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from wasmkeep import evidence, image
from wasmkeep.endorsements import Endorsements, Product, Source, Vcek, collect
from wasmkeep.errors import ConfigurationError
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import AttestationResult
from wasmkeep.evidence.roots import format_pin
from wasmkeep.evidence.sev.evidence import SevEvidence
from wasmkeep.evidence.snp import report as snp_report
from wasmkeep.evidence.snp.evidence import SnpEvidence
from wasmkeep.evidence.snp.products import PRODUCTS, layout_of, line_of
from wasmkeep.evidence.snp.tcb import Tcb, TcbLayout
from wasmkeep.protocol.binding import NONCE_SIZE
from wasmkeep.protocol.offer import Offer
from wasmkeep.protocol.session import TenantSession
from wasmkeep.tenant import events
from wasmkeep.tenant.state import TenantState

_REPORT = "AMD 56860, 7.3 ATTESTATION_REPORT"
_SHORT_CHIP_ID = 8
"""Bytes of a chip id of family 1Ah; the rest of the report's 64 are zero."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Appraisal:
    """A verdict bound to one session, with the offer and the evidence it is about."""

    result: AttestationResult
    offer: Offer
    evidence: SnpEvidence | SevEvidence
    image_size: int
    elapsed_ns: int

    @property
    def event(self) -> events.EvidenceVerified:
        """The verdict as screens show it."""
        return events.EvidenceVerified(
            result=self.result,
            image_size=self.image_size,
            nonce_size=NONCE_SIZE,
            elapsed_ns=self.elapsed_ns,
        )


class Appraiser:
    """Judges offers by one policy, with keeps of ``memory`` bytes."""

    def __init__(
        self,
        policy: Policy,
        source: Source,
        *,
        memory: int,
        chains: evidence.ChainMemory | None = None,
        state: TenantState | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._policy = policy
        self._source = source
        self._state = state if state is not None else TenantState()
        self._newest_crls = self._state.newest_crls()
        self._clock = clock
        self._chains = chains
        self._reference_values = reference_values(policy, memory, "snp")
        self._image_sizes = image_sizes(policy, memory, "snp")

    async def appraise(
        self, session: TenantSession, offer: Offer, product_hint: str, challenged_at: datetime
    ) -> Appraisal:
        """Raises Rejected, or what the source of endorsements raises; nothing was sent to the keep then.

        ``product_hint`` is the host's word, used to name certificates where the report has no CPUID.
        ``challenged_at`` is when the session's nonce was made.
        """
        began = time.monotonic_ns()
        claimed = snp_report.parse(offer.evidence)
        endorsements = await self._endorsements(claimed, product_hint)
        judged = SnpEvidence(
            offer.evidence, endorsements.vcek, (endorsements.ask, endorsements.ark), endorsements.crl
        )
        result = evidence.verify(
            judged,
            self._policy,
            at=self._clock(),
            binding=session.report_data,
            reference_values=self._reference_values,
            host_data=session.tenant_key_digest,
            crl_not_older_than=self._newest_crls,
            challenged_at=challenged_at,
            memory=self._chains,
        )
        if result.reference is None:
            raise ConfigurationError(
                "policy.measurement",
                "a deployment needs to know what it deploys to",
                found=f"a policy that accepts any launch digest, here {result.launch_digest.hex()}",
                required="runtime: names or launch digests",
                meaning="nothing was sent",
                remedy="remove any_measurement from the policy",
            )
        if result.snp is not None:
            self._remember(format_pin(result.root_spki), result.snp.revocation.issued)
        return Appraisal(
            result=result,
            offer=offer,
            evidence=judged,
            image_size=self._image_sizes.get(result.launch_digest, 0),
            elapsed_ns=time.monotonic_ns() - began,
        )

    def _remember(self, root: str, issued: datetime | None) -> None:
        newest = self._newest_crls.get(root)
        if issued is not None and (newest is None or newest < issued):
            self._state.saw_crl(root, issued)

    async def _endorsements(self, claimed: snp_report.Report, product_hint: str) -> Endorsements:
        return await collect(self._source, _vcek_of(claimed, product_hint))


def _vcek_of(claimed: snp_report.Report, product_hint: str) -> Vcek:
    """The certificate to ask for. Raises Rejected where the report, or the host's hint, names none: what is
    claimed so far comes from the host alone, so that it is never an error of the user's."""
    if claimed.signing_key == snp_report.SigningKey.VLEK:
        raise Rejected(
            Finding(
                "snp.signer",
                Kind.REFUSED,
                "a cloud's key signed the report, not the chip's own",
                "VLEK",
                "VCEK",
                _REPORT,
                meaning="AMD gives a VLEK's certificate to its cloud alone, so no deployment can ask for it",
                advice="the host's operator must run keeps where no VLEK is loaded",
            )
        )
    if claimed.chip_id_masked:
        raise Rejected(
            Finding(
                "snp.chip.masked",
                Kind.REFUSED,
                "the host masks the chip's identity",
                "zeros",
                "a chip id",
                _REPORT,
                meaning="a deployment asks for the chip's own certificate, by that id",
                advice="the host's operator must clear MASK_CHIP_ID",
            )
        )
    product = _product_of(claimed, product_hint)
    layout = layout_of(product)
    try:
        Tcb.decode(claimed.reported_tcb, layout)
    except ValueError as error:
        raise _malformed("snp.tcb.reserved", str(error), "AMD 56860, 2.2 TCB_VERSION") from error
    if layout is TcbLayout.FAMILY_1AH and any(claimed.chip_id[_SHORT_CHIP_ID:]):
        raise _malformed("snp.chip.size", f"a {product}'s chip id has {_SHORT_CHIP_ID} bytes", _REPORT)
    return Vcek.of_report(Product(product), claimed.chip_id, claimed.reported_tcb.to_bytes(8, "little"))


def _product_of(claimed: snp_report.Report, hint: str) -> str:
    """By the report's CPUID; only a report without one leaves it to the host's hint."""
    if claimed.cpuid_family is None or claimed.cpuid_model is None:
        product, found = hint.capitalize(), repr(hint[:32])
    else:
        line = line_of(claimed.cpuid_family, claimed.cpuid_model)
        product = "" if line is None else line.product
        found = f"family {claimed.cpuid_family:#x}, model {claimed.cpuid_model:#x}"
    if product not in PRODUCTS:
        raise Rejected(
            Finding(
                "snp.product",
                Kind.UNSUPPORTED,
                "the report is from an unknown processor",
                found,
                ", ".join(PRODUCTS),
                _REPORT,
            )
        )
    return product


def _malformed(check: str, message: str, section: str) -> Rejected:
    return Rejected(Finding(check, Kind.MALFORMED, message, section=section))


def reference_values(policy: Policy, memory: int, tee: str) -> dict[bytes, str]:
    """The launch digests of one kind of TEE that the policy's ``runtime`` stands for in this installation."""
    named = image.reference_values(
        policy.runtime_names, memory, simulated=policy.simulated is not None, tee=tee
    )
    return named | {digest: digest.hex() for digest in policy.runtime_digests}


def image_sizes(policy: Policy, memory: int, tee: str) -> dict[bytes, int]:
    """The size of each image of this installation that the policy names, by its launch digest."""
    return {
        reference.launch_digest(memory): reference.size
        for name in policy.runtime_names
        for reference in image.resolve(name, tee)
    }
