"""Messages: what is written is read, what is hostile is refused before it costs anything."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmkeep.demo import messages
from wasmkeep.demo.messages import (
    TO_CLIENT,
    TO_SERVER,
    AnyMessage,
    Certificates,
    End,
    Hello,
    Launch,
    Measurement,
    MessageError,
    MessageReader,
    Output,
    Packet,
    Refused,
    Type,
    encode,
)

EVERY = frozenset(Type)
EXAMPLES: list[AnyMessage] = [
    Hello(),
    Certificates(
        *(os.urandom(2084), os.urandom(2084), os.urandom(2084), os.urandom(2084)),
        *(os.urandom(832), os.urandom(1600)),
    ),
    Launch(0x1800000B, os.urandom(2084), os.urandom(128)),
    Launch(0, bytes(2084), bytes(128)),
    Measurement(0, 24, 15, os.urandom(32), os.urandom(16)),
    Packet(0x1000, os.urandom(52), os.urandom(48)),
    Packet(0, bytes(52), bytes(0x5000)),
    Output(End.HALTED, b"7\n"),
    Output(End.STOPPED, b""),
    Refused(3, 0x0B, "LAUNCH_START: BAD_MEASUREMENT — nein"),
]


def read(data: bytes, accepted: frozenset[Type] = EVERY) -> list[AnyMessage]:
    reader = MessageReader(accepted)
    reader.feed(data)
    found = []
    while (message := reader.take()) is not None:
        found.append(message)
    return found


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: message.type.name)
def test_what_is_written_is_read(message: AnyMessage) -> None:
    assert read(encode(message)) == [message]
    assert encode(read(encode(message))[0]) == encode(message)


def test_messages_come_in_any_pieces() -> None:
    whole = b"".join(map(encode, EXAMPLES))
    reader = MessageReader(EVERY)
    found = []
    for at in range(0, len(whole), 7):
        reader.feed(whole[at : at + 7])
        while (message := reader.take()) is not None:
            found.append(message)
    assert found == EXAMPLES
    assert not reader.midway


def test_each_side_sends_its_own_types_only() -> None:
    assert not TO_CLIENT & TO_SERVER
    assert TO_CLIENT | TO_SERVER == EVERY
    for message in EXAMPLES:
        other = TO_CLIENT if message.type in TO_SERVER else TO_SERVER
        with pytest.raises(MessageError):
            read(encode(message), other)


@pytest.mark.parametrize("kind", Type)
@pytest.mark.parametrize("length", [0, 1, 3, 0x5100, 1 << 31, (1 << 32) - 1])
def test_a_length_out_of_bounds_is_refused_by_its_header_alone(kind: Type, length: int) -> None:
    least, most = messages._BOUNDS[kind]
    header = struct.pack("<BBHI", 1, kind, 0, length)
    if least <= length <= most:
        assert read(header) == ([Hello()] if kind is Type.HELLO else [])
    else:
        with pytest.raises(MessageError):
            read(header)


@pytest.mark.parametrize(
    "wrong",
    [
        struct.pack("<BBHI", 2, 1, 0, 0),
        struct.pack("<BBHI", 1, 0, 0, 0),
        struct.pack("<BBHI", 1, 8, 0, 0),
        struct.pack("<BBHI", 1, 1, 1, 0),
        encode(EXAMPLES[4])[:11] + b"\x01" + encode(EXAMPLES[4])[12:],
        encode(EXAMPLES[7])[:8] + b"\x03" + encode(EXAMPLES[7])[9:],
        encode(EXAMPLES[7])[:9] + b"\x01" + encode(EXAMPLES[7])[10:],
        encode(EXAMPLES[9])[:9] + b"\x01" + encode(EXAMPLES[9])[10:],
        struct.pack("<BBHI", 1, 7, 0, 5) + bytes(4) + b"\xff",
        struct.pack("<BBHI", 1, 5, 0, 60 + 17) + bytes(77),
        struct.pack("<BBHI", 1, 2, 0, 16) + struct.pack("<6HI", 0, 0, 0, 0, 0, 1, 0),
        struct.pack("<BBHI", 1, 2, 0, 16) + struct.pack("<6HI", 0, 0, 0, 0, 0, 0, 1),
        struct.pack("<BBHI", 1, 2, 0, 16 + 2085) + struct.pack("<6HI", 2085, 0, 0, 0, 0, 0, 0) + bytes(2085),
    ],
    ids=[str(number) for number in range(13)],
)
def test_what_is_malformed_is_refused(wrong: bytes) -> None:
    with pytest.raises(MessageError):
        read(wrong)


@given(st.binary(max_size=600))
def test_no_bytes_do_anything_but_parse_or_be_refused(data: bytes) -> None:
    try:
        found = read(data)
    except MessageError:
        return
    assert data.startswith(b"".join(map(encode, found)))


@given(st.sampled_from(EXAMPLES), st.data())
def test_an_altered_message_is_another_or_none(message: AnyMessage, data: st.DataObject) -> None:
    whole = bytearray(encode(message))
    at = data.draw(st.integers(0, min(len(whole), 40) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        found = read(bytes(whole))
    except MessageError:
        return
    assert message not in found


def test_a_message_of_impossible_sizes_is_not_sent() -> None:
    with pytest.raises(ValueError, match="LAUNCH"):
        encode(Launch(0, b"", b""))
    with pytest.raises(ValueError, match="OUTPUT"):
        encode(Output(End.HALTED, bytes(messages.MAX_OUTPUT + 1)))


def test_a_long_text_is_cut_between_characters() -> None:
    (message,) = read(encode(Refused(1, 0, "é" * 300)))
    assert message == Refused(1, 0, "é" * 100)
