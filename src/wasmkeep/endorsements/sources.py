"""Where endorsements come from, and the first such place: a folder.

A source fetches and bounds; it trusts nothing and vouches for nothing.
"""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wasmkeep.endorsements.bodies import split_chain
from wasmkeep.endorsements.documents import CertChain, Crl, Document, Vcek
from wasmkeep.errors import InputError

__all__ = ["Endorsements", "FolderSource", "Source", "collect", "read_bounded"]


class Source(Protocol):
    """Fetches one document; raises a ``WasmkeepError`` that names what went wrong and what to do."""

    async def fetch(self, document: Document, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Endorsements:
    """What vouches for one chip's reports, all DER."""

    vcek: bytes
    ask: bytes
    ark: bytes
    crl: bytes


async def collect(source: Source, vcek: Vcek) -> Endorsements:
    """Everything that evidence from this chip is checked against. Raises what ``source`` raises."""
    try:
        async with asyncio.TaskGroup() as group:
            certificate = group.create_task(source.fetch(vcek))
            chain = group.create_task(source.fetch(CertChain(vcek.product)))
            crl = group.create_task(source.fetch(Crl(vcek.product)))
    except ExceptionGroup as failures:
        # The first to fail cancelled the others: a caller wants that one error, not a group of one.
        raise failures.exceptions[0] from None
    ask, ark = split_chain(chain.result())
    return Endorsements(certificate.result(), ask, ark, crl.result())


class FolderSource:
    """A folder laid out as ``documents`` names files: exported by a machine, or collected earlier."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def fetch(self, document: Document, /) -> bytes:
        """The document's bytes. Raises ``InputError`` where the folder has none, or something else there."""
        return self.read(document)

    def read(self, document: Document) -> bytes:
        path = self._folder / document.file_path
        try:
            body = read_bounded(path, document.max_bytes)
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
                f"{path} cannot be read",
                found=error.strerror or type(error).__name__,
            ) from error
        document.check(body)
        return body


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """A regular file's bytes; more than ``max_bytes`` is ``InputError``, other failures are ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError("endorsements.unreadable", f"{path} is not a regular file")
        body = file.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise InputError(
            "endorsements.too_large",
            f"{path} is too large",
            found="more",
            required=f"at most {max_bytes} bytes",
        )
    return body
