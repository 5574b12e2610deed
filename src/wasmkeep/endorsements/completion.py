"""Evidence that came bare, completed from a source of endorsements. Nothing is verified here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from wasmkeep.endorsements.claims import intel_platform_of, key_of, products_of, vcek_of
from wasmkeep.endorsements.collateral import collateral
from wasmkeep.endorsements.documents import Crl, Product
from wasmkeep.endorsements.intel import Tee
from wasmkeep.endorsements.sources import DatedSource, authorities
from wasmkeep.errors import HostRefused, InputError
from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence
from wasmkeep.evidence.snp import report as snp_report
from wasmkeep.evidence.snp.evidence import SnpEvidence

__all__ = ["CompletedReport", "complete_quote", "complete_report"]


@dataclass(frozen=True, slots=True)
class CompletedReport:
    """``crl_retrieved`` is since when the tenant has the revocation list; None where it does not know."""

    evidence: SnpEvidence
    crl_retrieved: datetime | None


async def complete_report(
    source: DatedSource, report: bytes, *, certificate: bytes | None = None
) -> CompletedReport:
    """An attestation report with what vouches for it.

    ``certificate`` (DER) is the signing key's where it came with the report, as a VLEK's must. Raises
    ``Rejected`` where the report cannot be read; ``InputError`` where it names no document, or for a VLEK
    without certificate; and what ``source`` raises.
    """
    parsed = snp_report.parse(report)
    products = products_of(parsed)
    for product in products[:-1]:
        try:
            return await _complete(source, report, parsed, product, certificate)
        except (HostRefused, InputError) as error:
            if error.check not in {"endorsements.unknown", "endorsements.missing"}:
                raise
    return await _complete(source, report, parsed, products[-1], certificate)


async def _complete(
    source: DatedSource,
    report: bytes,
    parsed: snp_report.Report,
    product: Product,
    certificate: bytes | None,
) -> CompletedReport:
    key = key_of(parsed)
    if certificate is None and parsed.signing_key == snp_report.SigningKey.VLEK:
        raise InputError(
            "endorsements.vlek",
            "a VLEK signed the report, and its certificate is not beside it",
            required="the VLEK's certificate, from the cloud that runs the guest",
            meaning="AMD gives a VLEK's certificate to that cloud only",
        )
    if certificate is None:
        certificate = await source.fetch(vcek_of(parsed, product))
    found = await authorities(source, product, key)
    evidence = SnpEvidence(report, certificate, (found.ask, found.ark), found.crl)
    return CompletedReport(evidence, source.retrieved(Crl(product, key)))


async def complete_quote(source: DatedSource, quote: bytes) -> TdxEvidence | SgxEvidence:
    """A quote with its collateral. Raises ``Rejected`` or ``InputError`` where the quote names none, and what
    ``source`` raises."""
    platform = intel_platform_of(quote)
    found = await collateral(source, platform.tee.value, platform.fmspc, platform.authority.value)
    return TdxEvidence(quote, found) if platform.tee is Tee.TDX else SgxEvidence(quote, found)
