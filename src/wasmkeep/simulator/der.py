"""Writing DER (X.690): the few types that AMD's certificates and lists consist of.

Written here because the certificate builder at hand refuses a serial number of 0, which every VCEK has, and
an extension without an inner tag, which is how AMD encodes hwID.
"""

from __future__ import annotations

from datetime import UTC, datetime

_UTC_TIME_ENDS = 2050  # RFC 5280 4.1.2.5: GeneralizedTime from this year on


def tagged(tag: int, content: bytes) -> bytes:
    """Tag, length in its shortest form, content."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def sequence(*elements: bytes) -> bytes:
    return tagged(0x30, b"".join(elements))


def set_of(*elements: bytes) -> bytes:
    return tagged(0x31, b"".join(sorted(elements)))


def explicit(number: int, content: bytes) -> bytes:
    """Context-specific, constructed ``[number]``."""
    return tagged(0xA0 | number, content)


def implicit(number: int, content: bytes) -> bytes:
    """Context-specific, primitive ``[number]``."""
    return tagged(0x80 | number, content)


def integer(value: int) -> bytes:
    """A non-negative INTEGER; a leading zero keeps it from reading as negative."""
    if value < 0:
        raise ValueError("only non-negative integers are written here")
    return tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def boolean(value: bool) -> bytes:  # noqa: FBT001 - DER's own type
    return tagged(0x01, b"\xff" if value else b"\x00")


def null() -> bytes:
    return tagged(0x05, b"")


def octet_string(content: bytes) -> bytes:
    return tagged(0x04, content)


def bit_string(content: bytes, unused: int = 0) -> bytes:
    return tagged(0x03, bytes([unused]) + content)


def printable_string(text: str) -> bytes:
    return tagged(0x13, text.encode("ascii"))


def utf8_string(text: str) -> bytes:
    return tagged(0x0C, text.encode())


def ia5_string(text: str) -> bytes:
    return tagged(0x16, text.encode("ascii"))


def object_identifier(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    content = bytearray()
    for number in (first * 40 + second, *rest):
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.append(0x80 | number & 0x7F)
        content += bytes(reversed(septets))
    return tagged(0x06, bytes(content))


def time(moment: datetime) -> bytes:
    """UTCTime up to 2049, GeneralizedTime from 2050; whole seconds, UTC."""
    moment = moment.astimezone(UTC)
    if moment.year < _UTC_TIME_ENDS:
        return tagged(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())
    return tagged(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())
