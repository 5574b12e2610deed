"""The report body of an enclave: 384 bytes, little-endian (SGX ECDSA QuoteLibReference, A.4; SDM 3D, 38.15).

It is what an SGX quote is about, and how a quote names the quoting enclave that made it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wasmkeep.evidence.dcap.findings import malformed

__all__ = ["SIZE", "EnclaveReport", "parse"]

SIZE = 384
_LAYOUT = struct.Struct("<16sI12s16sQQ32s32s32s32s64sHHH42s16s64s")
_RESERVED = (2, 7, 9, 14)
_SECTION = "SGX ECDSA QuoteLibReference, A.4 enclave report body"


@dataclass(frozen=True, slots=True)
class EnclaveReport:
    """``cpu_svn`` 16 bytes; ``attributes`` (flags) and ``xfrm`` u64; ``mrenclave``, ``mrsigner`` 32;
    ``isv_ext_prod_id``, ``isv_family_id`` 16, ``config_id`` 64 and ``config_svn`` of key separation and
    sharing (KSS), zero without it; ``report_data`` 64."""

    cpu_svn: bytes
    misc_select: int
    isv_ext_prod_id: bytes
    attributes: int
    xfrm: int
    mrenclave: bytes
    mrsigner: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    isv_family_id: bytes
    report_data: bytes

    @property
    def attributes_bytes(self) -> bytes:
        """Flags and XFRM as they stand in the report, 16 bytes: what QE identities compare under a mask."""
        return struct.pack("<QQ", self.attributes, self.xfrm)

    def encode(self) -> bytes:
        """The 384 bytes that `parse` reads."""
        return _LAYOUT.pack(
            self.cpu_svn,
            self.misc_select,
            bytes(12),
            self.isv_ext_prod_id,
            self.attributes,
            self.xfrm,
            self.mrenclave,
            bytes(32),
            self.mrsigner,
            bytes(32),
            self.config_id,
            self.isv_prod_id,
            self.isv_svn,
            self.config_svn,
            bytes(42),
            self.isv_family_id,
            self.report_data,
        )


def parse(data: bytes, name: str) -> EnclaveReport:
    """Read 384 bytes; ``name`` says whose report it is. Raises `Rejected` ``dcap.quote.reserved`` where a
    reserved byte is set; ``ValueError`` for another length."""
    if len(data) != SIZE:
        raise ValueError(f"an enclave report has {SIZE} bytes")
    fields = _LAYOUT.unpack(data)
    if any(any(fields[index]) for index in _RESERVED):
        message = f"reserved bytes are set in the {name}'s report"
        raise malformed("dcap.quote.reserved", message, "other bytes", "zeros", _SECTION)
    return EnclaveReport(*(field for index, field in enumerate(fields) if index not in _RESERVED))
