"""The server's half of a round: a host that has a secure processor, and whom nobody has to trust.

`Host` does what an honest one does, in steps that a cheating one replaces one by one (`tamper`). `Service`
answers one client's messages, round after round; `attend` does so over a channel. The machine itself is made
while the client validates certificates; nothing is launched before the client's session is here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Final, Protocol

from wasmkeep.demo.channel import ANSWER_SECONDS, Channel
from wasmkeep.demo.machine import BareGuest, Machine, Vouchers, What
from wasmkeep.demo.messages import (
    MAX_OUTPUT,
    AnyMessage,
    Certificates,
    End,
    Hello,
    Launch,
    Measurement,
    MessageError,
    Output,
    Packet,
    Refused,
)
from wasmkeep.demo.program import ADDRESS, MEMORY, PORT
from wasmkeep.errors import SessionError, WasmkeepError
from wasmkeep.hardware.sev_status import FirmwareError, status_name

__all__ = ["RUN_SECONDS", "Host", "Observer", "Quiet", "Service", "attend"]

RUN_SECONDS: Final = 5.0
"""How long the machine may run."""
_CERTIFICATE, _MEASURE = 2084, 32


class Observer(Protocol):
    """Whoever wants to see what the host does, and what it could look at meanwhile."""

    async def started(self, guest: BareGuest, answer: Measurement, elapsed_ns: int) -> None: ...

    async def injected(self, guest: BareGuest) -> None: ...

    async def at_output(self, registers: Mapping[str, int]) -> None: ...

    async def ended(self, guest: BareGuest, answer: Output, elapsed_ns: int) -> None: ...

    @property
    def wants_registers(self) -> bool: ...


class Quiet:
    """Looks at nothing."""

    wants_registers = False

    async def started(self, guest: BareGuest, answer: Measurement, elapsed_ns: int) -> None: ...

    async def injected(self, guest: BareGuest) -> None: ...

    async def at_output(self, registers: Mapping[str, int]) -> None: ...

    async def ended(self, guest: BareGuest, answer: Output, elapsed_ns: int) -> None: ...


class Host:
    """An honest host. One round at a time; `clear` ends one and destroys what it made."""

    entry = ADDRESS

    def __init__(self, machine: Machine, vouchers: Vouchers, observer: Observer | None = None) -> None:
        self.machine = machine
        self.vouchers = vouchers
        self.observer = observer or Quiet()
        self.round = 0
        self._making: asyncio.Task[BareGuest] | None = None
        self._guests: list[BareGuest] = []

    async def certificates(self) -> Certificates:
        """Step 1: what the platform exports, with what AMD publishes for it."""
        pdh, chain = await self.machine.pdh_cert_export()
        pek, oca = chain[:_CERTIFICATE], chain[_CERTIFICATE : 2 * _CERTIFICATE]
        return Certificates(pdh, pek, oca, self.vouchers.cek, self.vouchers.ask, self.vouchers.ark)

    def prepare(self) -> None:
        """Begin to make the machine that step 3 will launch."""
        self.round += 1
        self._making = asyncio.create_task(self.machine.create(MEMORY, self.entry))

    async def start(self, launch: Launch) -> Measurement:
        """Step 3: an empty machine, launched and measured."""
        guest = await self.new_guest()
        started = guest.launch_start(launch.policy, launch.owner, launch.session)
        # Sent in this order, without waiting for the answers in between: the machine goes in order too.
        _, measurement = await asyncio.gather(started, self.measure(guest))
        return measurement

    async def new_guest(self) -> BareGuest:
        """The one that `prepare` began, or another."""
        making, self._making = self._making, None
        guest = await (making or self.machine.create(MEMORY, self.entry))
        self._guests.append(guest)
        return guest

    @property
    def guest(self) -> BareGuest:
        """The one that the packet goes to."""
        return self._guests[-1]

    async def measure(self, guest: BareGuest) -> Measurement:
        """LAUNCH_MEASURE, and what the firmware says of itself."""
        measured = await guest.launch_measure()
        version = await self.machine.sev_version()
        firmware = version.api_major, version.api_minor, version.build
        return Measurement(*firmware, measured[:_MEASURE], measured[_MEASURE:])

    async def inject(self, packet: Packet) -> None:
        """Step 6: the secure processor opens the packet into the machine."""
        await self.guest.launch_secret(packet.header, packet.address, packet.data)
        await self.guest.launch_finish()

    async def run(self) -> Output:
        """Run the machine to its end, for so long; what it wrote to the serial port is its output."""
        printed = bytearray()
        end = End.STOPPED
        with suppress(TimeoutError):
            async with asyncio.timeout(RUN_SECONDS):
                end = await self._run(printed)
        return Output(end, bytes(printed))

    async def _run(self, printed: bytearray) -> End:
        while len(printed) < MAX_OUTPUT:
            out = await self.guest.run()
            if out.what is not What.OUTPUT:
                return End.HALTED if out.what is What.HALTED else End.CRASHED
            if self.observer.wants_registers:
                await self.observer.at_output(await self.guest.registers())
            if out.port == PORT:
                printed += out.value
        return End.STOPPED

    async def clear(self) -> None:
        """Destroy every machine of this round."""
        making, self._making = self._making, None
        if making is not None:
            making.cancel()
            (made,) = await asyncio.gather(making, return_exceptions=True)
            if not isinstance(made, BaseException):
                self._guests.append(made)
        while self._guests:
            await self._guests.pop().close()


class Service:
    """What one client gets of a host: an answer to each message, in the order of a round, round after round.

    ``failure`` is what stopped the host, where its answer was that it cannot go on.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._expected: type[Hello | Launch | Packet] = Hello
        self.rounds = 0
        self.failure: WasmkeepError | None = None

    @property
    def midway(self) -> bool:
        """Whether a round is under way."""
        return self._expected is not Hello

    async def answer(self, message: AnyMessage) -> AnyMessage:
        """Raises `MessageError` for one that does not come now."""
        if not isinstance(message, self._expected):
            required = f"the message {self._expected.type.name}"
            raise MessageError(f"the message {message.type.name}", required)
        if isinstance(message, Hello):
            self._expected = Launch
            return await self._or_why_not(1, _certified(self._host))
        if isinstance(message, Launch):
            self._expected = Packet
            return await self._or_why_not(3, _started(self._host, message))
        self._expected = Hello
        self.rounds += 1
        return await self._or_why_not(6, _ran(self._host, message))

    async def _or_why_not(self, step: int, work: Coroutine[object, object, AnyMessage]) -> AnyMessage:
        try:
            return await work
        except FirmwareError as error:
            self.failure = error
            text = f"the secure processor refused {error.command}: {status_name(error.status)}"
            return Refused(step, error.status & 0xFFFF, text)
        except WasmkeepError as error:
            self.failure = error
            return Refused(step, 0, error.message)


