"""A host's connection to the machine: its end, above all where whoever ends it is cancelled."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from wasmkeep.hardware.connection import Connection, MachineGone, connect
from wasmkeep.hardware.machine_calls import describe


@pytest.fixture
def silent(tmp_path: Path) -> socket.socket:
    """A machine that accepts and says nothing."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{tmp_path}/machine")
    listener.listen()
    return listener


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(MachineGone):
        connect(f"{tmp_path}/machine")


def test_a_cancelled_close_still_closes(silent: socket.socket) -> None:
    async def work() -> None:
        connection = Connection(connect(silent.getsockname()))
        waiting = asyncio.create_task(connection.call(describe()))
        closing = asyncio.create_task(connection.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert connection.closed
        with pytest.raises(MachineGone):
            await waiting

    with silent:
        asyncio.run(work())
