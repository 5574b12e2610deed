"""The attestation report: 1184 bytes, every field, every reserved bit (N-7.3, tables 21 to 23).

Strict: what parses re-encodes to the same bytes. Values are not judged here; `checks` does that.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from wasmkeep.evidence.errors import Finding, Kind, Rejected

__all__ = [
    "REPORT_SIZE",
    "SIGNED_SIZE",
    "UNDESCRIBED",
    "VERSIONS",
    "Report",
    "SigningKey",
    "parse",
    "standing_part",
]

REPORT_SIZE = 0x4A0
SIGNED_SIZE = 0x2A0
"""The signature covers bytes 000h to 29Fh."""
VERSIONS = (2, 3, 4, 5)
UNDESCRIBED = 4
"""AMD describes this version to nobody in public, yet firmware makes it. It is read like version 3, and what
that reserves must be zero; `rules` refuses it unless the policy takes that risk."""

_FIRST_WITH_CPUID = 3
_FIRST_WITH_MITIGATION_VECTORS = 5
_SECTION = "AMD 56860, 7.3 ATTESTATION_REPORT"

_LAYOUT = struct.Struct(
    "<"
    "I I Q 16s 16s I I Q Q I 4x"  # 000 version … 048 key_info, 04C reserved
    "64s 48s 32s 48s 48s 32s 32s"  # 050 report_data … 160 report_id_ma
    "Q 3B 21x 64s Q"  # 180 reported_tcb, 188 CPUID, 18B reserved, 1A0 chip_id, 1E0 committed_tcb
    "3B x 3B x Q Q Q 152x"  # 1E8 current, 1EC committed version, 1F0 launch_tcb, 1F8 vectors, 208 reserved
    "72s 72s 368x"  # 2A0 signature: r, s, zeros
)
_AT_CPUID, _AT_CHIP_ID, _AT_VECTORS, _AT_SIGNATURE = 18, 21, 30, 32
"""Where these fields begin among those of the layout."""

_RESERVED = ((0x04C, 4), (0x18B, 21), (0x1EB, 1), (0x1EF, 1), (0x208, 152), (0x330, 368))
_RESERVED_BEFORE = ((_FIRST_WITH_CPUID, (0x188, 3)), (_FIRST_WITH_MITIGATION_VECTORS, (0x1F8, 16)))
_ZEROS = {
    version: [
        (offset, bytes(size))
        for offset, size in (*_RESERVED, *(place for first, place in _RESERVED_BEFORE if version < first))
    ]
    for version in VERSIONS
}
"""What is reserved in each version: offsets, and the zeros that stand there."""
_KEY_INFO_BITS = 5


class SigningKey(IntEnum):
    """SIGNING_KEY in key_info, bits 4:2. Other values are reserved."""

    VCEK = 0
    VLEK = 1
    NONE = 7


class Report(NamedTuple):
    """All fields in the specification's spelling; sizes in bytes, integers as they stand.

    TCB fields are u64 (see `tcb.Tcb.decode`). ``cpuid_*`` are combined values, None before version 3;
    ``*_mit_vector`` are None before version 5. ``signature_r`` and ``signature_s`` are at most 576 bits.
    A tuple, because making one of a frozen dataclass with so many fields takes longer than all the reading.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes  # 16
    image_id: bytes  # 16
    vmpl: int
    signature_algo: int
    current_tcb: int
    platform_info: int
    key_info: int
    report_data: bytes  # 64
    measurement: bytes  # 48
    host_data: bytes  # 32
    id_key_digest: bytes  # 48
    author_key_digest: bytes  # 48
    report_id: bytes  # 32
    report_id_ma: bytes  # 32
    reported_tcb: int
    cpuid_family: int | None
    cpuid_model: int | None
    cpuid_stepping: int | None
    chip_id: bytes  # 64
    committed_tcb: int
    current_build: int
    current_minor: int
    current_major: int
    committed_build: int
    committed_minor: int
    committed_major: int
    launch_tcb: int
    launch_mit_vector: int | None
    current_mit_vector: int | None
    signature_r: int = 0
    signature_s: int = 0

    @property
    def author_key_en(self) -> bool:
        return bool(self.key_info & 1)

    @property
    def mask_chip_key(self) -> bool:
        return bool(self.key_info & 2)

    @property
    def signing_key(self) -> int:
        """A value of `SigningKey`, or a reserved one."""
        return self.key_info >> 2 & 7

    @property
    def chip_id_masked(self) -> bool:
        """The host asked that the chip's identity be left out (MASK_CHIP_ID)."""
        return not any(self.chip_id)

    @property
    def current_version(self) -> tuple[int, int, int]:
        """Firmware that runs: major, minor, build."""
        return self.current_major, self.current_minor, self.current_build

    @property
    def committed_version(self) -> tuple[int, int, int]:
        """Firmware that can no longer be rolled back: major, minor, build."""
        return self.committed_major, self.committed_minor, self.committed_build

    def encode(self) -> bytes:
        """The 1184 bytes. ``ValueError`` where a field does not fit or does not exist in this version."""
        _require_fields_of_version(self)
        sizes = (16, 16, 64, 48, 32, 48, 48, 32, 32, 64)
        for value, size in zip(_byte_fields(self), sizes, strict=True):
            if len(value) != size:
                raise ValueError(f"a report field of {size} bytes has {len(value)}")
        try:
            return _LAYOUT.pack(*_values(self))
        except (struct.error, OverflowError) as error:
            raise ValueError(f"a report field is out of range: {error}") from error

    def standing(self) -> Report:
        """The same with zeros in what keeps differ in that were launched alike on one platform: report data,
        measurement, host data, report ids and signature. See `standing_part`."""
        return self._replace(
            report_data=bytes(64),
            measurement=bytes(48),
            host_data=bytes(32),
            report_id=bytes(32),
            report_id_ma=bytes(32),
            signature_r=0,
            signature_s=0,
        )

    def signed_part(self) -> bytes:
        """The 672 bytes under the signature."""
        return self.encode()[:SIGNED_SIZE]


