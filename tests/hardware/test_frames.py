"""Frames: what is sent arrives, and what is no frame is refused by name."""

from __future__ import annotations

import contextlib
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmkeep.hardware import kvm_snp, machine_calls, psp_sev
from wasmkeep.hardware.calls import Call, File
from wasmkeep.hardware.frames import (
    MAX_FRAME,
    MAX_SEGMENTS,
    REPLY,
    REQUEST,
    FrameBuffer,
    FrameError,
    Reply,
    Segment,
    decode_reply,
    decode_request,
    encode_call,
    encode_reply,
    result_memory,
)

SOAK = bool(os.environ.get("WASMKEEP_SOAK"))
MANY = settings(max_examples=5000 if SOAK else 150, deadline=None, derandomize=not SOAK)

CALLS = [
    psp_sev.snp_platform_status(),
    psp_sev.get_id(),
    kvm_snp.snp_launch_update(0x10_0000, bytes(range(256)) * 32, 8192, 1),
    kvm_snp.snp_launch_finish(bytes(32), bytes(96), bytes(4096)),
    machine_calls.create_guest(64 << 20),
    machine_calls.run(),
]


def wire(call: Call) -> bytes:
    return b"".join(encode_call(call).buffers)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_a_call_arrives_with_the_memory_its_pointers_reach(call: Call) -> None:
    request = decode_request(memoryview(wire(call)))
    assert (request.file, request.number, request.scalar) == (call.file, call.number, call.scalar)
    assert [segment.address % 4096 for segment in request.segments] == [0] * len(call.memory)
    for pointer in call.pointers:
        (address,) = struct.unpack_from("<Q", request.segments[pointer.holder].data, pointer.offset)
        assert address == request.segments[pointer.target].address
    for segment, data in zip(request.segments, call.memory, strict=True):
        assert len(segment.data) == len(data)


def test_a_reply_arrives_and_lands_in_the_callers_memory() -> None:
    call = psp_sev.get_id()
    request = decode_request(memoryview(wire(call)))
    wrote = Segment(request.segments[2].address, b"\x55" * 64)
    reply = decode_reply(memoryview(encode_reply(Reply(-5, (wrote,), 1))))
    assert reply == Reply(-5, (wrote,), 1)
    assert result_memory(call, reply) == (*call.memory[:2], b"\x55" * 64)


def test_a_reply_cannot_write_outside_the_callers_memory() -> None:
    call = psp_sev.snp_platform_status()
    for segment in (Segment(0x7000, b"x"), Segment(0x3_0000_0000, b"x"), Segment(0x1_0000_0000, b"short")):
        with pytest.raises(FrameError):
            result_memory(call, Reply(0, (segment,)))


def spoilt_requests() -> dict[str, bytes]:
    good = wire(CALLS[2])

    def put(offset: int, form: str, value: int) -> bytes:
        changed = bytearray(good)
        struct.pack_into(form, changed, offset, value)
        return bytes(changed)

    return {
        "unknown file": put(4, "<H", 9),
        "too many segments": put(6, "<H", MAX_SEGMENTS + 1),
        "fewer segments than bytes": put(6, "<H", 1),
        "reserved word set": put(12, "<I", 1),
        "scalar beside segments": put(16, "<Q", 1),
        "segment longer than the frame": put(REQUEST.size + 8, "<I", 1 << 20),
        "segment beyond the address space": put(REQUEST.size, "<Q", (1 << 64) - 1),
        "reserved word of a segment set": put(REQUEST.size + 12, "<I", 1),
        "bytes after the end": good + b"\0",
        "a byte missing": good[:-1],
    }


@pytest.mark.parametrize("name", spoilt_requests())
def test_a_malformed_request_is_refused(name: str) -> None:
    with pytest.raises(FrameError):
        decode_request(memoryview(spoilt_requests()[name]))


@MANY
@given(st.binary(min_size=REQUEST.size, max_size=400))
def test_no_bytes_surface_as_another_error(data: bytes) -> None:
    for decode in (decode_request, decode_reply):
        with contextlib.suppress(FrameError):
            decode(memoryview(data))


@MANY
@given(st.integers(0, 200), st.integers(0, 255), st.sampled_from(CALLS))
def test_a_changed_byte_is_refused_or_read_as_it_stands(position: int, value: int, call: Call) -> None:
    """One encoding: whatever decodes is what those bytes say, to the last."""
    good = bytearray(wire(call))
    good[position % len(good)] = value
    try:
        request = decode_request(memoryview(good))
    except FrameError:
        return
    assert sum(len(segment.data) for segment in request.segments) + REQUEST.size + 16 * len(
        request.segments
    ) == len(good)


@MANY
@given(st.lists(st.sampled_from(CALLS), min_size=1, max_size=6), st.lists(st.integers(1, 5000), min_size=1))
def test_frames_arrive_however_they_are_cut(calls: list[Call], cuts: list[int]) -> None:
    stream = b"".join(wire(call) for call in calls)
    buffer, taken, index = FrameBuffer(REQUEST.size, 256), [], 0
    while stream:
        space = buffer.space()
        count = min(len(space), len(stream), cuts[index % len(cuts)])
        index += 1
        space[:count] = stream[:count]
        stream = stream[count:]
        buffer.received(count)
        while (frame := buffer.take()) is not None:
            taken.append(bytes(frame))
    assert taken == [wire(call) for call in calls]
    assert not buffer


@pytest.mark.parametrize("length", [0, REPLY.size - 1, MAX_FRAME + 1, 0xFFFFFFFF])
def test_a_length_out_of_bounds_is_refused_before_anything_is_allocated(length: int) -> None:
    buffer = FrameBuffer(REPLY.size)
    buffer.space()[:4] = struct.pack("<I", length)
    buffer.received(4)
    with pytest.raises(FrameError):
        buffer.take()
    with pytest.raises(FrameError):
        buffer.space()


def test_a_call_too_long_for_a_frame_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="longer than a frame"):
        encode_call(Call("x", File.MACHINE, 1, (bytes(MAX_FRAME),)))
    with pytest.raises(ValueError, match="at most six"):
        encode_call(Call("x", File.MACHINE, 1, (b"",) * 7))
