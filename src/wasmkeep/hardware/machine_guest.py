"""A guest of the simulated machine, of whatever kind: window, exits, end, and what its host sees of it."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from wasmkeep.hardware import machine_calls
from wasmkeep.hardware.calls import Call
from wasmkeep.hardware.connection import Answer, Connection
from wasmkeep.hardware.frames import encode_call
from wasmkeep.hardware.machine_calls import EXIT_PORT, MAX_READ, ExitReason, RunState, View
from wasmkeep.hardware.shell import checked

__all__ = ["Exit", "ExitKind", "MachineGuest"]

_OUT = 1  # RunIo.direction
Self = TypeVar("Self", bound="MachineGuest")


class ExitKind(StrEnum):
    VMGEXIT = "vmgexit"  # a keep wants its host: read the window
    SHUTDOWN = "shutdown"  # the guest is dead: a triple fault, a keep's other port, an exit nobody serves
    ENDED = "ended"  # this host closed the guest meanwhile
    INTERRUPTED = "interrupted"  # this host asked for something else meanwhile; run it again
    OUTPUT = "output"  # a bare guest wrote `data` to `port`
    INPUT = "input"  # a bare guest reads `port`: the next run answers
    MMIO = "mmio"  # a bare guest touched `gpa`, where no memory is; a read is answered by the next run
    HALTED = "halted"  # a bare guest executed HLT


@dataclass(frozen=True, slots=True)
class Exit:
    """Why a guest came out. `rip` and `cr2` of a dead guest whose registers its hypervisor may see.

    `port`, `size` and `count` are of a port access, `gpa` and `size` of an access outside memory; `data` is
    what the guest wrote.
    """

    kind: ExitKind
    reason: ExitReason | None = None
    rip: int | None = None
    cr2: int | None = None
    port: int | None = None
    gpa: int | None = None
    size: int = 0
    count: int = 1
    data: bytes = b""


class MachineGuest:
    """It lives as long as its connection: closed, lost or killed, the machine destroys it."""

    def __init__(
        self,
        connection: Connection,
        window: mmap.mmap | None,
        finished: Sequence[asyncio.Future[Answer]] = (),
    ) -> None:
        """`finished` are answers on their way that the first run waits for."""
        self.window = memoryview(window if window is not None else b"")
        self._finished = finished
        self._connection = connection
        self._mapping = window
        self._closing = False

    async def _perform(self, *calls: Call) -> tuple[bytes, ...]:
        memory: tuple[bytes, ...] = ()
        for answer in self._connection.submit([encode_call(call) for call in calls]):
            memory = checked(await answer)
        return memory

    async def set_vmsa(self, page: bytes) -> None:
        """The vCPU's initial state. SEV-ES and SNP measure it; under plain SEV it is the host's alone."""
        await self._perform(machine_calls.set_vmsa(page))

    async def host_read(self, gpa: int, size: int, view: View = View.HYPERVISOR) -> bytes:
        """What a read of the machine's memory gives: ciphertext, and plaintext in the window only."""
        pieces = [
            machine_calls.host_read(gpa + at, min(MAX_READ, size - at), view)
            for at in range(0, max(size, 1), MAX_READ)
        ]
        answers = self._connection.submit([encode_call(piece) for piece in pieces])
        return b"".join([checked(await answer)[1] for answer in answers])

    async def host_write(self, gpa: int, data: bytes, view: View = View.HYPERVISOR) -> None:
        """What the host writes there. In a private page it is taken for ciphertext."""
        await self._perform(*host_writes(gpa, data, view))

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Destroy the guest and wait until its key slot is free. At any time, also while it runs."""
        self._closing = True
        try:
            await self._connection.close()
        finally:
            self.window.release()
            if self._mapping is not None:
                with suppress(BufferError):  # somebody still holds a slice; it goes with that
                    self._mapping.close()


def host_writes(gpa: int, data: bytes, view: View = View.HYPERVISOR) -> list[Call]:
    """A write as calls that each are short enough."""
    return [
        machine_calls.host_write(gpa + at, data[at : at + MAX_READ], view)
        for at in range(0, max(len(data), 1), MAX_READ)
    ]


def keep_exit(state: RunState) -> Exit:
    """The exit of a guest with a window: it asks for something, or is dead."""
    reason = reason_of(state)
    if reason is ExitReason.IO and state.port == EXIT_PORT:
        return Exit(ExitKind.VMGEXIT, reason)
    return Exit(ExitKind.SHUTDOWN, reason, state.rip or None, state.cr2 or None)


def bare_exit(state: RunState, data: bytes) -> Exit:
    """The exit of a guest without a window; `data` begins with a port's values."""
    reason = reason_of(state)
    if reason is ExitReason.IO:
        output = state.direction == _OUT
        written = data[: state.size * state.count] if output else b""
        kind = ExitKind.OUTPUT if output else ExitKind.INPUT
        return Exit(kind, reason, port=state.port, size=state.size, count=state.count, data=written)
    if reason is ExitReason.MMIO:
        written = bytes(state.mmio_data)[: state.len] if state.is_write else b""
        return Exit(ExitKind.MMIO, reason, gpa=state.phys_addr, size=state.len, data=written)
    if reason is ExitReason.HLT:
        return Exit(ExitKind.HALTED, reason)
    return Exit(ExitKind.SHUTDOWN, reason, state.rip or None, state.cr2 or None)


def reason_of(state: RunState) -> ExitReason:
    try:
        return ExitReason(state.exit_reason)
    except ValueError:
        return ExitReason.UNKNOWN
