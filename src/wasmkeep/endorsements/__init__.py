"""Clients and cache for key distribution services: fetch and keep what ``wasmkeep.evidence`` then checks."""

from wasmkeep.endorsements.cache import CachedSource
from wasmkeep.endorsements.documents import CertChain, Crl, Document, Product, Vcek
from wasmkeep.endorsements.sources import Endorsements, FolderSource, HttpSource, Source, collect

__all__ = [
    "CachedSource",
    "CertChain",
    "Crl",
    "Document",
    "Endorsements",
    "FolderSource",
    "HttpSource",
    "Product",
    "Source",
    "Vcek",
    "collect",
]
