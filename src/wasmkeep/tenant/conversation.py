"""What is said after the evidence was accepted: delivery, the launch statement, the standard streams.

Delivery and listening run side by side, because a keep may refuse before it has the whole package; whoever
fails first ends both. That a connection was cut is always found by the listener, which may first find why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from wasmkeep.errors import PackageRefused, SessionError, TimedOut
from wasmkeep.protocol.events import (
    Ended,
    InputWanted,
    LaunchProven,
    Output,
    Refusal,
    SessionEvent,
    TrapReport,
)
from wasmkeep.tenant import events
from wasmkeep.tenant.traps import describe

if TYPE_CHECKING:
    from wasmkeep.protocol.session import TenantSession
    from wasmkeep.tenant import streams
    from wasmkeep.tenant.channel import Channel
    from wasmkeep.tenant.events import Watcher
    from wasmkeep.tenant.preparation import Prepared

SEND_TIMEOUT = 60.0
"""Seconds that one message may take to leave."""
LAUNCH_TIMEOUT = 60.0
"""Seconds from the end of delivery to the launch statement."""


class Conversation:
    """One accepted session, from delivery to receipt."""

    def __init__(
        self,
        channel: Channel,
        session: TenantSession,
        prepared: Prepared,
        *,
        emit: Watcher,
        stdin: streams.Input,
        stdout: streams.Output,
        stderr: streams.Output,
    ) -> None:
        self._channel = channel
        self._session = session
        self._prepared = prepared
        self._emit = emit
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr
        self._tasks: set[asyncio.Task[None]] = set()
        self._launched = asyncio.Event()
        self._delivered_ns = 0
        self.launch = b""
        self.trap = ""

    async def hold(self, delivery: Iterator[bytes]) -> Ended:
        """Raises SessionError, PackageRefused, TimedOut, OutputError."""
        try:
            async with asyncio.TaskGroup() as group:
                self._spawn(group, self._deliver(delivery))
                ended = await self._listen(group)
                for task in self._tasks:
                    task.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return ended

    def _spawn(self, group: asyncio.TaskGroup, work: Coroutine[object, object, None]) -> None:
        task = group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Iterator[bytes]) -> None:
        began, total = time.monotonic_ns(), 0
        with suppress(SessionError):  # the listener finds it too, and perhaps the reason first
            for message in delivery:
                async with bounded("room for more of the package", SEND_TIMEOUT):
                    await self._channel.send(message)
                total += len(message)
            self._delivered_ns = time.monotonic_ns()
            self._emit(
                events.Delivered(
                    program=self._prepared.name,
                    program_size=self._prepared.wasm_size,
                    arguments=self._prepared.argument_count,
                    environment=self._prepared.environment_count,
                    files=self._prepared.file_count,
                    file_bytes=self._prepared.file_bytes,
                    sealed_bytes=total,
                    elapsed_ns=self._delivered_ns - began,
                )
            )
            async with bounded("the launch statement", LAUNCH_TIMEOUT):
                await self._launched.wait()

    async def _listen(self, group: asyncio.TaskGroup) -> Ended:
        while True:
            message = await self._channel.receive()
            if message is None:
                self._session.close()
                raise RuntimeError("a session without its receipt cannot be complete")
            ended = None
            for event in self._session.receive(message):
                if isinstance(event, Ended):
                    ended = event  # and no record may follow it, which the session sees to
                else:
                    await self._handle(group, event)
            if ended is not None:
                return ended

    async def _handle(self, group: asyncio.TaskGroup, event: SessionEvent) -> None:
        match event:
            case Output():
                await (self._stderr if event.error else self._stdout).write(event.data)
            case InputWanted():
                self._spawn(group, self._answer(event.limit))
            case LaunchProven():
                self._proven(event)
            case TrapReport():
                trap = describe(event, self._prepared.program)
                self.trap = trap.name
                self._emit(events.Trapped(trap.name, trap.detail, trap.backtrace))
            case Refusal():
                raise _refused(event)

    def _proven(self, event: LaunchProven) -> None:
        self.launch = event.encoded
        self._launched.set()
        statement = event.statement
        self._emit(
            events.Launched(
                program_digest=statement.program_digest,
                target=statement.target,
                measurement=statement.measurement,
                memory_limit=statement.memory_limit,
                session_id=self._session.session_id,
                elapsed_ns=max(0, time.monotonic_ns() - self._delivered_ns),
            )
        )

    async def _answer(self, limit: int) -> None:
        data = await self._stdin.read(limit)
        with suppress(SessionError):
            await self._channel.send(self._session.send_input(data))


@asynccontextmanager
async def bounded(what: str, seconds: float) -> AsyncIterator[None]:
    """A bound on one wait; running into it raises TimedOut, which names ``what`` did not come."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimedOut(
            "session.stalled",
            f"{what} did not come",
            found=f"nothing for {seconds:.0f} s",
            meaning="the host, or the keep, stalls; the keep was given up",
            remedy="try again, or choose another host",
        ) from None


def _refused(event: Refusal) -> PackageRefused:
    return PackageRefused(
        "keep.package",
        "the keep refused the package",
        found=f"refusal {event.code}, detail {event.detail:#x} (docs/host-interface.md)",
        required="a package that this keep runs",
        meaning="tenant and keep disagree about the format; nothing ran",
        remedy="use the same wasmkeep release on both sides; if it is, this is a bug in wasmkeep",
    )
