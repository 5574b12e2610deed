"""The result of an accepted quote: what TDX and SGX say alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from wasmkeep import __version__
from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.dcap.body import Asked, reference
from wasmkeep.evidence.dcap.chain import lists_issued
from wasmkeep.evidence.dcap.collateral import ParsedCollateral
from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence
from wasmkeep.evidence.dcap.facts import DcapFacts
from wasmkeep.evidence.dcap.policy import DcapPolicy
from wasmkeep.evidence.dcap.tcb import TcbVerdict
from wasmkeep.evidence.dcap.verification import Examined
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.result import AttestationResult, LostProtection
from wasmkeep.evidence.roots import Root
from wasmkeep.evidence.sgx.facts import SgxFacts
from wasmkeep.evidence.tdx.facts import TdxFacts

__all__ = ["Accepted", "accepted", "result"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What `Examined` holds where nothing was refused."""

    root: Root
    collateral: ParsedCollateral
    tcb: TcbVerdict
    facts: DcapFacts


def accepted(examined: Examined) -> Accepted:
    """Only for a quote without findings; ``ValueError`` for another, which our own code got wrong."""
    root, collateral, tcb = examined.root, examined.collateral, examined.tcb
    if examined.findings or root is None or collateral is None or tcb is None:
        raise ValueError("a quote that was refused has no result")
    monthly = [issued for name, issued, _ in collateral.dated if name != collateral.root_list.label]
    facts = DcapFacts(
        quote=examined.quote,
        pck=examined.pck,
        pck_authority=examined.chain[1].common_name,
        tcb=tcb,
        collateral_issued=min(monthly),
        collateral_until=min(until for _, _, until in collateral.dated),
        tcb_evaluation=collateral.evaluation,
        lists_issued=lists_issued(examined.chain, collateral),
    )
    return Accepted(root, collateral, tcb, facts)


def result(
    evidence: TdxEvidence | SgxEvidence,
    found: Accepted,
    policy: Policy,
    dcap: DcapPolicy,
    asked: Asked,
    *,
    tee: str,
    product: str,
    measured: bytes,
    report_data: bytes,
    policy_checks: tuple[str, ...],
    lost_protections: tuple[LostProtection, ...],
    tdx: TdxFacts | None = None,
    sgx: SgxFacts | None = None,
) -> AttestationResult:
    """Assemble the result. Intel's platforms have no host data: the session's report data bind it all."""
    bound = not isinstance(asked.binding, Unbound)
    rule = "a platform that the policy lists" if dcap.platforms or dcap.fmspcs else "any platform of Intel's"
    return AttestationResult(
        tee=tee,
        at=asked.at,
        verifier=f"wasmkeep {__version__}",
        policy=policy,
        evidence_digest=hashlib.sha256(evidence.quote).digest(),
        root_name=found.root.name,
        root_spki=found.root.spki_sha256,
        simulated=found.root.simulated,
        chain=("QE", "PCK", found.facts.pck_authority, "Intel SGX Root CA"),
        product=product,
        launch_digest=measured,
        reference=reference(measured, policy, asked.reference_values),
        report_data=report_data,
        host_data=b"",
        bound=bound,
        host_data_bound=bound,
        chip=rule,
        tcb=found.tcb.status.value,
        revocation=f"CRLs fresh, collateral until {found.facts.collateral_until:%Y-%m-%d}",
        policy_checks=policy_checks,
        lost_protections=lost_protections,
        tdx=tdx,
        sgx=sgx,
    )
