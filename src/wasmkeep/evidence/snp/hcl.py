"""Azure's wrapping of a report: what its paravisor leaves in the virtual TPM (HCL report).

=======  =======  ==============================================================================
offset   size     field (integers little-endian)
=======  =======  ==============================================================================
0        32       header: ``HCLA``, version, report size, request type 2, reserved
32       1184     the attestation report
1216     20       size of all that follows, version, report type 2 (SEV-SNP), hash type, size of:
1236              runtime data: JSON, whose digest report data begins with
=======  =======  ==============================================================================

Nothing signs the wrapping. Zeros, or anything else, may follow the runtime data.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.snp.report import REPORT_SIZE

__all__ = ["MAGIC", "MAX_SIZE", "HclReport", "decode"]

MAGIC = b"HCLA"
MAX_SIZE = 64 * 1024
"""Bytes; the TPM's own limit is a few thousand."""

_HEADER_SIZE = 32
_RUNTIME = struct.Struct("<I I I I I")
_SNP, _TDX = 2, 4
_HASHES = {1: "sha256", 2: "sha384", 3: "sha512"}


@dataclass(frozen=True, slots=True)
class HclReport:
    """``report`` is 1184 bytes; ``runtime_data`` the JSON beside it; ``claims_runtime_data`` says whether the
    report data begins with its digest, the rest zeros: that alone ties the two together."""

    report: bytes
    runtime_data: bytes
    claims_runtime_data: bool


def decode(data: bytes) -> HclReport:
    """Take the wrapping off. Raises `Rejected` ``snp.hcl`` for another size or layout, and for the report of
    another technology."""
    start = _HEADER_SIZE + REPORT_SIZE
    if not data.startswith(MAGIC) or not start + _RUNTIME.size <= len(data) <= MAX_SIZE:
        raise _malformed(f"{len(data)} bytes", f"{start + _RUNTIME.size} to {MAX_SIZE} bytes, from HCLA on")
    report = data[_HEADER_SIZE:start]
    _, _, technology, hash_type, size = _RUNTIME.unpack_from(data, start)
    if technology != _SNP:
        found = "the report of a trust domain (TDX)" if technology == _TDX else f"report type {technology}"
        raise _malformed(found, "report type 2, SEV-SNP")
    runtime_data = data[start + _RUNTIME.size :][:size]
    if len(runtime_data) != size or hash_type not in _HASHES:
        raise _malformed(f"runtime data of {size} bytes, hash type {hash_type}", "all of it, hashed")
    digest = hashlib.new(_HASHES[hash_type], runtime_data).digest()
    return HclReport(report, runtime_data, report[0x50:0x90] == digest.ljust(64, b"\0"))


def _malformed(found: str, required: str) -> Rejected:
    message = "not a report as Azure's paravisor wraps it"
    return Rejected(
        Finding(
            "snp.hcl", Kind.MALFORMED, message, found, required, "Azure HCL report format",
            advice="read it again from the virtual TPM, index 0x01400001",
        )
    )  # fmt: skip
