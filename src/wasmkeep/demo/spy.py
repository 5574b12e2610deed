"""What others than the guest saw: of its memory, of the packet on the wire, of its registers.

A spy is an observer of the host's steps. It reads the guest's memory as three parties would: the hypervisor
through its own mapping, a device by DMA, and whoever takes the memory modules out of the freezing machine.
What they read is compared with the plaintext, never assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from wasmkeep.demo.machine import BareGuest
from wasmkeep.demo.messages import Measurement, Output
from wasmkeep.demo.program import ADDRESS, PROGRAM
from wasmkeep.errors import PlatformUnavailable

__all__ = ["LENGTH", "MemorySeen", "RegistersSeen", "Seen", "Spy", "View"]

LENGTH: Final = len(PROGRAM)
"""Bytes that are looked at, from the program's address."""


class View(StrEnum):
    HYPERVISOR = "hypervisor"
    DEVICE = "device"
    COLD_BOOT = "cold boot"


@dataclass(frozen=True, slots=True)
class MemorySeen:
    """What each view read at ``address`` after ``step``."""

    step: int
    address: int
    views: Mapping[View, bytes]

    def same_as(self, plaintext: bytes) -> bool:
        """Whether any of them reads the plaintext."""
        return any(data == plaintext[: len(data)] for data in self.views.values())


@dataclass(frozen=True, slots=True)
class RegistersSeen:
    """What the hypervisor read of the vCPU when the guest wrote to its port, by register."""

    step: int
    registers: Mapping[str, int]


Seen: TypeAlias = MemorySeen | RegistersSeen


class Spy:
    """Tells ``told`` what it sees, at each step of the server's."""

    wants_registers = True

    def __init__(self, told: Callable[[Seen], None]) -> None:
        self._told = told
        self._registers_told = False

    async def started(self, guest: BareGuest, answer: Measurement, elapsed_ns: int) -> None:  # noqa: ARG002
        self._registers_told = False
        await self._look(3, guest)

    async def injected(self, guest: BareGuest) -> None:
        await self._look(6, guest)

    async def at_output(self, registers: Mapping[str, int]) -> None:
        if not self._registers_told:  # the first character is enough
            self._registers_told = True
            self._told(RegistersSeen(6, registers))

    async def ended(self, guest: BareGuest, answer: Output, elapsed_ns: int) -> None: ...

    async def _look(self, step: int, guest: BareGuest) -> None:
        views = {}
        for view in View:
            with suppress(PlatformUnavailable):  # nobody can look like that on a real machine
                views[view] = await guest.look(view, ADDRESS, LENGTH)
        self._told(MemorySeen(step, ADDRESS, views))
