"""All that travels between client and server, sans-IO: bytes in, messages out. Either side may be hostile.

A message is an 8-byte header {version u8 = 1, type u8, zero u16, length u32} and a body of that length; all
integers are little-endian. A round has these, in this order; a further round begins with a HELLO again.

===  ============  =========  ==========================================================================
1    HELLO         to server  nothing
2    CERTIFICATES  to client  six lengths u16, zero u32, then PDH, PEK, OCA, CEK, ASK, ARK
3    LAUNCH        to server  policy u32 ‖ owner's certificate[2084] ‖ session[128]
4    MEASUREMENT   to client  API major u8, minor u8, build u8, zero u8 ‖ measure[32] ‖ mnonce[16]
5    PACKET        to server  address u64 ‖ header[52] ‖ data, 16 to 20,480 bytes in units of 16
6    OUTPUT        to client  end u8, zero[3], what the machine printed: 0 to 4096 bytes
7    REFUSED       to client  step u8, zero u8, status u16 ‖ UTF-8 text, at most 200 bytes; ends the talk
===  ============  =========  ==========================================================================

Each type has bounds that are checked when its header is read, before the body is waited for. What parses
re-encodes to the same bytes. `MessageError` ends the conversation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Final, TypeAlias

from wasmkeep.errors import SessionError

__all__ = [
    "MAX_OUTPUT",
    "TO_CLIENT",
    "TO_SERVER",
    "AnyMessage",
    "Certificates",
    "End",
    "Hello",
    "Launch",
    "Measurement",
    "MessageError",
    "MessageReader",
    "Output",
    "Packet",
    "Refused",
    "Type",
    "encode",
]

MAX_OUTPUT: Final = 4096
_VERSION: Final = 1
_HEADER = struct.Struct("<BBHI")
_LENGTHS = struct.Struct("<6HI")
_CERTIFICATE, _MAX_AUTHORITY = 2084, 1600
_LAUNCH = struct.Struct("<I2084s128s")
_MEASUREMENT = struct.Struct("<4B32s16s")
_PACKET = struct.Struct("<Q52s")
_OUTPUT = struct.Struct("<B3s")
_REFUSED = struct.Struct("<BBH")
_UNIT, _MAX_DATA, _MAX_TEXT = 16, 0x5000, 200


class MessageError(SessionError):
    """The other side's bytes are no message of this protocol, or not the one that comes now."""

    def __init__(self, found: str, required: str) -> None:
        super().__init__(
            "demo.message",
            "the other side does not speak this protocol",
            found=found,
            required=required,
            remedy="use the same release of wasmkeep on both sides",
        )


class Type(IntEnum):
    HELLO = 1
    CERTIFICATES = 2
    LAUNCH = 3
    MEASUREMENT = 4
    PACKET = 5
    OUTPUT = 6
    REFUSED = 7


TO_SERVER: Final = frozenset({Type.HELLO, Type.LAUNCH, Type.PACKET})
TO_CLIENT: Final = frozenset(Type) - TO_SERVER

_BOUNDS: Final = {
    Type.HELLO: (0, 0),
    Type.CERTIFICATES: (_LENGTHS.size, _LENGTHS.size + 4 * _CERTIFICATE + 2 * _MAX_AUTHORITY),
    Type.LAUNCH: (_LAUNCH.size, _LAUNCH.size),
    Type.MEASUREMENT: (_MEASUREMENT.size, _MEASUREMENT.size),
    Type.PACKET: (_PACKET.size + _UNIT, _PACKET.size + _MAX_DATA),
    Type.OUTPUT: (_OUTPUT.size, _OUTPUT.size + MAX_OUTPUT),
    Type.REFUSED: (_REFUSED.size, _REFUSED.size + _MAX_TEXT),
}


@dataclass(frozen=True, slots=True)
class Hello:
    """The client asks for the platform's certificates."""

    type = Type.HELLO

    def body(self) -> bytes:
        return b""

    @classmethod
    def parse(cls, _body: bytes) -> Hello:
        return cls()


@dataclass(frozen=True, slots=True)
class Certificates:
    """The platform's six, as bytes that nobody has believed yet."""

    pdh: bytes
    pek: bytes
    oca: bytes
    cek: bytes
    ask: bytes
    ark: bytes

    type = Type.CERTIFICATES

    def body(self) -> bytes:
        parts: list[bytes] = [getattr(self, field.name) for field in fields(self)]
        return _LENGTHS.pack(*map(len, parts), 0) + b"".join(parts)

    @classmethod
    def parse(cls, body: bytes) -> Certificates:
        *lengths, zero = _LENGTHS.unpack_from(body)
        bounds = (_CERTIFICATE,) * 4 + (_MAX_AUTHORITY,) * 2
        if zero or any(length > most for length, most in zip(lengths, bounds, strict=True)):
            raise MessageError("certificates of other lengths", "four of 2084 bytes and two of at most 1600")
        if _LENGTHS.size + sum(lengths) != len(body):
            raise MessageError("certificates and lengths that disagree", "the lengths' sum")
        parts, at = [], _LENGTHS.size
        for length in lengths:
            parts.append(body[at : at + length])
            at += length
        return cls(*parts)


