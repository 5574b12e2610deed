"""The report body of a trust domain: TD report 1.0 (584 bytes) or 1.5 (648), little-endian.

TDX DCAP Quoting Library API, A.3.2 (1.0) and A.3.3 (1.5).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["SIZE_10", "SIZE_15", "TdReport", "parse"]

SIZE_10 = 584
SIZE_15 = 648
_LAYOUT = struct.Struct("<16s48s48s8sQQ48s48s48s48s48s48s48s48s64s")
_FURTHER = struct.Struct("<16s48s")


@dataclass(frozen=True, slots=True)
class TdReport:
    """Digests have 48 bytes. ``tee_tcb_svn`` (16): byte 0 the TDX module's SVN, byte 1 its major version,
    byte 2 the late microcode's SVN. ``attributes`` and ``xfam`` are u64, ``seam_attributes`` 8 bytes,
    ``report_data`` 64. ``tee_tcb_svn2`` (of the module that runs now) and ``mr_service_td`` are None in a
    report 1.0."""

    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seam_attributes: bytes
    attributes: int
    xfam: int
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    report_data: bytes
    tee_tcb_svn2: bytes | None = None
    mr_service_td: bytes | None = None

    @property
    def version(self) -> str:
        """``1.0`` or ``1.5``."""
        return "1.0" if self.mr_service_td is None else "1.5"

    @property
    def rtmrs(self) -> tuple[bytes, bytes, bytes, bytes]:
        return (self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3)

    def encode(self) -> bytes:
        """The 584 or 648 bytes that `parse` reads."""
        body = _LAYOUT.pack(
            self.tee_tcb_svn,
            self.mrseam,
            self.mrsignerseam,
            self.seam_attributes,
            self.attributes,
            self.xfam,
            self.mrtd,
            self.mrconfigid,
            self.mrowner,
            self.mrownerconfig,
            *self.rtmrs,
            self.report_data,
        )
        if self.tee_tcb_svn2 is None or self.mr_service_td is None:
            return body
        return body + _FURTHER.pack(self.tee_tcb_svn2, self.mr_service_td)


def parse(data: bytes) -> TdReport:
    """Read a report; its size says which. ``ValueError`` for a size of neither."""
    if len(data) == SIZE_10:
        return TdReport(*_LAYOUT.unpack(data))
    if len(data) == SIZE_15:
        return TdReport(*_LAYOUT.unpack_from(data), *_FURTHER.unpack_from(data, SIZE_10))
    raise ValueError(f"a TD report has {SIZE_10} or {SIZE_15} bytes")
