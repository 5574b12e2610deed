"""Sealed records (docs/protocol.md section 3).

A record is u32 length, AES-256-GCM ciphertext, 16-byte tag; its plaintext is padded with zeros to a
multiple of 256 bytes. Sequence numbers are implicit, so a record that is missing, altered, repeated or
out of order does not open, and the session ends.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wasmkeep.errors import SessionError
from wasmkeep.protocol.binding import DirectionKey

MAX_MESSAGE_SIZE = 983_040
PADDING_UNIT = 256
MAX_PLAINTEXT_SIZE = 65_536
MAX_STREAM_PAYLOAD = 61_440
TAG_SIZE = 16
_PREFIX = struct.Struct("<I")
_HEADER = struct.Struct("<B3sI")
# Fifteen of these fill a message exactly enough: 15 × (4 + 65,280 + 16) ≤ 983,040.
MAX_PACKAGE_PAYLOAD = 65_280 - _HEADER.size


class RecordType(IntEnum):
    HELLO = 0x01
    PACKAGE = 0x02
    STDIN = 0x03
    LAUNCHED = 0x10
    STDOUT = 0x11
    STDERR = 0x12
    TRAP = 0x13
    WANT_STDIN = 0x14
    REFUSED = 0x15
    RECEIPT = 0x16


class _Direction:
    """A cipher and the sequence number of its next record."""

    def __init__(self, key: DirectionKey) -> None:
        self._cipher = AESGCM(key.key)
        self._iv = int.from_bytes(key.iv, "big")
        self._sequence = 0

    def _next_nonce(self) -> bytes:
        nonce = (self._iv ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        return nonce


class Sealer(_Direction):
    """Makes records of one direction."""

    def seal(self, record: RecordType, payload: bytes) -> bytes:
        """One record. Raises ValueError for a payload above 65,528 bytes."""
        if len(payload) > MAX_PLAINTEXT_SIZE - _HEADER.size:
            raise ValueError(f"payload of {len(payload)} bytes")
        padding = -(_HEADER.size + len(payload)) % PADDING_UNIT
        plaintext = b"".join((_HEADER.pack(record, bytes(3), len(payload)), payload, bytes(padding)))
        prefix = _PREFIX.pack(len(plaintext) + TAG_SIZE)
        return prefix + self._cipher.encrypt(self._next_nonce(), plaintext, prefix)


class Opener(_Direction):
    """Opens records of one direction."""

    def open_message(self, message: bytes) -> Iterator[tuple[RecordType, bytes]]:
        """The records of one message, in order. Raises SessionError at the first that is not right."""
        if not 0 < len(message) <= MAX_MESSAGE_SIZE:
            raise _broken("session.message-size", f"{len(message)} bytes", f"1 to {MAX_MESSAGE_SIZE}")
        offset = 0
        while offset < len(message):
            size = self._record_size(message, offset)
            yield self._open(
                message[offset : offset + _PREFIX.size], message[offset + _PREFIX.size : offset + size]
            )
            offset += size

    @staticmethod
    def _record_size(message: bytes, offset: int) -> int:
        if len(message) - offset < _PREFIX.size:
            raise _broken("session.truncated", f"{len(message) - offset} bytes", "a whole record")
        (size,) = _PREFIX.unpack_from(message, offset)
        plaintext_size = size - TAG_SIZE
        if not PADDING_UNIT <= plaintext_size <= MAX_PLAINTEXT_SIZE or plaintext_size % PADDING_UNIT:
            raise _broken("session.record-size", f"{size} bytes", "a padded record")
        if size > len(message) - offset - _PREFIX.size:
            raise _broken("session.truncated", f"{len(message) - offset} bytes", f"{size} bytes of record")
        return int(_PREFIX.size + size)

    def _open(self, prefix: bytes, sealed: bytes) -> tuple[RecordType, bytes]:
        try:
            plaintext = self._cipher.decrypt(self._next_nonce(), sealed, prefix)
        except InvalidTag:
            raise _broken(
                "session.authentication",
                f"record {self._sequence} does not open",
                "an unaltered record in order",
            ) from None
        kind, reserved, size = _HEADER.unpack_from(plaintext)
        if any(reserved) or size > len(plaintext) - _HEADER.size:
            raise _broken("session.record", "a malformed record", "zero reserved bytes and a true length")
        if len(plaintext) - _HEADER.size - size >= PADDING_UNIT or any(plaintext[_HEADER.size + size :]):
            raise _broken("session.padding", "other padding", "zeros to the next multiple of 256 bytes")
        try:
            record = RecordType(kind)
        except ValueError:
            raise _broken("session.record-type", f"type {kind:#04x}", "a known record type") from None
        return record, plaintext[_HEADER.size : _HEADER.size + size]


def _broken(check: str, found: str, required: str) -> SessionError:
    return SessionError(
        check,
        "the keep's messages did not arrive as the keep sent them",
        found=found,
        required=required,
        meaning="the host, or something on the way, altered, dropped, repeated or reordered bytes",
        remedy="what was printed before is not vouched for; run again, or choose another host",
    )
