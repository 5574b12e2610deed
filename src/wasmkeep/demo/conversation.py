"""A round as the client lives it: step by step over a channel, each with the time that it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from wasmkeep.demo.channel import Exchange
from wasmkeep.demo.client import ChainValid, Client, HostGaveUp, MeasurementValid, Ran, Sealed, SessionMade
from wasmkeep.demo.messages import AnyMessage, Certificates, Measurement, MessageError, Output, Refused

__all__ = ["Fact", "Measured", "Step", "play"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Step 3. The host says that it launched and measured something; step 4 tells what."""

    answer: Measurement


Fact: TypeAlias = ChainValid | SessionMade | Measured | MeasurementValid | Sealed | Ran

M = TypeVar("M", bound=AnyMessage)


@dataclass(frozen=True, slots=True)
class Step:
    """``number`` as on the talk's slide; a step of the server's takes as long as the client waits for it."""

    number: int
    fact: Fact
    elapsed_ns: int


async def play(client: Client, channel: Exchange, told: Callable[[Step], None]) -> None:
    """One round: six steps, each told to ``told``, whose own time is not counted.

    Raises `Rejected` at the step that refuses, `HostGaveUp`, `SessionError`, `TimedOut`.
    """
    step = _Steps(told)
    await channel.send(client.hello())
    step(client.validate_chain(await _expect(channel, Certificates)))
    made = client.make_session()
    step(made)
    await channel.send(made.launch)
    measurement = await _expect(channel, Measurement)
    step(Measured(measurement))
    step(client.validate_measurement(measurement))
    sealed = client.seal()
    step(sealed)
    await channel.send(sealed.packet)
    step(client.accept(await _expect(channel, Output)))


async def _expect(channel: Exchange, kind: type[M]) -> M:
    message = await channel.receive()
    if isinstance(message, Refused):
        raise HostGaveUp(message)
    if not isinstance(message, kind):
        raise MessageError(f"the message {message.type.name}", f"the message {kind.type.name}")
    return message


class _Steps:
    """Counts steps and their times."""

    def __init__(self, told: Callable[[Step], None]) -> None:
        self._told = told
        self._number = 0
        self._began = time.perf_counter_ns()

    def __call__(self, fact: Fact) -> None:
        took = time.perf_counter_ns() - self._began
        self._number += 1
        self._told(Step(self._number, fact, took))
        self._began = time.perf_counter_ns()