def _byte_fields(report: Report) -> tuple[bytes, ...]:
    return (
        report.family_id,
        report.image_id,
        report.report_data,
        report.measurement,
        report.host_data,
        report.id_key_digest,
        report.author_key_digest,
        report.report_id,
        report.report_id_ma,
        report.chip_id,
    )


def _require_fields_of_version(report: Report) -> None:
    cpuid = (report.cpuid_family, report.cpuid_model, report.cpuid_stepping)
    vectors = (report.launch_mit_vector, report.current_mit_vector)
    for fields, first in ((cpuid, _FIRST_WITH_CPUID), (vectors, _FIRST_WITH_MITIGATION_VECTORS)):
        present = report.version >= first
        if any((field is not None) != present for field in fields):
            raise ValueError(f"fields of report version {first} do not fit version {report.version}")


def _values(report: Report) -> tuple[object, ...]:
    r = report
    return (
        *(r.version, r.guest_svn, r.policy, r.family_id, r.image_id, r.vmpl, r.signature_algo),
        *(r.current_tcb, r.platform_info, r.key_info),
        *(r.report_data, r.measurement, r.host_data, r.id_key_digest, r.author_key_digest),
        *(r.report_id, r.report_id_ma, r.reported_tcb),
        *(r.cpuid_family or 0, r.cpuid_model or 0, r.cpuid_stepping or 0),
        *(r.chip_id, r.committed_tcb),
        *(r.current_build, r.current_minor, r.current_major),
        *(r.committed_build, r.committed_minor, r.committed_major),
        *(r.launch_tcb, r.launch_mit_vector or 0, r.current_mit_vector or 0),
        *(r.signature_r.to_bytes(72, "little"), r.signature_s.to_bytes(72, "little")),
    )


def parse(data: bytes) -> Report:
    """Read a report of exactly 1184 bytes.

    Raises `Rejected`: ``snp.report.size``, ``snp.report.version`` (not 2 to 5), ``snp.report.reserved``
    (a reserved field or the padding of the signature is not zero).
    """
    if len(data) != REPORT_SIZE:
        raise _malformed("size", "the report has a wrong size", f"{len(data)} bytes", f"{REPORT_SIZE} bytes")
    fields = _LAYOUT.unpack(data)
    version = fields[0]
    if version not in VERSIONS:
        raise Rejected(
            Finding(
                "snp.report.version",
                Kind.UNSUPPORTED,
                "the report has a version that this verifier does not know",
                found=str(version),
                required="2 to 5",
                section=_SECTION,
                advice="a newer wasmkeep may know it",
            )
        )
    values = (
        *fields[:_AT_CPUID],
        *(fields[_AT_CPUID:_AT_CHIP_ID] if version >= _FIRST_WITH_CPUID else (None, None, None)),
        *fields[_AT_CHIP_ID:_AT_VECTORS],
        *(fields[_AT_VECTORS:_AT_SIGNATURE] if version >= _FIRST_WITH_MITIGATION_VECTORS else (None, None)),
        int.from_bytes(fields[_AT_SIGNATURE], "little"),
        int.from_bytes(fields[_AT_SIGNATURE + 1], "little"),
    )
    report = Report._make(values)
    _require_zero(data, report)
    return report


def standing_part(data: bytes) -> bytes:
    """The bytes of a report that `Report.standing` follows from."""
    return data[:0x050] + data[0x0E0:0x140] + data[0x180:SIGNED_SIZE]


def _require_zero(data: bytes, report: Report) -> None:
    """Every reserved field of this version, by its offset."""
    for offset, zeros in _ZEROS[report.version]:
        if not data.startswith(zeros, offset):
            raise _reserved(offset)
    if report.key_info >> _KEY_INFO_BITS:
        raise _reserved(0x048)


def _reserved(offset: int) -> Rejected:
    return _malformed(
        "reserved", "a reserved field of the report is not zero", f"set bits at {offset:#05x}", "zero"
    )


def _malformed(check: str, message: str, found: str, required: str) -> Rejected:
    return Rejected(
        Finding(
            f"snp.report.{check}",
            Kind.MALFORMED,
            message,
            found=found,
            required=required,
            section=_SECTION,
            meaning="these bytes are not an attestation report, or were damaged on the way",
        )
    )
