"""The simulated machine's socket: ioctls as frames, for both ends (described in docs/simulator.md).

All integers are little-endian. A request is a 24-byte header {length u32, file u16, segments u16, number u32,
zero u32, scalar u64}, then for each segment {address u64, size u32, zero u32}, then the segments' bytes.
Segment 0 is what the ioctl's argument points at; the others are the memory that pointers reach, by address.
A reply is a 16-byte header {length u32, result i32, segments u16, descriptors u16, zero u32}, then the same
for the segments that the kernel wrote. Lengths count the whole frame.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from wasmkeep.hardware.calls import Call, File

MAX_FRAME = 8 << 20  # bytes, either way
MAX_SEGMENTS = 6  # SEND_START has as many
LENGTH = struct.Struct("<I")
REQUEST = struct.Struct("<IHHIIQ")
REPLY = struct.Struct("<IiHHI")
# The table of n segments, for each n there may be.
_TABLES = tuple(struct.Struct("<" + "QII" * count) for count in range(MAX_SEGMENTS + 1))
_SEGMENT_SIZE = _TABLES[1].size
_FILES = tuple(File)

# Where the client puts segments: any distinct, page-aligned addresses do.
_ADDRESSES = tuple(0x1_0000_0000 * (index + 1) for index in range(MAX_SEGMENTS))
_INDEX = {address: index for index, address in enumerate(_ADDRESSES)}


class FrameError(Exception):
    """The peer's bytes are not a frame. Whoever finds one closes the connection."""


class Segment(NamedTuple):
    """`data` of a decoded frame is a view of it: valid until the buffer's next `space`."""

    address: int
    data: bytes | memoryview


class Request(NamedTuple):
    file: File
    number: int
    scalar: int
    segments: tuple[Segment, ...]


class Reply(NamedTuple):
    """`value` ≥ 0 as the ioctl returned, or −errno; `segments` as written by the kernel."""

    value: int
    segments: tuple[Segment, ...] = ()
    descriptors: int = 0


class Frame(NamedTuple):
    """A call with its bytes on the wire, as buffers for one sendmsg."""

    call: Call
    buffers: tuple[bytes, ...]


def encode_call(call: Call) -> Frame:
    """Raises ValueError where `call` does not fit a frame."""
    segments = call.placed(_ADDRESSES)
    count = len(segments)
    if count > MAX_SEGMENTS:
        raise ValueError("a frame has at most six segments")
    fields: list[int] = []
    length = REQUEST.size + _SEGMENT_SIZE * count
    for address, data in zip(_ADDRESSES, segments, strict=False):
        fields += (address, len(data), 0)
        length += len(data)
    if length > MAX_FRAME:
        raise ValueError("the call is longer than a frame may be")
    header = REQUEST.pack(length, call.file, count, call.number, 0, call.scalar)
    return Frame(call, (header + _TABLES[count].pack(*fields), *segments))


def result_memory(call: Call, reply: Reply) -> tuple[bytes, ...]:
    """The call's segments after `reply`. Raises `FrameError` where the reply wrote elsewhere."""
    memory = list(call.memory)
    for address, data in reply.segments:
        index = _INDEX.get(address, MAX_SEGMENTS)
        if index >= len(memory) or len(data) != len(memory[index]):
            raise FrameError("a reply wrote outside the call's memory")
        memory[index] = bytes(data)
    return tuple(memory)


def encode_reply(reply: Reply) -> bytes:
    fields: list[int] = []
    parts: list[bytes | memoryview] = [b""]
    length = REPLY.size
    for address, data in reply.segments:
        fields += (address, len(data), 0)
        parts.append(data)
        length += _SEGMENT_SIZE + len(data)
    count = len(reply.segments)
    parts[0] = REPLY.pack(length, reply.value, count, reply.descriptors, 0) + _TABLES[count].pack(*fields)
    return b"".join(parts)


def frame_length(buffer: bytes | memoryview, minimum: int) -> int:
    """Length of the frame that begins `buffer` (at least 4 bytes). Raises `FrameError` when out of bounds."""
    (length,) = LENGTH.unpack_from(buffer)
    if not minimum <= length <= MAX_FRAME:
        raise FrameError(f"a frame of {length} bytes")
    return int(length)


def _segments(frame: memoryview, offset: int, count: int) -> tuple[Segment, ...]:
    if count > MAX_SEGMENTS or offset + _SEGMENT_SIZE * count > len(frame):
        raise FrameError("too many segments")
    table = _TABLES[count].unpack_from(frame, offset)
    offset += _SEGMENT_SIZE * count
    segments = []
    for index in range(0, len(table), 3):
        address, size, zero = table[index : index + 3]
        if zero or offset + size > len(frame) or address + size >= 1 << 64:
            raise FrameError("a segment outside its frame")
        segments.append(Segment(address, frame[offset : offset + size]))
        offset += size
    if offset != len(frame):
        raise FrameError("bytes after the last segment")
    return tuple(segments)


def decode_request(frame: memoryview) -> Request:
    """A whole request frame. Raises `FrameError`."""
    _, file, count, number, zero, scalar = REQUEST.unpack_from(frame)
    if zero or file >= len(_FILES) or (count and scalar):
        raise FrameError("a malformed request header")
    return Request(_FILES[file], number, scalar, _segments(frame, REQUEST.size, count))


def decode_reply(frame: memoryview) -> Reply:
    """A whole reply frame. Raises `FrameError`."""
    _, value, count, descriptors, zero = REPLY.unpack_from(frame)
    if zero or descriptors > 1:
        raise FrameError("a malformed reply header")
    return Reply(value, _segments(frame, REPLY.size, count), descriptors)


class FrameBuffer:
    """Bytes in, whole frames out, in place. `minimum` is the size of the frames' header.

    Receive into `space()`, say how much with `received`, then `take` frames while there are any. A frame is a
    view that is valid until the next `space`.
    """

    def __init__(self, minimum: int, size: int = 1 << 16) -> None:
        self._minimum = minimum
        self._size = size
        self._buffer = memoryview(bytearray(size))
        self._start = 0  # of what was received and not taken
        self._end = 0

    def space(self) -> memoryview:
        """Room for more, at least for the rest of the frame under way. Raises `FrameError` from its length.

        A long frame gets a buffer of its own, which goes when everything in it has been taken.
        """
        pending = bytes(self._buffer[self._start : self._end])
        needed = self._size
        if len(pending) >= LENGTH.size:
            needed = max(needed, frame_length(pending, self._minimum))
        if needed > len(self._buffer) or (not pending and needed < len(self._buffer)):
            self._buffer = memoryview(bytearray(needed))
        self._buffer[: len(pending)] = pending
        self._start, self._end = 0, len(pending)
        return self._buffer[self._end :]

    def received(self, count: int) -> None:
        self._end += count

    def __bool__(self) -> bool:
        return self._end > self._start

    def take(self) -> memoryview | None:
        """The next whole frame, or None. Raises `FrameError` for a length out of bounds."""
        pending = self._end - self._start
        if pending < LENGTH.size:
            return None
        length = frame_length(self._buffer[self._start :], self._minimum)
        if pending < length:
            return None
        frame = self._buffer[self._start : self._start + length]
        self._start += length
        return frame
