"""Just enough DER (X.690) for a PCK certificate's SGX extension: definite minimal lengths, one-byte tags."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["BOOLEAN", "ENUMERATED", "INTEGER", "OBJECT_IDENTIFIER", "OCTET_STRING", "SEQUENCE", "elements"]

BOOLEAN, INTEGER, OCTET_STRING, OBJECT_IDENTIFIER, ENUMERATED, SEQUENCE = 0x01, 0x02, 0x04, 0x06, 0x0A, 0x30
_LONG, _MAX_LENGTH_BYTES = 0x80, 2


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element, to the last byte. Raises ``ValueError`` for anything but DER."""
    at = 0
    while at < len(data):
        tag = data[at]
        size, at = _length(data, at + 1)
        if at + size > len(data):
            raise ValueError("an element is longer than what holds it")
        yield tag, data[at : at + size]
        at += size


def _length(data: bytes, at: int) -> tuple[int, int]:
    """The length at ``at``, and where the content begins."""
    if at >= len(data):
        raise ValueError("an element without a length")
    first = data[at]
    if first < _LONG:
        return first, at + 1
    count = first - _LONG
    encoded = data[at + 1 : at + 1 + count]
    if not 1 <= count <= _MAX_LENGTH_BYTES or len(encoded) != count:
        raise ValueError("a length of another form, or more than 64 KiB")
    size = int.from_bytes(encoded, "big")
    if size < _LONG or encoded[0] == 0:
        raise ValueError("a length that is not minimal")
    return size, at + 1 + count
