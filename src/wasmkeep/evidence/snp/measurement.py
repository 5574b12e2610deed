"""The launch digest: what the secure processor measured, page by page (N-8.17.2, PAGE_INFO).

The digest starts as 48 zeros. Each 4 KiB page extends it with SHA-384 over 112 bytes: the digest so far,
the page's contents digest, length, type, permissions and guest-physical address. All page types extend it,
"unmeasured" ones too; only NORMAL and VMSA pages bring their contents in.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from enum import IntEnum

__all__ = ["DIGEST_SIZE", "PAGE_SIZE", "VMSA_GPA", "LaunchDigest", "PageType", "launch_digest"]

PAGE_SIZE = 4096
DIGEST_SIZE = 48
VMSA_GPA = 0x0000_FFFF_FFFF_F000
"""Where every VMSA counts as being, whatever its own address."""

_ZEROS = bytes(DIGEST_SIZE)
_PAGE_INFO_SIZE = 0x70
# digest, contents, length, page type, IMI, reserved, VMPL1, VMPL2, VMPL3 permissions, GPA. Two public
# calculators have the last four bytes reversed; they agree while all are zero.
_PAGE_INFO = struct.Struct("<48s 48s H B B B B B B Q")
_GPA_LIMIT = 1 << 52


class PageType(IntEnum):
    """PAGE_TYPE of LAUNCH_UPDATE (N-8.17, table of page types)."""

    NORMAL = 1
    VMSA = 2
    ZERO = 3
    UNMEASURED = 4
    SECRETS = 5
    CPUID = 6


_WITH_CONTENTS = frozenset({PageType.NORMAL, PageType.VMSA})


class LaunchDigest:
    """A launch digest in the making. ``start`` continues one that is known up to some page."""

    __slots__ = ("_digest",)

    def __init__(self, start: bytes = _ZEROS) -> None:
        if len(start) != DIGEST_SIZE:
            raise ValueError("a launch digest has 48 bytes")
        self._digest = start

    def update(
        self,
        page_type: PageType,
        gpa: int,
        data: bytes | memoryview | None = None,
        size: int | None = None,
        *,
        vmpl_permissions: tuple[int, int, int] = (0, 0, 0),
        imi: bool = False,
    ) -> None:
        """Extend by one region of whole 4 KiB pages, ascending from ``gpa``.

        NORMAL and VMSA need ``data``; for other types its contents do not count and ``size`` (bytes) is
        enough. VMSA takes exactly one page, at the fixed address whatever ``gpa`` says. ``ValueError`` for
        sizes or addresses that are not multiples of 4096, or past 52 bits.
        """
        length = _region_size(page_type, data, size)
        if gpa % PAGE_SIZE or not 0 <= gpa <= _GPA_LIMIT - length:
            raise ValueError(f"guest-physical address {gpa:#x} does not fit a region of {length} bytes")
        for offset in range(0, length, PAGE_SIZE):
            contents = _ZEROS
            if page_type in _WITH_CONTENTS and data is not None:
                contents = hashlib.sha384(data[offset : offset + PAGE_SIZE]).digest()
            self.extend(page_type, gpa + offset, contents, vmpl_permissions=vmpl_permissions, imi=imi)

    def extend(
        self,
        page_type: PageType,
        gpa: int,
        contents: bytes,
        *,
        vmpl_permissions: tuple[int, int, int] = (0, 0, 0),
        imi: bool = False,
    ) -> None:
        """Extend by one page whose contents digest (48 bytes, zeros where contents do not count) is known."""
        if len(contents) != DIGEST_SIZE:
            raise ValueError("a contents digest has 48 bytes")
        address = VMSA_GPA if page_type is PageType.VMSA else gpa
        page_info = _PAGE_INFO.pack(
            self._digest, contents, _PAGE_INFO_SIZE, page_type, imi, 0, *vmpl_permissions, address
        )
        self._digest = hashlib.sha384(page_info).digest()

    def finish(self) -> bytes:
        """The digest so far, 48 bytes."""
        return self._digest


def _region_size(page_type: PageType, data: bytes | memoryview | None, size: int | None) -> int:
    if page_type in _WITH_CONTENTS and data is None:
        raise ValueError(f"a page of type {page_type.name} needs its contents")
    if data is not None and size is not None and len(data) != size:
        raise ValueError("data and size disagree")
    length = len(data) if data is not None else size
    if not length or length % PAGE_SIZE:
        raise ValueError("a launch region is a positive number of 4096-byte pages")
    if page_type is PageType.VMSA and length != PAGE_SIZE:
        raise ValueError("a VMSA is one page")
    return length


def launch_digest(
    pages: Iterable[tuple[PageType, int, bytes | memoryview | None, int]],
    vmsas: Iterable[bytes],
    *,
    start: bytes = _ZEROS,
) -> bytes:
    """The launch digest of regions (type, address, contents or None, size in bytes), in the order they are
    launched, and then of one 4096-byte VMSA per vCPU, in vCPU order, as LAUNCH_FINISH adds them. 48 bytes."""
    digest = LaunchDigest(start)
    for page_type, gpa, data, size in pages:
        digest.update(page_type, gpa, data, size)
    for vmsa in vmsas:
        digest.update(PageType.VMSA, VMSA_GPA, vmsa)
    return digest.finish()
