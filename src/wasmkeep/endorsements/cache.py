"""Endorsements kept on disk, in the layout of a folder of endorsements.

A VCEK is fetched once: it never changes for one product, chip and TCB; nor does a chip's CEK. Chains,
revocation lists and Intel's statements are fetched again when the kept copy is old. Where that fails the kept
copy is used: it may be old, and evidence judges it by its own dates, by its age since it was retrieved, which
is the file's time, and by the newest list the tenant has seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from wasmkeep.endorsements.documents import Cek, Document, Vcek
from wasmkeep.endorsements.http import RateLimited
from wasmkeep.endorsements.sources import Source, read_kept
from wasmkeep.errors import SystemFailure, WasmkeepError
from wasmkeep.whole_file import write_whole

__all__ = ["CachedSource"]

REFETCH_SECONDS = 6 * 3600.0
RETRY_SECONDS = 60.0
_MEMORY_DOCUMENTS = 256


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    fetched: float


class CachedSource:
    """``origin`` behind a folder that holds what it answered. Safe for several processes on one folder.

    ``refetch_seconds`` is the age, from retrieval, at which chain, list or statement is asked for again;
    ``clock`` is seconds since 1970, injected by tests. One request at a time goes out for one document.
    """

    def __init__(
        self,
        origin: Source,
        folder: Path,
        *,
        refetch_seconds: float = REFETCH_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._origin = origin
        self._folder = folder
        self._refetch_seconds = refetch_seconds
        self._clock = clock
        self._memory: dict[Document, _Kept] = {}
        self._retry_at: dict[Document, float] = {}
        self._locks: dict[Document, asyncio.Lock] = {}

    async def fetch(self, document: Document, /) -> bytes:
        """The document, kept or fetched. Raises what the origin raises when there is no usable copy."""
        kept = self._memory.get(document)
        if kept is not None and self._is_current(document, kept):
            return kept.body
        lock = self._locks.setdefault(document, asyncio.Lock())
        try:
            async with lock:
                return await self._fetch_once(document)
        finally:
            if not lock.locked():
                self._locks.pop(document, None)

    async def refresh(self, document: Document) -> bytes:
        """Fetch from the origin now, whatever is kept, and keep it."""
        body = await self._origin.fetch(document)
        self._keep(document, body)
        return body

    def retrieved(self, document: Document) -> datetime | None:
        """When the copy that `fetch` gave was retrieved; None of a document that it did not give."""
        kept = self._memory.get(document)
        return None if kept is None else datetime.fromtimestamp(kept.fetched, UTC)

    async def _fetch_once(self, document: Document) -> bytes:
        kept = self._memory.get(document) or self._read(document)
        if kept is not None:
            self._remember(document, kept)
            if self._is_current(document, kept):
                return kept.body
        try:
            return await self.refresh(document)
        except WasmkeepError as error:
            if kept is None:
                raise
            pause = error.seconds if isinstance(error, RateLimited) else 0.0
            self._retry_at[document] = self._clock() + max(RETRY_SECONDS, pause)
            return kept.body

    def _is_current(self, document: Document, kept: _Kept) -> bool:
        if isinstance(document, Vcek | Cek):
            return True
        # A time in the future is a wrong clock, then or now: fetch again.
        now = self._clock()
        return 0 <= now - kept.fetched < self._refetch_seconds or now < self._retry_at.get(document, 0.0)

    def _read(self, document: Document) -> _Kept | None:
        try:
            return _Kept(*read_kept(self._folder, document))
        except (OSError, WasmkeepError):
            return None  # absent, torn or foreign: fetched again and replaced

    def _keep(self, document: Document, body: bytes) -> None:
        self._retry_at.pop(document, None)
        self._remember(document, _Kept(body, self._clock()))
        path = self._folder / document.file_path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(path, body, modified=self._clock())
        except OSError as error:
            raise SystemFailure(
                "endorsements.cache",
                f"{path} cannot be written",
                found=error.strerror or type(error).__name__,
                remedy="make the folder writable, or name another",
            ) from error

    def _remember(self, document: Document, kept: _Kept) -> None:
        self._memory.pop(document, None)
        self._memory[document] = kept
        while len(self._memory) > _MEMORY_DOCUMENTS:
            self._memory.pop(next(iter(self._memory)))
