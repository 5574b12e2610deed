"""The window as the host reads it: the interface and nothing else, whatever a keep writes."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.host import machine
from wasmkeep.host.endings import EndKeep
from wasmkeep.host.window import (
    DATA_SIZE,
    FOREVER,
    WINDOW_SIZE,
    Exchange,
    GuestMessage,
    Last,
    Refusal,
    answer_guest_message,
    deliver,
    read_exit,
    write_hints,
)


@pytest.fixture
def window() -> memoryview:
    return memoryview(bytearray(WINDOW_SIZE))


def test_an_exchange(window: memoryview) -> None:
    machine.exchange(window, b"message", 5)
    assert read_exit(window) == Exchange(b"message", 5)


def test_all_ones_wait_as_long_as_it_takes(window: memoryview) -> None:
    machine.exchange(window, b"", FOREVER)
    assert read_exit(window) == Exchange(b"", None)


def test_an_end(window: memoryview) -> None:
    machine.end(window, b"last")
    assert read_exit(window) == Last(b"last")


def test_a_refusal(window: memoryview) -> None:
    machine.refuse(window, 9, 0x10_0040)
    assert read_exit(window) == Refusal(b"", 9, 0x10_0040)


def test_a_guest_message(window: memoryview) -> None:
    machine.guest_message(window)
    assert read_exit(window) == GuestMessage(0x20_2000, 0x20_3000)


def test_the_largest_message_fits_and_one_byte_more_does_not(window: memoryview) -> None:
    machine.exchange(window, b"m" * DATA_SIZE)
    assert read_exit(window) == Exchange(b"m" * DATA_SIZE, None)
    struct.pack_into("<I", window, machine.CONTROL + 4, DATA_SIZE + 1)
    with pytest.raises(EndKeep, match="983041 bytes"):
        read_exit(window)


def spoil(window: memoryview, field: str) -> None:
    """Change one thing of a proper exchange."""
    match field:
        case "exit code":
            struct.pack_into("<Q", window, machine.EXITCODE, 0x7C)
        case "input instead of output":
            struct.pack_into("<Q", window, machine.INFO1, machine.PORT_10 | 1)
        case "another port":
            struct.pack_into("<Q", window, machine.INFO1, 0x0011_0210)
        case "sixteen bits":
            struct.pack_into("<Q", window, machine.INFO1, 0x0010_0220)
        case "high bits":
            struct.pack_into("<Q", window, machine.INFO1, machine.PORT_10 | 1 << 40)
        case "second information":
            struct.pack_into("<Q", window, machine.INFO2, 1)
        case "protocol version":
            struct.pack_into("<H", window, machine.VERSION, 1)
        case "usage":
            struct.pack_into("<I", window, machine.USAGE, 1)
        case "no valid bit":
            window[machine.BITMAP : machine.BITMAP + 16] = bytes(16)
        case "a valid bit too many":
            window[machine.BITMAP] |= 1
        case "operation 0":
            struct.pack_into("<I", window, machine.CONTROL, 0)
        case "operation 4":
            struct.pack_into("<I", window, machine.CONTROL, 4)
        case "length":
            struct.pack_into("<I", window, machine.CONTROL + 4, 2**32 - 1)


@pytest.mark.parametrize(
    "field",
    [
        "exit code",
        "input instead of output",
        "another port",
        "sixteen bits",
        "high bits",
        "second information",
        "protocol version",
        "usage",
        "no valid bit",
        "a valid bit too many",
        "operation 0",
        "operation 4",
        "length",
    ],
)
def test_what_the_interface_does_not_have_ends_the_keep(window: memoryview, field: str) -> None:
    machine.exchange(window, b"message")
    read_exit(window)
    spoil(window, field)
    with pytest.raises(EndKeep) as ended:
        read_exit(window)
    assert ended.value.ending.code == 4002


@pytest.mark.parametrize(
    ("info1", "info2"),
    [
        (0, 0x20_3000),
        (0x20_2000, 0x20_2000),
        (0x20_3000, 0x20_2000),
        (0x20_2001, 0x20_3000),
        (2**63, 0x20_3000),
    ],
)
def test_a_guest_message_elsewhere_ends_the_keep(window: memoryview, info1: int, info2: int) -> None:
    machine.guest_message(window)
    struct.pack_into("<QQ", window, machine.INFO1, info1, info2)
    with pytest.raises(EndKeep):
        read_exit(window)


@given(st.lists(st.tuples(st.integers(0, 0x1FFF), st.integers(0, 255)), max_size=12), st.booleans())
def test_any_control_bytes_are_read_or_end_the_keep(writes: list[tuple[int, int]], start_well: bool) -> None:
    window = memoryview(bytearray(WINDOW_SIZE))
    if start_well:
        machine.exchange(window, b"message")
    for offset, value in writes:
        window[offset] = value
    with contextlib.suppress(EndKeep):
        found = read_exit(window)
        assert isinstance(found, Exchange | Last | Refusal | GuestMessage)


@given(st.binary(max_size=2000))
def test_what_is_delivered_is_what_the_keep_gets(message: bytes) -> None:
    window = memoryview(bytearray(WINDOW_SIZE))
    machine.exchange(window)
    deliver(window, message)
    assert machine.received(window) == message
    assert struct.unpack_from("<QQ", window, machine.INFO1) == (0, 0)


def test_a_message_never_leaves_the_data_area(window: memoryview) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        deliver(window, bytes(DATA_SIZE + 1))
    assert not any(window)


def test_the_secure_processors_answer_stands_in_exitinfo2(window: memoryview) -> None:
    machine.guest_message(window)
    answer_guest_message(window, 0x1_0000_0016)
    assert struct.unpack_from("<QQ", window, machine.INFO1) == (0, 0x1_0000_0016)


def test_hints_stand_where_the_keep_looks(window: memoryview) -> None:
    write_hints(window, b"n" * 32, b"k" * 32, 2_400_000)
    assert window[0x1200:0x1220] == b"n" * 32
    assert window[0x1220:0x1240] == b"k" * 32
    assert struct.unpack_from("<Q", window, 0x1240) == (2_400_000,)
