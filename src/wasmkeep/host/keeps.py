"""The keeps that live on this host: who owns which, what all of them use, and the limits on that."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wasmkeep.host.endings import HOST_STOPPING, STOPPED, Ending
from wasmkeep.host.keep import Keep
from wasmkeep.host.machine import Platform, Tee
from wasmkeep.host.replies import Refused
from wasmkeep.host.settings import Limits
from wasmkeep.host.tap import PASS_THROUGH, LaunchOrder, Tap

__all__ = ["EndedKeep", "Keeps", "LivingKeep"]

log = logging.getLogger("wasmkeep.host")

_ENDED_KEPT = 1024
_ENDED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class LivingKeep:
    """A keep with what was asked for it. ``owner`` is the token that created it, as ``tokens`` names it."""

    keep: Keep
    owner: str
    image: str
    image_kind: str
    image_sha256: str
    memory: int
    tee: str


@dataclass(frozen=True, slots=True)
class EndedKeep:
    """What is left of a keep for a minute, so that a tenant who comes late still learns why."""

    identifier: str
    owner: str
    ending: Ending
    at: float


class Keeps:
    """All keeps of one machine."""

    def __init__(
        self,
        platform: Platform,
        limits: Limits,
        *,
        tap: Tap = PASS_THROUGH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._platform = platform
        self._limits = limits
        self._tap = tap
        self._clock = clock
        self._living: dict[str, LivingKeep] = {}
        self._ended: OrderedDict[str, EndedKeep] = OrderedDict()
        self._stopping = False

    def create(
        self, order: LaunchOrder, tee: Tee, *, owner: str, image: str, image_kind: str, image_sha256: str
    ) -> LivingKeep:
        """Start a keep; returns at once, while it is launched. Raises ``Refused`` where a limit says so."""
        self.check_limits(order.memory, owner, tee)
        keep = Keep(secrets.token_hex(16), order, self._platform, self._limits, self._tap)
        living = LivingKeep(keep, owner, image, image_kind, image_sha256, order.memory, tee.kind)
        self._living[keep.identifier] = living
        keep.start().add_done_callback(lambda task: self._gone(living, task))
        return living

    def check_limits(self, memory: int, owner: str, tee: Tee) -> None:
        """Raises ``Refused`` where one more keep of this kind and size would be above a limit."""
        limits = self._limits
        if self._stopping:
            raise Refused(503, "stopping", "the host is stopping")
        if memory > limits.keep_memory:
            raise Refused(
                422,
                "keep_memory",
                "a keep may not have so much memory here",
                found=f"{memory} bytes",
                required=f"at most {limits.keep_memory} bytes",
            )
        if self.count(owner) >= limits.keeps_per_token:
            raise Refused(
                429,
                "keeps_per_token",
                "this token has as many keeps as it may",
                found=f"{self.count(owner)} keeps",
                required=f"below {limits.keeps_per_token}",
            )
        for most, living in ((limits.keeps, len(self._living)), (tee.slots, self._sharing_slots(tee.kind))):
            if living >= most:
                raise Refused(
                    503,
                    "keeps",
                    "the host has as many keeps as it can",
                    found=f"{living} keeps",
                    required=f"below {most}",
                )
        used = sum(living.memory for living in self._living.values())
        if used + memory > limits.total_memory:
            raise Refused(
                503,
                "total_memory",
                "the host has not enough memory left",
                found=f"{limits.total_memory - used} bytes free",
                required=f"{memory} bytes",
            )

    def _sharing_slots(self, kind: str) -> int:
        """Keeps that have a key slot of the range that this kind takes its own from."""
        return sum(
            1
            for living in self._living.values()
            if living.keep.holds_slot and (living.tee == "sev") == (kind == "sev")
        )

    def holding(self, kind: str) -> int:
        """Keeps of this kind that have a key slot."""
        return sum(1 for living in self._living.values() if living.keep.holds_slot and living.tee == kind)

    def _gone(self, living: LivingKeep, task: asyncio.Task[None]) -> None:
        identifier = living.keep.identifier
        del self._living[identifier]
        ending = living.keep.ending or STOPPED
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("keep %s: a bug in the host ended it", identifier, exc_info=failure)
        self._ended[identifier] = EndedKeep(identifier, living.owner, ending, self._clock())
        while len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)

    def of(self, owner: str) -> Iterator[LivingKeep]:
        """The keeps of one token."""
        return (living for living in self._living.values() if living.owner == owner)

    def count(self, owner: str) -> int:
        return sum(1 for _ in self.of(owner))

    def get(self, identifier: str, owner: str) -> LivingKeep | EndedKeep:
        """One keep of this token's. Raises ``Refused`` for another token's as for one that never was."""
        found: LivingKeep | EndedKeep | None = self._living.get(identifier)
        if found is None:
            found = self._ended.get(identifier)
            if found is not None and self._clock() - found.at > _ENDED_SECONDS:
                del self._ended[identifier]
                found = None
        if found is None or found.owner != owner:
            raise Refused(404, "no_such_keep", "this token has no such keep")
        return found

    def end_of_owner(self, owner: str) -> None:
        """End every keep of a token that is no longer valid."""
        for living in self.of(owner):
            living.keep.end(STOPPED)

    def owners(self) -> set[str]:
        return {living.owner for living in self._living.values()}

    async def stop(self) -> None:
        """End all keeps and wait until nothing is left of them. No new ones are taken."""
        self._stopping = True
        keeps = [living.keep for living in self._living.values()]
        for keep in keeps:
            keep.end(HOST_STOPPING)
        await asyncio.gather(*(keep.ended() for keep in keeps))
