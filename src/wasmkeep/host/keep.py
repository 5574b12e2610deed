"""One keep's life, as one task: launched, run to its first message, joined by its tenant, relayed, ended.

The host carries opaque messages: one message of the tenant's WebSocket is one filling of the window, either
way. Every wait has a limit. Whatever happens, the guest is destroyed and the tenant told why; nothing of it
stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from wasmkeep.errors import WasmkeepError
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.host import endings, launch_sev, launch_snp
from wasmkeep.host.endings import Ending, EndKeep
from wasmkeep.host.inbox import Inbox
from wasmkeep.host.machine import Guest, Platform, SnpGuest
from wasmkeep.host.settings import Limits
from wasmkeep.host.tap import LaunchOrder, SecretPacket, Tap
from wasmkeep.host.watch import Watch
from wasmkeep.host.window import (
    Exchange,
    GuestMessage,
    Last,
    Refusal,
    answer_guest_message,
    deliver,
    read_exit,
    write_hints,
)

__all__ = ["Channel", "Keep"]

log = logging.getLogger("wasmkeep.host")

CLOSE_SECONDS = 10.0
"""How long destroying the guest may take."""
_EMPTY_EXCHANGES = 64
"""Exchanges in a row that carry nothing before a keep is answered no faster than every ``_POLL_SECONDS``."""
_POLL_SECONDS = 0.001
_NANOSECOND = 1e-9


class Channel(Protocol):
    """The way to a tenant. ``send`` waits while the tenant is slow; ``close`` works in any state, soon."""

    async def send(self, message: bytes) -> None: ...
    async def close(self, ending: Ending) -> None: ...


class Keep:
    """A keep that lives, from the request for it to its end. ``order`` is what was asked to be launched."""

    def __init__(
        self, identifier: str, order: LaunchOrder, platform: Platform, limits: Limits, tap: Tap
    ) -> None:
        self.identifier = identifier
        self.ending: Ending | None = None
        self._order = order
        self._platform = platform
        self._limits = limits
        self._tap = tap
        self._inbox = Inbox()
        self._channel: Channel | None = None
        self._attached = asyncio.Event()
        self._booted = False
        self._holds_slot = order.tee == "snp"
        # Those that the kernel may pass on; it does so before this host sees any.
        self._passing = 0 if tap.guest_messages else limits.guest_messages
        self._guest_messages = self._passing
        self._empty_exchanges = 0
        self._guest: Guest | None = None
        self._asking: SnpGuest | None = None
        self._task: asyncio.Task[None] | None = None
        self._wanted_ending: Ending | None = None
        self._closing = False
        self._watch = Watch(self.end)

    # What the daemon and the tenant's connection do.

    def start(self) -> asyncio.Task[None]:
        """Begin to live; the task ends when nothing of the keep is left."""
        self._task = asyncio.create_task(self._live(), name=f"keep {self.identifier}")
        return self._task

    @property
    def state(self) -> str:
        """``launching``, ``waiting`` (for its tenant), ``connected`` or ``ending``."""
        if self._closing:
            return "ending"
        if self._channel is not None:
            return "connected"
        return "launching" if self._guest is None else "waiting"

    @property
    def holds_slot(self) -> bool:
        """Whether it has a key slot, or is about to: on SEV and SEV-ES only once its tenant has spoken."""
        return self._holds_slot

    def attach(self, channel: Channel) -> bool:
        """Give the keep its tenant's connection: once in its life. False where it had one, or is ending."""
        if self._channel is not None or self._closing:
            return False
        self._channel = channel
        self._attached.set()
        return True

    async def accept(self, message: bytes) -> None:
        """A message of the tenant's; waits until there is room for another one."""
        for altered in await self._tap.to_keep(self.identifier, message):
            self._inbox.put(altered)
        await self._inbox.has_room()

    def end(self, ending: Ending) -> None:
        """End the keep now, wherever it is. Without effect on one that is ending."""
        if self._closing or self._wanted_ending is not None or self._task is None:
            return
        self._wanted_ending = ending
        self._task.cancel()

    async def ended(self) -> None:
        """Wait until nothing of the keep is left."""
        if self._task is not None:
            await asyncio.wait([self._task])

    # Its life.

    async def _live(self) -> None:
        ending = endings.INTERNAL
        lifetime = asyncio.get_running_loop().call_later(
            self._limits.lifetime_seconds,
            self.end,
            endings.timed_out("the keep's lifetime is over", self._limits.lifetime_seconds),
        )
        try:
            ending = await self._relay(await self._launch())
        except EndKeep as end:
            ending = end.ending
        except (WasmkeepError, OSError) as error:
            ending = _failure(error)
        except asyncio.CancelledError:
            ending = self._wanted_ending or endings.HOST_STOPPING
        finally:
            self._closing = True
            self.ending = ending
            lifetime.cancel()
            self._watch.close()
            await self._close(ending)

    async def _launch(self) -> Guest:
        order = self._tap.launch(self.identifier, self._order)
        if order.tee == "snp":
            with self._watch.limit(self._limits.boot_seconds, "the launch took too long"):
                self._guest = self._asking = await launch_snp.launch(self._platform, order, self._passing)
        else:
            self._guest = await launch_sev.launch(self._platform, order, self)
        guest = self._guest
        write_hints(guest.window, order.nonce, order.tenant_key_digest, order.tsc_khz)
        return guest

    # What a launch of SEV or SEV-ES asks of its keep (``launch_sev.Talk``).

    async def receive(self, what: str) -> bytes:
        """The tenant's next message of its launch."""
        await self._joined()
        with self._watch.limit(self._limits.launch_seconds, f"{what} did not come"):
            return await self._inbox.wait(None) or b""

    async def send(self, message: bytes) -> None:
        await self._send(await self._joined(), message)

    def secrets(self, packet: SecretPacket) -> tuple[SecretPacket, ...]:
        return tuple(self._tap.secrets(self.identifier, packet))

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step of the machine's."""
        self._holds_slot = True
        with self._watch.limit(self._limits.boot_seconds, "the launch took too long"):
            yield

    async def _relay(self, guest: Guest) -> Ending:
        """Run the keep and serve its exits until it ends itself. Raises ``EndKeep`` for every other end."""
        while True:
            await self._run(guest)
            match read_exit(guest.window, self._order.tee):
                case Exchange() as exchange:
                    await self._exchange(guest, exchange)
                case GuestMessage() as message:
                    await self._pass_to_secure_processor(message)
                case Last(message):
                    await self._send(await self._joined(), message)
                    return endings.DONE
                case Refusal(message, code, detail):
                    await self._send(await self._joined(), message)
                    return endings.refused(code, detail)

    async def _run(self, guest: Guest) -> None:
        seconds = self._limits.compute_seconds if self._booted else self._limits.boot_seconds
        self._tap.resuming(self.identifier, guest.window)
        with self._watch.limit(seconds, "the keep ran without an exit"):
            stopped = await guest.run()
        self._tap.exited(self.identifier, guest.window)
        if stopped.kind != "vmgexit":
            where = "" if stopped.rip is None else f" at {stopped.rip:#x}"
            raise EndKeep(endings.misbehaved(f"it stopped ({stopped.kind}){where}"))

    async def _pass_to_secure_processor(self, message: GuestMessage) -> None:
        guest = self._asking
        if guest is None:
            raise EndKeep(endings.INTERNAL)
        self._guest_messages += 1
        if self._guest_messages > self._limits.guest_messages:
            raise EndKeep(endings.misbehaved(f"more than {self._limits.guest_messages} guest messages"))

        async def forward() -> int:
            return await guest.guest_request(message.request_gpa, message.response_gpa)

        with self._watch.limit(self._limits.stall_seconds, "the secure processor did not answer"):
            exitinfo2 = await self._tap.guest_message(self.identifier, guest.window, forward)
        answer_guest_message(guest.window, exitinfo2)

    async def _exchange(self, guest: Guest, exchange: Exchange) -> None:
        channel = await self._joined()
        await self._send(channel, exchange.message)
        if not self._booted:
            self._booted = True
            self._platform.begin_next()  # while the tenant judges the evidence
        answer = self._inbox.take()
        if answer is None:
            answer = await self._await_message(exchange)
        deliver(guest.window, answer or b"")

    async def _await_message(self, exchange: Exchange) -> bytes | None:
        """A message of the tenant's, or None where the keep's wait is over first."""
        idle = self._limits.idle_seconds
        wait = None if exchange.wait is None else exchange.wait * _NANOSECOND
        if wait is None or wait >= idle:
            with self._watch.limit(idle, "the keep waited for its tenant too long"):
                return await self._inbox.wait(None)
        if exchange.message or wait >= _POLL_SECONDS:
            self._empty_exchanges = 0
        else:
            # A keep that asks again and again for what is not there costs the others nothing.
            self._empty_exchanges += 1
            if self._empty_exchanges > _EMPTY_EXCHANGES:
                wait = _POLL_SECONDS
        return await self._inbox.wait(wait)

    async def _joined(self) -> Channel:
        """The tenant's connection, waited for once."""
        if self._channel is None:
            with self._watch.limit(self._limits.connect_seconds, "no tenant connected"):
                await self._attached.wait()
        if self._channel is None:
            raise EndKeep(endings.INTERNAL)
        return self._channel

    async def _send(self, channel: Channel, message: bytes) -> None:
        if not message:
            return
        with self._watch.limit(self._limits.stall_seconds, "the tenant took no more output"):
            for altered in await self._tap.to_tenant(self.identifier, message):
                await channel.send(altered)

    # Its end.

    async def _close(self, ending: Ending) -> None:
        if ending.notable:
            log.warning("keep %s: %s", self.identifier, ending.reason)
        self._inbox.shut()
        if self._channel is not None:
            await self._channel.close(ending)
        if self._guest is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._guest.close()
            except (TimeoutError, WasmkeepError, OSError) as error:
                log.error(
                    "keep %s: the machine did not confirm its end (%s)", self.identifier, type(error).__name__
                )


def _failure(error: WasmkeepError | OSError) -> Ending:
    if isinstance(error, FirmwareError) and error.status == SevStatus.RESOURCE_LIMIT:
        return endings.NO_SLOT
    return endings.machine_failed(error.message if isinstance(error, WasmkeepError) else type(error).__name__)
