"""Clients and cache for key distribution services: fetch and keep what ``wasmkeep.evidence`` then checks."""

from wasmkeep.endorsements.cache import CachedSource
from wasmkeep.endorsements.documents import (
    Cek,
    CertChain,
    Crl,
    Document,
    Product,
    SevCa,
    SevProduct,
    Vcek,
)
from wasmkeep.endorsements.sources import (
    AmdSource,
    Endorsements,
    FolderSource,
    HttpSource,
    Source,
    collect,
)

__all__ = [
    "AmdSource",
    "CachedSource",
    "Cek",
    "CertChain",
    "Crl",
    "Document",
    "Endorsements",
    "FolderSource",
    "HttpSource",
    "Product",
    "SevCa",
    "SevProduct",
    "Source",
    "Vcek",
    "collect",
]
