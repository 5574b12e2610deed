"""Which product a CPU is: from CPUID in a report, and from the product name in a certificate.

AMD's key distribution service knows few names (Milan, Genoa, Turin); Bergamo and Siena are Genoa to it. A
**model line** is finer, because microcode numbers of one model line say nothing about another's.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.evidence.snp.tcb import TcbLayout

__all__ = ["MODEL_LINES", "PRODUCTS", "ModelLine", "layout_of", "line_of", "product_of_certificate"]


@dataclass(frozen=True, slots=True)
class ModelLine:
    """CPUs of one family and a range of models (both combined values) that share microcode numbering."""

    name: str
    product: str
    family: int
    models: range


MODEL_LINES = (
    # Combined family and model of CPUID leaf 1; ranges as in AMD's key distribution profiles.
    ModelLine("Milan", "Milan", 0x19, range(0x10)),
    ModelLine("Genoa", "Genoa", 0x19, range(0x10, 0x20)),
    ModelLine("Bergamo", "Genoa", 0x19, range(0xA0, 0xB0)),
    ModelLine("Turin", "Turin", 0x1A, range(0x12)),
)

PRODUCTS = ("Milan", "Genoa", "Turin")
_CERTIFICATE_NAMES = {name: name for name in PRODUCTS} | {"Bergamo": "Genoa", "Siena": "Genoa"}


def line_of(family: int, model: int) -> ModelLine | None:
    """The model line of a CPU, or None for one that this version does not know."""
    for line in MODEL_LINES:
        if line.family == family and model in line.models:
            return line
    return None


def layout_of(product: str) -> TcbLayout:
    """The TCB layout of a product; ``KeyError`` for an unknown one."""
    if product not in PRODUCTS:
        raise KeyError(product)
    return TcbLayout.FAMILY_1AH if product == "Turin" else TcbLayout.FAMILY_19H


def product_of_certificate(product_name: str) -> str | None:
    """The product in a certificate's productName (older ones add a stepping: ``Milan-B0``), or None. Genoa's
    authorities vouch for Bergamo and Siena, whichever of the names they write."""
    return _CERTIFICATE_NAMES.get(product_name.partition("-")[0])