@dataclass(frozen=True, slots=True)
class Launch:
    """The guest policy (u32), the owner's certificate (2084 bytes) and the session (128)."""

    policy: int
    owner: bytes
    session: bytes

    type = Type.LAUNCH

    def body(self) -> bytes:
        return self.policy.to_bytes(4, "little") + self.owner + self.session

    @classmethod
    def parse(cls, body: bytes) -> Launch:
        return cls(*_LAUNCH.unpack(body))


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the firmware says of itself, and LAUNCH_MEASURE's 48 bytes."""

    api_major: int
    api_minor: int
    build: int
    measure: bytes
    mnonce: bytes

    type = Type.MEASUREMENT

    def body(self) -> bytes:
        return bytes((self.api_major, self.api_minor, self.build, 0)) + self.measure + self.mnonce

    @classmethod
    def parse(cls, body: bytes) -> Measurement:
        major, minor, build, zero, measure, mnonce = _MEASUREMENT.unpack(body)
        if zero:
            raise MessageError("a reserved byte that is set", "zero")
        return cls(major, minor, build, measure, mnonce)


@dataclass(frozen=True, slots=True)
class Packet:
    """LAUNCH_SECRET's packet, and the guest address that it is meant for: a wish, no one enforces it."""

    address: int
    header: bytes
    data: bytes

    type = Type.PACKET

    def body(self) -> bytes:
        return self.address.to_bytes(8, "little") + self.header + self.data

    @classmethod
    def parse(cls, body: bytes) -> Packet:
        address, header = _PACKET.unpack_from(body)
        data = body[_PACKET.size :]
        if len(data) % _UNIT:
            raise MessageError(f"{len(data)} bytes of data", "whole units of 16")
        return cls(address, header, data)


class End(IntEnum):
    """How the machine ended."""

    HALTED = 0
    CRASHED = 1
    STOPPED = 2


@dataclass(frozen=True, slots=True)
class Output:
    """What the machine printed, as the host says. Nothing vouches for it: the port is the hypervisor's."""

    end: End
    data: bytes

    type = Type.OUTPUT

    def body(self) -> bytes:
        return _OUTPUT.pack(self.end, bytes(3)) + self.data

    @classmethod
    def parse(cls, body: bytes) -> Output:
        end, zero = _OUTPUT.unpack_from(body)
        if any(zero) or end not in tuple(End):
            raise MessageError("an end that is none", "0 to 2 and three zero bytes")
        return cls(End(end), body[_OUTPUT.size :])


@dataclass(frozen=True, slots=True)
class Refused:
    """The host cannot go on at this step: its firmware refused (``status`` as in the SEV API), or itself."""

    step: int
    status: int
    text: str

    type = Type.REFUSED

    def body(self) -> bytes:
        text = self.text.encode("utf-8", "replace")[:_MAX_TEXT].decode("utf-8", "ignore")
        return _REFUSED.pack(self.step, 0, self.status) + text.encode()

    @classmethod
    def parse(cls, body: bytes) -> Refused:
        step, zero, status = _REFUSED.unpack_from(body)
        if zero:
            raise MessageError("a reserved byte that is set", "zero")
        try:
            text = body[_REFUSED.size :].decode("utf-8")
        except UnicodeDecodeError as error:
            raise MessageError("a text that is not UTF-8", "UTF-8") from error
        return cls(step, status, text)


AnyMessage: TypeAlias = Hello | Certificates | Launch | Measurement | Packet | Output | Refused
_PARSERS: Final[Mapping[Type, Callable[[bytes], AnyMessage]]] = {
    Type.HELLO: Hello.parse,
    Type.CERTIFICATES: Certificates.parse,
    Type.LAUNCH: Launch.parse,
    Type.MEASUREMENT: Measurement.parse,
    Type.PACKET: Packet.parse,
    Type.OUTPUT: Output.parse,
    Type.REFUSED: Refused.parse,
}


def encode(message: AnyMessage) -> bytes:
    """Header and body. ``ValueError`` for parts of sizes that the message cannot have."""
    body = message.body()
    least, most = _BOUNDS[message.type]
    if not least <= len(body) <= most:
        raise ValueError(f"{len(body)} bytes of {message.type.name}")
    return _HEADER.pack(_VERSION, message.type, 0, len(body)) + body


class MessageReader:
    """Bytes in, messages out. ``accepted`` are the types that may come from that side."""

    def __init__(self, accepted: frozenset[Type]) -> None:
        self._accepted = accepted
        self._pending = bytearray()

    def feed(self, data: bytes) -> None:
        self._pending += data

    @property
    def midway(self) -> bool:
        """Whether part of a message is here."""
        return bool(self._pending)

    def take(self) -> AnyMessage | None:
        """The next whole message, or None. Raises `MessageError`, from a header on already."""
        if len(self._pending) < _HEADER.size:
            return None
        kind, length = self._head()
        whole = _HEADER.size + length
        if len(self._pending) < whole:
            return None
        body = bytes(self._pending[_HEADER.size : whole])
        del self._pending[:whole]
        return _PARSERS[kind](body)

    def _head(self) -> tuple[Type, int]:
        version, number, zero, length = _HEADER.unpack_from(self._pending)
        if version != _VERSION or zero:
            raise MessageError(f"a header of version {version}", f"version {_VERSION}")
        if number not in tuple(self._accepted):
            raise MessageError(f"message type {number}", "a type that this side sends")
        least, most = _BOUNDS[Type(number)]
        if not least <= length <= most:
            raise MessageError(f"{length} bytes of {Type(number).name}", f"{least} to {most}")
        return Type(number), length
