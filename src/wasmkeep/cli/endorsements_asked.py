"""Which endorsements a command line asks for: those of evidence in files, of a generation, of a family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.errors import InputError, UsageError

if TYPE_CHECKING:
    import argparse

    from wasmkeep.endorsements import Document

__all__ = ["documents"]

_MAX_FILE_SIZE = 1 << 20  # bytes


def documents(options: argparse.Namespace) -> tuple[Document, ...]:
    """Each document once, in the order asked for. Raises UsageError, InputError, Rejected."""
    _require_use(options)
    found: list[Document] = []
    if options.sev:
        found += _of_sev(options)
    elif options.product is not None and not options.files:
        found += _of_generation(options)
    if options.fmspc is not None:
        found += _of_family(options)
    for path in options.files:
        found += _of_file(path, options.product)
    if not found:
        raise UsageError("usage", "whose endorsements?", required="a FILE, --product, or --fmspc")
    return tuple(dict.fromkeys(found))


def _require_use(options: argparse.Namespace) -> None:
    """No flag is there for nothing. Raises UsageError."""
    if options.chip_id is not None and not options.sev:
        raise UsageError("usage", "--chip-id needs --sev", required="--sev, or a FILE")
    if options.vlek and (options.sev or options.files or options.product is None):
        raise UsageError("usage", "--vlek is about a generation", required="--product, no FILE and no --sev")
    if options.fmspc is None and (options.tee is not None or options.ca is not None):
        raise UsageError("usage", "--tee and --ca are about a family of platforms", required="--fmspc")


def _of_sev(options: argparse.Namespace) -> tuple[Document, ...]:
    """ASK and ARK of the generation, and where a chip is named its CEK."""
    from wasmkeep.endorsements import Cek, SevCa, SevProduct

    if options.product is None or options.files:
        raise UsageError("usage", "--sev is about a generation and a chip", required="--product, no FILE")
    pair = SevCa(SevProduct.named(options.product))
    return (pair,) if options.chip_id is None else (pair, Cek.of_request(options.chip_id))


def _of_generation(options: argparse.Namespace) -> tuple[Document, ...]:
    from wasmkeep.endorsements import CertChain, ChipKey, Crl, Product

    product, key = Product.named(options.product), ChipKey.VLEK if options.vlek else ChipKey.VCEK
    return CertChain(product, key), Crl(product, key)


def _of_family(options: argparse.Namespace) -> tuple[Document, ...]:
    """What quotes of a family of Intel's platforms are checked against; of both authorities unless named."""
    from wasmkeep.endorsements import PckAuthority, PckCrl, QeIdentity, RootCaCrl, TcbInfo, Tee

    tees = Tee if options.tee is None else (Tee(options.tee),)
    authorities = PckAuthority if options.ca is None else (PckAuthority(options.ca),)
    statements = [each for tee in tees for each in (TcbInfo.of_digits(tee, options.fmspc), QeIdentity(tee))]
    return (*statements, *map(PckCrl, authorities), RootCaCrl())


def _of_file(path: str, named: str | None) -> tuple[Document, ...]:
    from wasmkeep.cli.flags import read_file
    from wasmkeep.endorsements.claims import intel_platform_of
    from wasmkeep.evidence.kinds import EvidenceKind, recognise
    from wasmkeep.evidence.snp import hcl
    from wasmkeep.evidence.snp.report import REPORT_SIZE

    data = read_file(path, "the evidence", limit=_MAX_FILE_SIZE)
    kind = recognise(data)
    if kind in (EvidenceKind.TDX_QUOTE, EvidenceKind.SGX_QUOTE):
        return intel_platform_of(data).documents
    if kind in (EvidenceKind.SNP_REPORT, EvidenceKind.SNP_EXTENDED_REPORT):
        return _of_report(path, data[:REPORT_SIZE], named)
    if kind is EvidenceKind.HCL_REPORT:
        return _of_report(path, hcl.decode(data).report, named)
    if kind in (EvidenceKind.CMW_JSON, EvidenceKind.CMW_CBOR):
        return _of_collection(path, data, named)
    raise InputError(
        "evidence.none",
        f"{path} holds no evidence that names its endorsements",
        found=str(kind),
        required="an attestation report, a quote, or a collection with one",
    )


def _of_collection(path: str, data: bytes, named: str | None) -> tuple[Document, ...]:
    from wasmkeep.endorsements.claims import intel_platform_of
    from wasmkeep.evidence import SevEvidence, cmw
    from wasmkeep.evidence.snp.evidence import SnpEvidence

    evidence = cmw.decode(data).evidence
    if isinstance(evidence, SevEvidence):
        raise InputError("evidence.none", f"there is no attestation report in {path}: SEV has none")
    if isinstance(evidence, SnpEvidence):
        return _of_report(path, evidence.report, named)
    return intel_platform_of(evidence.quote).documents


def _of_report(path: str, data: bytes, named: str | None) -> tuple[Document, ...]:
    """By the generation in the report's CPUID, or the flag for a report without."""
    from wasmkeep.endorsements import Product
    from wasmkeep.endorsements.claims import documents_of_report, products_of
    from wasmkeep.evidence.snp.report import parse

    report = parse(data)
    products = products_of(report)
    if len(products) > 1 and named is None:
        raise UsageError("usage", f"{path} does not say which processor made it", required="--product")
    product = products[0] if len(products) == 1 or named is None else Product.named(named)
    return documents_of_report(report, product)
