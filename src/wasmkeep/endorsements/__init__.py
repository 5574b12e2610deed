"""Clients and cache for AMD's and Intel's services: fetch and keep what ``wasmkeep.evidence`` then checks.

`wasmkeep.endorsements.collateral`, apart from this, puts together what a quote is checked against.
"""

from wasmkeep.endorsements.cache import CachedSource
from wasmkeep.endorsements.documents import (
    Cek,
    CertChain,
    ChipKey,
    Crl,
    Document,
    Product,
    SevCa,
    SevProduct,
    Vcek,
)
from wasmkeep.endorsements.http import HttpSource, RateLimited
from wasmkeep.endorsements.intel import (
    IntelDocument,
    PckAuthority,
    PckCrl,
    QeIdentity,
    RootCaCrl,
    TcbInfo,
    Tee,
)
from wasmkeep.endorsements.sources import Endorsements, FolderSource, Source, collect
from wasmkeep.endorsements.vendors import Addresses, VendorSource

__all__ = [
    "Addresses",
    "CachedSource",
    "Cek",
    "CertChain",
    "ChipKey",
    "Crl",
    "Document",
    "Endorsements",
    "FolderSource",
    "HttpSource",
    "IntelDocument",
    "PckAuthority",
    "PckCrl",
    "Product",
    "QeIdentity",
    "RateLimited",
    "RootCaCrl",
    "SevCa",
    "SevProduct",
    "Source",
    "TcbInfo",
    "Tee",
    "Vcek",
    "VendorSource",
    "collect",
]
