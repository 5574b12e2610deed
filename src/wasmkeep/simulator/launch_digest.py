"""The launch digest, page by page (SNP firmware ABI 8.17.2, PAGE_INFO; SEV.md C.2).

LD starts as 48 zeros; each page makes LD' = SHA-384(PAGE_INFO). CONTENTS is SHA-384 of the page for NORMAL
and VMSA, and zeros for the other types, which still enter with type and address. VMSA pages count at one
fixed address.

The machine may remember what it computed for byte-identical regions, since every input is in the key and
none is secret: `LaunchDigests` does, within a bound.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.kvm_snp import SnpPageType

DIGEST_SIZE = 48
VMSA_GPA = 0xFFFF_FFFF_F000
# LD, CONTENTS, LENGTH, PAGE_TYPE, bit 0 IMI_PAGE, rsvd, VMPL1, VMPL2, VMPL3 permissions, GPA
_PAGE_INFO = struct.Struct("<48s48sHBBBBBBQ")
_MEASURED = frozenset((SnpPageType.NORMAL, SnpPageType.VMSA))
_NO_CONTENTS = bytes(DIGEST_SIZE)

_MAX_KNOWN = 1024  # regions remembered at most

Permissions = tuple[int, int, int]  # VMPL1, VMPL2, VMPL3
NO_PERMISSIONS: Permissions = (0, 0, 0)


def extend(
    digest: bytes,
    page_type: SnpPageType,
    gpa: int,
    page: bytes | memoryview | None,
    permissions: Permissions,
) -> bytes:
    """One page. `page` is its 4096 bytes where the type measures contents, else ignored."""
    contents = _NO_CONTENTS
    if page_type in _MEASURED:
        if page is None or len(page) != PAGE:
            raise ValueError("a measured page has 4096 bytes")
        contents = hashlib.sha384(page).digest()
    info = _PAGE_INFO.pack(digest, contents, _PAGE_INFO.size, page_type, 0, 0, *permissions, gpa)
    return hashlib.sha384(info).digest()


@dataclass(frozen=True, slots=True)
class _Known:
    data: bytes
    digest: bytes


class LaunchDigests:
    """Extends launch digests by whole regions, remembering results of regions seen before.

    A result is found by digest so far, type, address, size and permissions, and used only where all the
    bytes are equal too. The oldest go when `limit` bytes are held.
    """

    def __init__(self, limit: int = 64 << 20) -> None:
        self._limit = limit
        self._held = 0
        self._known: OrderedDict[tuple[object, ...], _Known] = OrderedDict()
        self._lock = threading.Lock()

    def extend_region(
        self,
        digest: bytes,
        page_type: SnpPageType,
        gpa: int,
        size: int,
        data: bytes | memoryview,
        permissions: Permissions = NO_PERMISSIONS,
    ) -> bytes:
        """`data` is `size` bytes for a measured type, else empty."""
        key = (digest, page_type, gpa, size, permissions)
        with self._lock:
            known = self._known.get(key)
            # Comparing a memoryview with `==` goes byte by byte; startswith compares memory.
            if known is not None and len(known.data) == len(data) and known.data.startswith(data):
                self._known.move_to_end(key)
                return known.digest
        for offset in range(0, size, PAGE):
            page = data[offset : offset + PAGE] if data else None
            digest = extend(digest, page_type, gpa + offset, page, permissions)
        self._remember(key, _Known(bytes(data), digest))
        return digest

    def _remember(self, key: tuple[object, ...], known: _Known) -> None:
        if len(known.data) > self._limit // 4:
            return
        with self._lock:
            old = self._known.pop(key, None)
            self._held += len(known.data) + DIGEST_SIZE - (len(old.data) + DIGEST_SIZE if old else 0)
            self._known[key] = known
            while self._held > self._limit or len(self._known) > _MAX_KNOWN:
                _, oldest = self._known.popitem(last=False)
                self._held -= len(oldest.data) + DIGEST_SIZE
