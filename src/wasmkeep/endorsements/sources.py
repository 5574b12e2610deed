"""Where endorsements come from, and the first such place: a folder.

A source fetches and bounds; it trusts nothing and vouches for nothing.
"""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from wasmkeep.endorsements.bodies import split_chain
from wasmkeep.endorsements.documents import CertChain, ChipKey, Crl, Document, Product, Vcek
from wasmkeep.errors import InputError

__all__ = [
    "Authorities",
    "DatedSource",
    "Endorsements",
    "FolderSource",
    "Source",
    "authorities",
    "collect",
    "read_kept",
]


class Source(Protocol):
    """Fetches one document; raises a ``WasmkeepError`` that names what went wrong and what to do."""

    async def fetch(self, document: Document, /) -> bytes: ...


class DatedSource(Source, Protocol):
    """A source that knows since when the tenant has what it gives."""

    def retrieved(self, document: Document, /) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Endorsements:
    """What vouches for one chip's reports, all DER."""

    vcek: bytes
    ask: bytes
    ark: bytes
    crl: bytes


@dataclass(frozen=True, slots=True)
class Authorities:
    """What vouches for keys of one kind and generation, all DER; of a VLEK, ``ask`` is the ASVK."""

    ask: bytes
    ark: bytes
    crl: bytes


async def collect(source: Source, vcek: Vcek) -> Endorsements:
    """Everything that evidence from this chip is checked against. Raises what ``source`` raises."""
    try:
        async with asyncio.TaskGroup() as group:
            certificate = group.create_task(source.fetch(vcek))
            above = group.create_task(authorities(source, vcek.product))
    except ExceptionGroup as failures:
        # The first to fail cancelled the others: a caller wants that one error, not a group of one.
        raise failures.exceptions[0] from None
    found = above.result()
    return Endorsements(certificate.result(), found.ask, found.ark, found.crl)


async def authorities(source: Source, product: Product, key: ChipKey = ChipKey.VCEK) -> Authorities:
    """What stands above a key of this kind. Raises what ``source`` raises."""
    try:
        async with asyncio.TaskGroup() as group:
            chain = group.create_task(source.fetch(CertChain(product, key)))
            crl = group.create_task(source.fetch(Crl(product, key)))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    ask, ark = split_chain(chain.result())
    return Authorities(ask, ark, crl.result())


class FolderSource:
    """A folder laid out as the documents name files: exported by a machine, or fetched earlier.

    A file's time is when it was retrieved; whoever copies a folder keeps the times.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._retrieved: dict[Document, float] = {}

    async def fetch(self, document: Document, /) -> bytes:
        """The document's bytes. Raises ``InputError`` where the folder has none, or something else there."""
        return self.read(document)

    def read(self, document: Document) -> bytes:
        try:
            body, self._retrieved[document] = read_kept(self._folder, document)
        except FileNotFoundError:
            raise InputError(
                "endorsements.missing",
                f"{self._folder} has no {document.description}",
                required=document.file_path,
                remedy="`wasmkeep endorsements fetch` gets it",
            ) from None
        except OSError as error:
            raise InputError(
                "endorsements.unreadable",
                f"{self._folder / document.file_path} cannot be read",
                found=error.strerror or type(error).__name__,
            ) from error
        return body

    def retrieved(self, document: Document, /) -> datetime | None:
        """The time of the file that was read; None of a document that was not."""
        time = self._retrieved.get(document)
        return None if time is None else datetime.fromtimestamp(time, UTC)


def read_kept(folder: Path, document: Document) -> tuple[bytes, float]:
    """A document in a folder, its shape checked, and its file's time in seconds since 1970.

    Raises ``OSError``, ``InputError`` for no regular file or a large one, ``HostUnreachable`` (check
    ``endorsements.body``) for something else than the document.
    """
    body, modified = _read(folder / document.file_path, document.max_bytes)
    document.check(body)
    return body, modified


def _read(path: Path, max_bytes: int) -> tuple[bytes, float]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InputError("endorsements.unreadable", f"{path} is not a regular file")
        body = file.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise InputError(
            "endorsements.too_large",
            f"{path} is too large",
            found="more",
            required=f"at most {max_bytes} bytes",
        )
    return body, status.st_mtime
