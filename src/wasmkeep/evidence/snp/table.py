"""The certificate table of an extended guest request: GUID, offset, length (AMD 56421, 4.1.8.1).

GUID bytes stand in text order (RFC 4122), not mixed-endian as elsewhere in firmware. Strict: each GUID once,
contents behind the table, nothing but zeros between and after them. Entries that are not AMD's are bounded
like the others and left unread: clouds put their own beside the certificates, such as Google's endorsement of
its firmware. Certificates are DER; a host that was given one in PEM hands that on, and it is read too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.pem import decode_certificates

__all__ = ["MAX_TABLE_SIZE", "CertificateTable", "decode", "encode"]

MAX_TABLE_SIZE = 64 * 1024
"""Bytes; four certificates and a list fit in a quarter of it."""

_MAX_ENTRIES = 16
_ENTRY = struct.Struct("<16s I I")
_END = bytes(_ENTRY.size)
_PEM = b"-----BEGIN CERTIFICATE-----"
_GUIDS = {
    "vcek": UUID("63da758d-e664-4564-adc5-f4b93be8accd"),
    "vlek": UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1"),
    "ask": UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782"),
    "ark": UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae"),
    "crl": UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea"),
}
_NAMES = {guid.bytes: name for name, guid in _GUIDS.items()}


@dataclass(frozen=True, slots=True)
class CertificateTable:
    """DER bytes, None where the table has no such entry. ``ask`` is the ASVK beside a VLEK."""

    vcek: bytes | None = None
    vlek: bytes | None = None
    ask: bytes | None = None
    ark: bytes | None = None
    crl: bytes | None = None


def encode(table: CertificateTable) -> bytes:
    """The table with its contents behind it, unpadded."""
    entries = [(guid, getattr(table, name)) for name, guid in _GUIDS.items()]
    present = [(guid, data) for guid, data in entries if data is not None]
    offset = _ENTRY.size * (len(present) + 1)
    head, body = b"", b""
    for guid, data in present:
        head += _ENTRY.pack(guid.bytes, offset + len(body), len(data))
        body += data
    return head + _END + body


def decode(data: bytes) -> CertificateTable:
    """Read a table. Raises `Rejected` ``snp.certificates.table``: too long, no end, a repeated GUID, contents
    that are empty, overlap or pass the end, or other bytes that are not zero, or PEM of more than one
    certificate; and ``pem.malformed``."""
    if len(data) > MAX_TABLE_SIZE:
        raise _malformed("the certificate table is too long", f"{len(data)} bytes", f"≤ {MAX_TABLE_SIZE}")
    entries = _entries(data)
    _require_apart(data, entries)
    found: dict[bytes, bytes] = {}
    for guid, offset, length in entries:
        if guid in found:
            raise _malformed(
                "a repeated entry in the certificate table", str(UUID(bytes=guid)), "each GUID once"
            )
        found[guid] = data[offset : offset + length]
    return CertificateTable(**{name: _der(found[guid]) for guid, name in _NAMES.items() if guid in found})


def _der(contents: bytes) -> bytes:
    if not contents.startswith(_PEM):
        return contents
    certificates = decode_certificates(contents.decode("ascii", "replace"))
    if len(certificates) != 1:
        raise _malformed(
            "an entry of the certificate table is a chain", str(len(certificates)), "1 certificate"
        )
    return certificates[0]


def _entries(data: bytes) -> list[tuple[bytes, int, int]]:
    entries: list[tuple[bytes, int, int]] = []
    for index in range(_MAX_ENTRIES + 1):
        raw = data[index * _ENTRY.size : (index + 1) * _ENTRY.size]
        if raw == _END:
            return entries
        if len(raw) < _ENTRY.size:
            break
        entries.append(_ENTRY.unpack(raw))
    raise _malformed(
        "the certificate table has no end", "", f"at most {_MAX_ENTRIES} entries and a zero entry"
    )


def _require_apart(data: bytes, entries: list[tuple[bytes, int, int]]) -> None:
    """Contents lie behind the table, in any order, each in its own place, with zeros around them."""
    behind = _ENTRY.size * (len(entries) + 1)
    for _, offset, length in sorted(entries, key=lambda entry: entry[1]):
        if offset < behind or not length or offset + length > len(data) or any(data[behind:offset]):
            raise _malformed(
                "an entry of the certificate table lies elsewhere", f"{offset:#x}", f"{behind:#x}"
            )
        behind = offset + length
    if any(data[behind:]):
        raise _malformed("bytes behind the certificate table", "not zero", "nothing, or zeros")


def _malformed(message: str, found: str, required: str) -> Rejected:
    return Rejected(
        Finding(
            "snp.certificates.table",
            Kind.MALFORMED,
            message,
            found=found,
            required=required,
            section="AMD 56421, 4.1.8.1 extended guest request",
        )
    )
