"""A host that lies in the window: in every field it writes, and while the keep reads it."""

from __future__ import annotations

import os
import random
import struct
import threading
from collections.abc import Awaitable, Callable

import pytest

from tests.hostile.lying_host import Attempt, Liar, deploy_to_liar

RUNS = 1_000 if os.environ.get("WASMKEEP_SOAK") else 12
CONTROL, REQUEST, RESPONSE, DATA = 0x1000, 0x2000, 0x3000, 0x1_0000
INCOMING_LENGTH = CONTROL + 0x100
EXITINFO2 = 0x3A0
DATA_SIZE = 983_040


def harmless(result: Attempt) -> None:
    """Either the whole right result with its receipt, or a named error and nothing believed."""
    if result.outcome is not None:
        assert (result.outcome.exit_code, result.stdout) == (0, b"7\n")
    else:
        assert result.error is not None
        assert result.error.exit_code in (72, 75, 77, 78), result.error


class Writing(Liar):
    """Writes into the window right before the keep goes on, at one of its exits."""

    def __init__(self, exit_number: int, offset: int, data: bytes) -> None:
        super().__init__()
        self._exit_number, self._offset, self._data = exit_number, offset, data
        self.wrote = False

    def resuming(self, keep: str, window: memoryview) -> None:
        if self.exits == self._exit_number:
            window[self._offset : self._offset + len(self._data)] = self._data
            self.wrote = True


LENGTHS = [0, 1, 3, 4, 1167, 1168, 1169, DATA_SIZE, DATA_SIZE + 1, 0x7FFF_FFFF, 0xFFFF_FFFF]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("exit_number", [1, 2, 3])
def test_every_length_is_checked(length: int, exit_number: int) -> None:
    liar = Writing(exit_number, INCOMING_LENGTH, struct.pack("<I", length))
    result = deploy_to_liar(liar)
    assert liar.wrote
    harmless(result)
    if exit_number == 2:
        # Exit 2 delivers the package: a wrong length of it cannot run anything.
        assert result.outcome is None


@pytest.mark.parametrize("value", [1, 2, 0xFF, 1 << 32, 2 << 32, (1 << 64) - 1])
def test_every_failure_that_the_host_reports_for_a_guest_message_ends_the_keep(value: int) -> None:
    liar = Writing(1, EXITINFO2, struct.pack("<Q", value))
    result = deploy_to_liar(liar)
    assert liar.wrote
    assert result.outcome is None
    assert liar.from_tenant == []


class Relaying(Liar):
    """Alters the secure processor's answer to the keep."""

    def __init__(self, change: Callable[[memoryview], None], *, forward: bool = True) -> None:
        super().__init__()
        self._change, self._forward = change, forward

    async def guest_message(
        self, keep: str, window: memoryview, forward: Callable[[], Awaitable[int]]
    ) -> int:
        result = await forward() if self._forward else 0
        self._change(window)
        return result


@pytest.mark.parametrize(
    "offset",
    [0x00, 0x0F, 0x20, 0x24, 0x30, 0x31, 0x32, 0x34, 0x35, 0x36, 0x3C, 0x60, 0x64, 0x80, 0x400, 0x51F],
)
def test_an_altered_guest_message_is_refused_by_the_keep(offset: int) -> None:
    def flip(window: memoryview) -> None:
        window[RESPONSE + offset] ^= 1

    liar = Relaying(flip)
    result = deploy_to_liar(liar)
    assert result.outcome is None
    assert liar.from_keep == [], "no offer without a report"


def test_the_keeps_own_request_is_no_answer() -> None:
    def reflect(window: memoryview) -> None:
        window[RESPONSE : RESPONSE + 0x1000] = bytes(window[REQUEST : REQUEST + 0x1000])

    liar = Relaying(reflect, forward=False)
    assert deploy_to_liar(liar).outcome is None
    assert liar.from_keep == []


def test_no_answer_is_no_answer() -> None:
    liar = Relaying(lambda window: None, forward=False)
    assert deploy_to_liar(liar).outcome is None
    assert liar.from_keep == []


class Scribbling(Liar):
    """Writes all over the window from another thread while the keep runs."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.writes = 0

    def resuming(self, keep: str, window: memoryview) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._scribble, args=(window,))
        self._thread.start()

    def exited(self, keep: str, window: memoryview) -> None:
        super().exited(keep, window)
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _scribble(self, window: memoryview) -> None:
        places = (
            INCOMING_LENGTH,
            RESPONSE,
            DATA,
            DATA + 1168,
            EXITINFO2,
            self._random.randrange(len(window)),
        )
        while not self._stop.is_set():
            for _ in range(50):
                start = self._random.choice(places) + self._random.randrange(64)
                window[start % len(window)] = self._random.randrange(256)
                self.writes += 1


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_window_that_changes_while_it_is_read(seed: int) -> None:
    liar = Scribbling(seed)
    harmless(deploy_to_liar(liar))
    assert liar.writes > 0


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_window_full_of_noise_at_some_exit(seed: int) -> None:
    noise = random.Random(seed)
    where = noise.choice([CONTROL, REQUEST, RESPONSE, DATA, 0])
    liar = Writing(1 + seed % 3, where, noise.randbytes(0x1000))
    harmless(deploy_to_liar(liar))
