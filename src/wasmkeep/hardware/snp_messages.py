"""SNP guest messages and the secrets page (SNP firmware ABI 56860, 7 and 8.26), little-endian.

A message is a 4096-byte page: a 96-byte header, then the payload under AES-256-GCM with the guest's VMPCK.
The header's bytes 30h–5Fh are the additional data; the IV is the 64-bit sequence number and four zero
bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

PAGE = 4096
HEADER_SIZE = 0x60
MAX_PAYLOAD = PAGE - HEADER_SIZE
TAG_SIZE = 16
ALGO_AES_256_GCM = 1
HEADER_VERSION = 1
MESSAGE_VERSION = 1
VMPCK_SIZE = 32
VMPCK_COUNT = 4

# 00 authtag[32] 20 seqno u64 28 rsvd u64 30 algo 31 hdr_version 32 hdr_size u16 34 type 35 version
# 36 size u16 38 rsvd u32 3C vmpck 3D rsvd[35]
_HEADER = struct.Struct("<32sQQBBHBBHIB35s")
_AAD = slice(0x30, HEADER_SIZE)


class MessageType(IntEnum):
    """MSG_TYPE; each request is odd and its response the next number."""

    CPUID_REQ = 1
    CPUID_RSP = 2
    KEY_REQ = 3
    KEY_RSP = 4
    REPORT_REQ = 5
    REPORT_RSP = 6
    EXPORT_REQ = 7
    EXPORT_RSP = 8
    IMPORT_REQ = 9
    IMPORT_RSP = 10
    ABSORB_REQ = 11
    ABSORB_RSP = 12
    VMRK_REQ = 13
    VMRK_RSP = 14
    ABSORB_NOMA_REQ = 15
    ABSORB_NOMA_RSP = 16
    TSC_INFO_REQ = 17
    TSC_INFO_RSP = 18


class MessageStatus(IntEnum):
    """STATUS inside a response: the request arrived intact, and this is its answer."""

    SUCCESS = 0
    INVALID_PARAM = 0x16
    INVALID_KEY = 0x27


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """`reserved` is what stood in the reserved bytes, joined; zero in a well-formed message."""

    authtag: bytes
    seqno: int
    algo: int
    header_version: int
    header_size: int
    kind: int
    version: int
    size: int
    vmpck: int
    reserved: bytes = b""

    @classmethod
    def parse(cls, page: bytes) -> MessageHeader:
        """Read the header of a message page. Raises ValueError when it is too short."""
        if len(page) < HEADER_SIZE:
            raise ValueError("a guest message has a 96-byte header")
        tag, seqno, rsvd0, algo, version, size, kind, message, payload, rsvd1, vmpck, rsvd2 = (
            _HEADER.unpack_from(page)
        )
        reserved = tag[TAG_SIZE:] + rsvd0.to_bytes(8, "little") + rsvd1.to_bytes(4, "little") + rsvd2
        return cls(
            tag[:TAG_SIZE], seqno, algo, version, size, kind, message, payload, vmpck, reserved.strip(b"\0")
        )

    def encode(self) -> bytes:
        return _HEADER.pack(
            self.authtag,
            self.seqno,
            0,
            self.algo,
            self.header_version,
            self.header_size,
            self.kind,
            self.version,
            self.size,
            0,
            self.vmpck,
            bytes(35),
        )


def header_for(kind: MessageType, seqno: int, size: int, vmpck: int) -> MessageHeader:
    """A well-formed header, its tag still zero."""
    return MessageHeader(
        bytes(TAG_SIZE),
        seqno,
        ALGO_AES_256_GCM,
        HEADER_VERSION,
        HEADER_SIZE,
        kind,
        MESSAGE_VERSION,
        size,
        vmpck,
    )


def additional_data(header: bytes) -> bytes:
    """Header bytes 30h–5Fh, which the tag covers."""
    return header[_AAD]


def initialisation_vector(seqno: int) -> bytes:
    """12 bytes: the sequence number as u64, then zeros."""
    return struct.pack("<QI", seqno, 0)


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """MSG_REPORT_REQ, 96 bytes. `key_select`: 0 VLEK if loaded, else VCEK; 1 VCEK; 2 VLEK."""

    report_data: bytes
    vmpl: int = 0
    key_select: int = 0
    reserved: bytes = b""

    SIZE = 96
    _FORMAT = struct.Struct("<64sII24s")

    @classmethod
    def parse(cls, payload: bytes) -> ReportRequest:
        data, vmpl, flags, reserved = cls._FORMAT.unpack(payload)
        return cls(data, vmpl, flags & 3, ((flags >> 2).to_bytes(4, "little") + reserved).strip(b"\0"))

    def encode(self) -> bytes:
        return self._FORMAT.pack(self.report_data, self.vmpl, self.key_select, bytes(24))


@dataclass(frozen=True, slots=True)
class ReportResponse:
    """MSG_REPORT_RSP, 1216 bytes: status, report size, 24 reserved, report (empty on failure)."""

    status: int
    report: bytes

    SIZE = 0x4C0
    _HEAD = struct.Struct("<II24x")
    _REPORT_SIZE = 1184

    @classmethod
    def parse(cls, payload: bytes) -> ReportResponse:
        """Raises ValueError unless the sizes agree."""
        if len(payload) < cls.SIZE:
            raise ValueError("a report response has 1216 bytes")
        status, size = cls._HEAD.unpack_from(payload)
        if size not in (0, cls._REPORT_SIZE):
            raise ValueError("the report in a report response has 1184 bytes")
        return cls(status, payload[cls._HEAD.size : cls._HEAD.size + size])

    def encode(self) -> bytes:
        return self._HEAD.pack(self.status, len(self.report)) + self.report.ljust(self._REPORT_SIZE, b"\0")


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """MSG_KEY_REQ version 1, 32 bytes.

    `root_key`: 0 VCEK or VLEK, 1 VMRK. `field_select`: bits 0 policy, 1 image id, 2 family id, 3 measurement,
    4 guest SVN, 5 TCB version.
    """

    root_key: int = 0
    key_select: int = 0
    field_select: int = 0
    vmpl: int = 0
    guest_svn: int = 0
    tcb_version: int = 0
    reserved: int = 0

    SIZE = 32
    _FORMAT = struct.Struct("<IIQIIQ")

    @classmethod
    def parse(cls, payload: bytes) -> KeyRequest:
        flags, reserved, fields, vmpl, svn, tcb = cls._FORMAT.unpack(payload)
        return cls(flags & 1, flags >> 1 & 3, fields, vmpl, svn, tcb, reserved | flags >> 3)

    def encode(self) -> bytes:
        flags = self.root_key | self.key_select << 1
        return self._FORMAT.pack(flags, 0, self.field_select, self.vmpl, self.guest_svn, self.tcb_version)


@dataclass(frozen=True, slots=True)
class KeyResponse:
    """MSG_KEY_RSP, 64 bytes: status, 28 reserved, key (32; zeros on failure)."""

    status: int
    key: bytes

    SIZE = 64
    _FORMAT = struct.Struct("<I28x32s")

    @classmethod
    def parse(cls, payload: bytes) -> KeyResponse:
        return cls(*cls._FORMAT.unpack(payload))

    def encode(self) -> bytes:
        return self._FORMAT.pack(self.status, self.key)


@dataclass(frozen=True, slots=True)
class SecretsPage:
    """What the firmware puts into the SECRETS page (SNP firmware ABI 8.17.2.5); 4096 bytes, the rest zero."""

    version: int
    fms: int
    gosvw: bytes
    vmpck: tuple[bytes, bytes, bytes, bytes]

    _HEAD = struct.Struct("<III4x16s")

    def encode(self) -> bytes:
        head = self._HEAD.pack(self.version, 0, self.fms, self.gosvw)
        return (head + b"".join(self.vmpck)).ljust(PAGE, b"\0")

    @classmethod
    def parse(cls, page: bytes) -> SecretsPage:
        version, _, fms, gosvw = cls._HEAD.unpack_from(page)
        keys = [page[0x20 + VMPCK_SIZE * index : 0x40 + VMPCK_SIZE * index] for index in range(VMPCK_COUNT)]
        return cls(version, fms, gosvw, (keys[0], keys[1], keys[2], keys[3]))

    def __repr__(self) -> str:  # keys stay out of logs and tracebacks
        return f"SecretsPage(version={self.version})"
