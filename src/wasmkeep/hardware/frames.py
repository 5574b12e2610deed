"""The simulated machine's socket: ioctls as frames, for both ends (described in docs/simulator.md).

All integers are little-endian. A request is a 24-byte header {length u32, file u16, segments u16, number u32,
zero u32, scalar u64}, then for each segment {address u64, size u32, zero u32}, then the segments' bytes.
Segment 0 is what the ioctl's argument points at; the others are the memory that pointers reach, by address.
A reply is a 16-byte header {length u32, result i32, segments u16, descriptors u16, zero u32}, then the same
for the segments that the kernel wrote. Lengths count the whole frame.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wasmkeep.hardware.calls import Call, File

MAX_FRAME = 8 << 20  # bytes, either way
MAX_SEGMENTS = 4
LENGTH = struct.Struct("<I")
REQUEST = struct.Struct("<IHHIIQ")
REPLY = struct.Struct("<IiHHI")
SEGMENT = struct.Struct("<QII")

# Where the client puts segments: any distinct, page-aligned addresses do.
_ADDRESSES = tuple(0x1_0000_0000 * (index + 1) for index in range(MAX_SEGMENTS))


class FrameError(Exception):
    """The peer's bytes are not a frame. Whoever finds one closes the connection."""


@dataclass(frozen=True, slots=True)
class Segment:
    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Request:
    file: File
    number: int
    scalar: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """`value` ≥ 0 as the ioctl returned, or −errno; `segments` as written by the kernel."""

    value: int
    segments: tuple[Segment, ...] = ()
    descriptors: int = 0


def encode_call(call: Call) -> list[bytes]:
    """`call` as buffers for one sendmsg."""
    segments = call.placed(_ADDRESSES)
    if len(segments) > MAX_SEGMENTS:
        raise ValueError("a frame has at most four segments")
    tables = [
        SEGMENT.pack(address, len(data), 0) for address, data in zip(_ADDRESSES, segments, strict=False)
    ]
    length = REQUEST.size + SEGMENT.size * len(segments) + sum(map(len, segments))
    if length > MAX_FRAME:
        raise ValueError("the call is longer than a frame may be")
    header = REQUEST.pack(length, call.file, len(segments), call.number, 0, call.scalar)
    return [header, *tables, *segments]


def result_memory(call: Call, reply: Reply) -> tuple[bytes, ...]:
    """The call's segments after `reply`. Raises `FrameError` where the reply wrote elsewhere."""
    memory = list(call.memory)
    for segment in reply.segments:
        index = _ADDRESSES.index(segment.address) if segment.address in _ADDRESSES else len(memory)
        if index >= len(memory) or len(segment.data) != len(memory[index]):
            raise FrameError("a reply wrote outside the call's memory")
        memory[index] = segment.data
    return tuple(memory)


def encode_reply(reply: Reply) -> bytes:
    parts = [SEGMENT.pack(segment.address, len(segment.data), 0) for segment in reply.segments]
    parts += [segment.data for segment in reply.segments]
    length = REPLY.size + sum(map(len, parts))
    return b"".join(
        [REPLY.pack(length, reply.value, len(reply.segments), reply.descriptors, 0), *parts],
    )


def frame_length(buffer: bytes | bytearray | memoryview, minimum: int) -> int:
    """Length of the frame that begins `buffer` (at least 4 bytes). Raises `FrameError` when out of bounds."""
    (length,) = LENGTH.unpack_from(buffer)
    if not minimum <= length <= MAX_FRAME:
        raise FrameError(f"a frame of {length} bytes")
    return int(length)


def _segments(frame: memoryview, offset: int, count: int) -> tuple[Segment, ...]:
    if count > MAX_SEGMENTS or offset + SEGMENT.size * count > len(frame):
        raise FrameError("too many segments")
    table = [SEGMENT.unpack_from(frame, offset + SEGMENT.size * index) for index in range(count)]
    offset += SEGMENT.size * count
    segments = []
    for address, size, zero in table:
        if zero or offset + size > len(frame) or address + size >= 1 << 64:
            raise FrameError("a segment outside its frame")
        segments.append(Segment(address, bytes(frame[offset : offset + size])))
        offset += size
    if offset != len(frame):
        raise FrameError("bytes after the last segment")
    return tuple(segments)


def decode_request(frame: memoryview) -> Request:
    """A whole request frame. Raises `FrameError`."""
    _, file, count, number, zero, scalar = REQUEST.unpack_from(frame)
    if zero or file not in File.__members__.values() or (count and scalar):
        raise FrameError("a malformed request header")
    return Request(File(file), number, scalar, _segments(frame, REQUEST.size, count))


def decode_reply(frame: memoryview) -> Reply:
    """A whole reply frame. Raises `FrameError`."""
    _, value, count, descriptors, zero = REPLY.unpack_from(frame)
    if zero or descriptors > 1:
        raise FrameError("a malformed reply header")
    return Reply(value, _segments(frame, REPLY.size, count), descriptors)


class FrameBuffer:
    """Bytes in, whole frames out. `minimum` is the size of the frames' header."""

    def __init__(self, minimum: int) -> None:
        self._buffer = bytearray()
        self._minimum = minimum

    def feed(self, data: bytes | memoryview) -> None:
        self._buffer += data

    def __bool__(self) -> bool:
        return bool(self._buffer)

    def has_frame(self) -> bool:
        return len(self._buffer) >= LENGTH.size and len(self._buffer) >= frame_length(
            self._buffer, self._minimum
        )

    def missing(self) -> int:
        """How many bytes the frame under way still lacks; at least 1, and 0 when one is complete."""
        if len(self._buffer) < LENGTH.size:
            return LENGTH.size - len(self._buffer)
        return max(0, frame_length(self._buffer, self._minimum) - len(self._buffer))

    def take(self) -> bytes:
        """The next whole frame; only after `has_frame`."""
        length = frame_length(self._buffer, self._minimum)
        frame = bytes(memoryview(self._buffer)[:length])
        del self._buffer[:length]
        return frame
