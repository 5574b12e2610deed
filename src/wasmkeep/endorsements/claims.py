"""Which documents vouch for a piece of evidence, by what it says of itself.

Nothing is verified here, so what is read decides nothing but which documents are asked for, and never
where: no address in evidence or in a certificate is looked at. Every field becomes part of a name only as
`documents` and `intel` check it.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.endorsements.documents import CertChain, ChipKey, Crl, Document, Product, Vcek
from wasmkeep.endorsements.intel import PckAuthority, PckCrl, QeIdentity, RootCaCrl, TcbInfo, Tee
from wasmkeep.errors import InputError
from wasmkeep.evidence.dcap import pck, quote
from wasmkeep.evidence.dcap.chain import load_pck_chain
from wasmkeep.evidence.snp.products import line_of
from wasmkeep.evidence.snp.report import Report, SigningKey

__all__ = ["IntelPlatform", "documents_of_report", "intel_platform_of", "key_of", "products_of", "vcek_of"]

_WITHOUT_CPUID = (Product.MILAN, Product.GENOA)
"""Which processors make reports of version 2, that do not say so."""
_AUTHORITIES = {
    "Intel SGX PCK Processor CA": PckAuthority.PROCESSOR,
    "Intel SGX PCK Platform CA": PckAuthority.PLATFORM,
}


def products_of(report: Report) -> tuple[Product, ...]:
    """The generations that the report may be of: one by its CPUID, or those whose reports have none.

    Raises ``InputError`` (check ``endorsements.product``) for a processor that this version does not know.
    """
    if report.cpuid_family is None or report.cpuid_model is None:
        return _WITHOUT_CPUID
    line = line_of(report.cpuid_family, report.cpuid_model)
    if line is None:
        raise InputError(
            "endorsements.product",
            "the report is from a processor that this version does not know",
            found=f"family {report.cpuid_family:#x}, model {report.cpuid_model:#x}",
            required=", ".join(Product),
        )
    return (Product(line.product),)


def key_of(report: Report) -> ChipKey:
    """The kind of key that signed the report. One without signature has none, and counts as a VCEK's here."""
    return ChipKey.VLEK if report.signing_key == SigningKey.VLEK else ChipKey.VCEK


def vcek_of(report: Report, product: Product) -> Vcek:
    """The certificate to ask for. Raises ``InputError``, as `Vcek.of_report` does."""
    return Vcek.of_report(product, report.chip_id, report.reported_tcb.to_bytes(8, "little"))


def documents_of_report(report: Report, product: Product) -> tuple[Document, ...]:
    """Chain, revocation list, and the key's certificate unless it is a VLEK's, which comes with the report.

    Raises ``InputError``, as `Vcek.of_report` does.
    """
    key = key_of(report)
    above = (CertChain(product, key), Crl(product, key))
    return above if key is ChipKey.VLEK else (*above, vcek_of(report, product))


@dataclass(frozen=True, slots=True)
class IntelPlatform:
    """The family of platforms that a quote is of: ``fmspc`` has 6 bytes."""

    tee: Tee
    fmspc: bytes
    authority: PckAuthority

    @property
    def documents(self) -> tuple[Document, ...]:
        """All that quotes of it are checked against."""
        statements = (TcbInfo(self.tee, self.fmspc), QeIdentity(self.tee))
        return (*statements, PckCrl(self.authority), RootCaCrl())


def intel_platform_of(data: bytes) -> IntelPlatform:
    """By a quote's PCK certificate. Raises ``Rejected`` where the quote or the certificate cannot be read,
    ``InputError`` (check ``endorsements.name``) where another authority than Intel's two issued it."""
    parsed = quote.parse(data)
    leaf, issuer, _ = load_pck_chain(parsed.quoting_enclave.pck_chain)
    authority = _AUTHORITIES.get(issuer.common_name)
    if authority is None:
        raise InputError(
            "endorsements.name",
            "the quote's PCK certificate is of an authority that this version does not know",
            found=repr(issuer.common_name[:64]),
            required=" or ".join(_AUTHORITIES),
        )
    extension = dict(leaf.extensions).get(pck.SGX_EXTENSION, b"")
    tee = Tee.TDX if parsed.header.tee_type == quote.TeeType.TDX else Tee.SGX
    return IntelPlatform(tee, pck.read_identity(extension).fmspc, authority)
