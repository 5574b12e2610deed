"""A digest of large data on every core: SHA-256 over the SHA-256 of each mebibyte.

Tens of megabytes are digested twice before a cached program may run; one core alone would take longer than
everything else before the session. For what never leaves this computer only: what crosses is plain SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import threading
from typing import Final

__all__ = ["tree_digest"]

CHUNK: Final = 1 << 20
MAX_THREADS: Final = 4
_LABEL: Final = b"wasmkeep-tree-v1"


def tree_digest(data: bytes | bytearray | memoryview) -> bytes:
    """32 bytes, however many threads there were: over label, length (u64, little-endian), chunk digests."""
    view = memoryview(data)
    chunks = -(-len(view) // CHUNK)
    digests = [b""] * chunks
    workers = max(1, min(MAX_THREADS, os.cpu_count() or 1, chunks))

    def work(first: int) -> None:
        # hashlib lets go of the interpreter's lock while it digests.
        for number in range(first, chunks, workers):
            digests[number] = hashlib.sha256(view[number * CHUNK : (number + 1) * CHUNK]).digest()

    threads = [threading.Thread(target=work, args=(first,)) for first in range(1, workers)]
    for thread in threads:
        thread.start()
    work(0)
    for thread in threads:
        thread.join()
    return hashlib.sha256(_LABEL + len(view).to_bytes(8, "little") + b"".join(digests)).digest()