async def attend(host: Host, channel: Channel, *, rounds: int | None = None) -> None:
    """Serve rounds until the client hangs up, or that many. Raises `SessionError`, `TimedOut`.

    Where the host cannot go on, the client is told so, and the host's own error is raised.
    """
    service = Service(host)
    try:
        while service.midway or rounds is None or service.rounds < rounds:
            if not service.midway:
                await host.clear()
            message = await (channel.receive() if service.midway else channel.next(ANSWER_SECONDS))
            if message is None:
                return
            answer = await service.answer(message)
            if service.failure is not None:
                with suppress(SessionError):  # nobody listens any more; why the host gave up matters more
                    await channel.send(answer)
                raise service.failure
            await channel.send(answer)
    finally:
        await host.clear()


async def _certified(host: Host) -> Certificates:
    host.prepare()
    await asyncio.sleep(0)  # what makes the machine is on its way before the client needs the processor
    return await host.certificates()


async def _started(host: Host, launch: Launch) -> Measurement:
    began = time.perf_counter_ns()
    answer = await host.start(launch)
    await host.observer.started(host.guest, answer, time.perf_counter_ns() - began)
    return answer


async def _ran(host: Host, packet: Packet) -> Output:
    began = time.perf_counter_ns()
    await host.inject(packet)
    await host.observer.injected(host.guest)
    answer = await host.run()
    await host.observer.ended(host.guest, answer, time.perf_counter_ns() - began)
    return answer
