"""Intel's quotes, versions 3 (SGX), 4 and 5 (TDX); little-endian, parsed strictly, nothing trusted.

    v3, v4  header (48) ‖ body (384 SGX, 584 TDX)                        ‖ length (u32) ‖ signature section
    v5      header (48) ‖ body type (u16) ‖ body size (u32) ‖ body       ‖ length (u32) ‖ signature section

    v3      signature (64) ‖ attestation key (64) ‖ QE part
    v4, v5  signature (64) ‖ attestation key (64) ‖ type 6 (u16) ‖ size (u32) ‖ QE part
    QE part QE report (384) ‖ its signature (64) ‖ size (u16) ‖ QE auth data ‖ type 5 (u16) ‖ size (u32) ‖ PEM

The attestation key signs header and body; the platform's PCK the QE report. Bytes after the signature section
are not signed: they are counted and never read. SGX ECDSA QuoteLibReference, A.4; TDX DCAP Quoting Library
API, A.3 and A.4.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from wasmkeep.evidence.dcap import enclave_report
from wasmkeep.evidence.dcap.enclave_report import EnclaveReport
from wasmkeep.evidence.dcap.findings import malformed, unsupported
from wasmkeep.evidence.tdx import report as td_report
from wasmkeep.evidence.tdx.report import TdReport

__all__ = [
    "HEADER_SIZE",
    "INTEL_QE_VENDOR",
    "MAX_QUOTE_SIZE",
    "Header",
    "Quote",
    "QuotingEnclave",
    "TeeType",
    "parse",
]

MAX_QUOTE_SIZE = 64 * 1024
"""Bytes of a quote with what follows it; real ones have under 8,000."""
HEADER_SIZE = 48
INTEL_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")

_HEADER = struct.Struct("<HHIHH16s20s")
_BODY = struct.Struct("<HI")
_LENGTH = struct.Struct("<I")
_CERTIFICATION = struct.Struct("<HI")
_KEY_P256 = 2
_PCK_CHAIN, _QE_REPORT = 5, 6
_PART = 64
_MAX_AUTH_DATA = 1024
_SECTION = "Intel DCAP quote format, appendix A"


class TeeType(IntEnum):
    """``tee_type`` of a header."""

    SGX = 0x00
    TDX = 0x81


_BODY_SIZES: Final = {1: enclave_report.SIZE, 2: td_report.SIZE_10, 3: td_report.SIZE_15}


@dataclass(frozen=True, slots=True)
class Header:
    """48 bytes: version, attestation key type, TEE type, SVNs of QE and PCE (version 3; zero later), the QE's
    vendor (16 bytes), user data (20; its first 16 name the platform's QE)."""

    version: int
    key_type: int
    tee_type: int
    qe_svn: int
    pce_svn: int
    qe_vendor: bytes
    user_data: bytes

    def encode(self) -> bytes:
        return _HEADER.pack(
            self.version,
            self.key_type,
            self.tee_type,
            self.qe_svn,
            self.pce_svn,
            self.qe_vendor,
            self.user_data,
        )


@dataclass(frozen=True, slots=True)
class QuotingEnclave:
    """What the quoting enclave shows for its attestation key: its report, whose report data begin with
    SHA-256 of key and ``auth_data``; ``signature`` (64 bytes, r and s big-endian) by the PCK over the report;
    and ``pck_chain``, the PCK's certificates as PEM text."""

    report: EnclaveReport
    signature: bytes
    auth_data: bytes
    pck_chain: bytes

    def encode(self) -> bytes:
        return b"".join(
            (
                self.report.encode(),
                self.signature,
                struct.pack("<H", len(self.auth_data)),
                self.auth_data,
                _CERTIFICATION.pack(_PCK_CHAIN, len(self.pck_chain)),
                self.pck_chain,
            )
        )


@dataclass(frozen=True, slots=True)
class Quote:
    """``signature`` (64 bytes, r and s big-endian, P-256 with SHA-256) is by ``attestation_key`` (64 bytes, x
    and y big-endian) over ``signed_part``. ``trailing`` counts bytes after the quote."""

    header: Header
    body: EnclaveReport | TdReport
    signature: bytes
    attestation_key: bytes
    quoting_enclave: QuotingEnclave
    trailing: int

    @property
    def signed_part(self) -> bytes:
        """Header and body, as they stand in the quote."""
        body = self.body.encode()
        if self.header.version == 5:
            kind = next(kind for kind, size in _BODY_SIZES.items() if size == len(body))
            body = _BODY.pack(kind, len(body)) + body
        return self.header.encode() + body

    def encode(self) -> bytes:
        """The quote again, without what followed it."""
        section = self.quoting_enclave.encode()
        if self.header.version != 3:
            section = _CERTIFICATION.pack(_QE_REPORT, len(section)) + section
        section = self.signature + self.attestation_key + section
        return self.signed_part + _LENGTH.pack(len(section)) + section


class _Reader:
    """Bytes in order, each once."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._at, self._what = data, 0, what

    def take(self, size: int) -> bytes:
        if size > self.left:
            message = f"the {self._what} ends too early"
            raise malformed(
                "dcap.quote.length", message, f"{self.left} bytes left", f"{size} bytes", _SECTION
            )
        self._at += size
        return self._data[self._at - size : self._at]

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size))

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def end(self) -> None:
        if self.left:
            message = f"the {self._what} has bytes that nothing accounts for"
            raise malformed("dcap.quote.length", message, f"{self.left} bytes more", "none", _SECTION)


def parse(data: bytes) -> Quote:
    """Read a quote. Raises `Rejected`: ``dcap.quote.length``, ``version``, ``key-type``, ``tee-type``,
    ``vendor``, ``body``, ``reserved``, ``certification`` (each ``dcap.quote.…``)."""
    if len(data) > MAX_QUOTE_SIZE:
        message = "the quote is longer than any quote"
        raise malformed("dcap.quote.length", message, f"{len(data)} bytes", f"≤ {MAX_QUOTE_SIZE}", _SECTION)
    reader = _Reader(data, "quote")
    header = Header(*_HEADER.unpack(reader.take(HEADER_SIZE)))
    _require_known(header)
    body = _body(reader, header)
    (length,) = reader.unpack(_LENGTH)
    section = _Reader(reader.take(length), "signature section")
    signature, key = section.take(_PART), section.take(_PART)
    if header.version != 3:
        section = _Reader(_certification(section, _QE_REPORT), "QE certification data")
    return Quote(header, body, signature, key, _quoting_enclave(section), reader.left)


def _require_known(header: Header) -> None:
    versions = {TeeType.SGX: (3,), TeeType.TDX: (4, 5)}
    known = sorted(version for several in versions.values() for version in several)
    if header.version not in known:
        raise _unsupported(
            "dcap.quote.version", "the quote has an unknown version", header.version, "3, 4 or 5"
        )
    if header.tee_type not in versions:
        found = f"{header.tee_type:#x}"
        raise _unsupported("dcap.quote.tee-type", "the quote is of an unknown TEE", found, "SGX or TDX")
    if header.version not in versions[TeeType(header.tee_type)]:
        found = f"{TeeType(header.tee_type).name} in version {header.version}"
        message = "the quote's version is not one of its TEE"
        raise _unsupported("dcap.quote.version", message, found, "SGX in version 3, TDX in 4 or 5")
    if header.key_type != _KEY_P256:
        message = "the quote is signed with another algorithm"
        raise _unsupported("dcap.quote.key-type", message, header.key_type, "2 (ECDSA P-256)")
    if header.qe_vendor != INTEL_QE_VENDOR:
        found, required = header.qe_vendor.hex(), INTEL_QE_VENDOR.hex()
        raise _unsupported("dcap.quote.vendor", "another vendor's quoting enclave", found, required)


def _body(reader: _Reader, header: Header) -> EnclaveReport | TdReport:
    kind = 1 if header.tee_type == TeeType.SGX else 2
    if header.version == 5:
        kind, size = reader.unpack(_BODY)
        if kind not in (2, 3):
            message = "the quote's body is of an unknown kind"
            raise _unsupported("dcap.quote.body", message, kind, "2 (TD report 1.0) or 3 (TD report 1.5)")
        if size != _BODY_SIZES[kind]:
            message = "the quote's body has a wrong size"
            raise malformed("dcap.quote.body", message, str(size), str(_BODY_SIZES[kind]), _SECTION)
    data = reader.take(_BODY_SIZES[kind])
    return enclave_report.parse(data, "enclave") if kind == 1 else td_report.parse(data)


def _quoting_enclave(section: _Reader) -> QuotingEnclave:
    report = enclave_report.parse(section.take(enclave_report.SIZE), "quoting enclave")
    signature = section.take(_PART)
    (size,) = section.unpack(struct.Struct("<H"))
    if size > _MAX_AUTH_DATA:
        message = "the QE's authentication data is longer than any"
        raise malformed("dcap.quote.length", message, f"{size} bytes", f"≤ {_MAX_AUTH_DATA}", _SECTION)
    return QuotingEnclave(report, signature, section.take(size), _certification(section, _PCK_CHAIN))


def _certification(section: _Reader, required: int) -> bytes:
    """The last thing in a section: type, size, and data that end it."""
    kind, size = section.unpack(_CERTIFICATION)
    if kind != required:
        message = "the quote carries certification data of another type"
        names = {_PCK_CHAIN: "5 (PCK certificate chain)", _QE_REPORT: "6 (QE report)"}
        raise _unsupported("dcap.quote.certification", message, kind, names[required])
    data = section.take(size)
    section.end()
    return data


def _unsupported(check: str, message: str, found: object, required: str) -> Exception:
    return unsupported(check, message, str(found), required, _SECTION)
