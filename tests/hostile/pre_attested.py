"""A host that lies about a pre-attested launch, and what its tenant sends meanwhile.

The tenant's launch message is the first that it sends (keys wrapped for a platform that it verified), its
secret the second (sealed for a launch that it verified), and everything else comes after the keep's proof.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.hostile.lying_host import Attempt, Liar, attempt, deploy_to_liar, lying_host, sev_policy
from tests.machines import machine
from wasmkeep.host.tap import LaunchOrder, SecretPacket

LAUNCH, SECRET = 0, 1
MEASUREMENT, OFFER = 0, 1
TEES = ("sev-es", "sev")

both = pytest.mark.parametrize("tee", TEES)


def flipped(message: bytes, position: int) -> bytes:
    altered = bytearray(message)
    altered[position] ^= 0x10
    return bytes(altered)


class Altering(Liar):
    """Changes one message, by its place in the order of its direction."""

    def __init__(
        self, change: Callable[[bytes], bytes], *, to_tenant: int | None = None, to_keep: int | None = None
    ) -> None:
        super().__init__()
        self._change = change
        self._to_tenant, self._to_keep = to_tenant, to_keep

    def alter_to_tenant(self, index: int, message: bytes) -> Sequence[bytes]:
        return (self._change(message) if index == self._to_tenant else message,)

    def alter_to_keep(self, index: int, message: bytes) -> Sequence[bytes]:
        return (self._change(message) if index == self._to_keep else message,)


class Injecting(Liar):
    """Injects something else than the tenant's packet once into the slot."""

    def __init__(self, change: Callable[[SecretPacket], Sequence[SecretPacket]]) -> None:
        super().__init__()
        self._change = change

    def secrets(self, keep: str, packet: SecretPacket) -> Sequence[SecretPacket]:
        return self._change(packet)


class Relaunching(Liar):
    """Launches something else than was asked for."""

    def __init__(self, change: Callable[[LaunchOrder], LaunchOrder]) -> None:
        super().__init__()
        self._change = change

    def relaunch(self, order: LaunchOrder) -> LaunchOrder:
        return self._change(order)


def deploy(liar: Liar, tee: str = "sev-es", **options: Any) -> Attempt:
    options.setdefault("policy", sev_policy(machine(), tee))
    return deploy_to_liar(liar, **options)


def refused(result: Attempt, liar: Liar, check: str, *, sent: int) -> None:
    """Refused by this check, after ``sent`` messages of the tenant's and without a byte delivered."""
    assert check in result.checks, result.error
    assert not result.accepted_evidence
    assert len(liar.from_tenant) == sent
    assert result.stdout == b""
    if result.error is not None:
        assert result.error.found
        assert result.error.required


class Swapping(Liar):
    """Gives each of two tenants what is meant for the other: the message of this place in its direction."""

    def __init__(self, *, to_tenant: int | None = None, to_keep: int | None = None) -> None:
        super().__init__()
        self._places = to_tenant, to_keep
        self._seen: dict[tuple[str, bool], int] = {}
        self._held: dict[str, bytes] = {}
        self._both = asyncio.Event()

    async def _carry(self, keep: str, message: bytes, *, to_tenant: bool) -> Sequence[bytes]:
        (self.from_keep if to_tenant else self.from_tenant).append(message)
        index = self._seen.get((keep, to_tenant), 0)
        self._seen[keep, to_tenant] = index + 1
        if index != self._places[0 if to_tenant else 1]:
            return (message,)
        self._held[keep] = message
        if len(self._held) == 2:
            self._both.set()
        await self._both.wait()
        return (next(held for name, held in self._held.items() if name != keep),)

    async def to_tenant(self, keep: str, message: bytes) -> Sequence[bytes]:
        return await self._carry(keep, message, to_tenant=True)

    async def to_keep(self, keep: str, message: bytes) -> Sequence[bytes]:
        return await self._carry(keep, message, to_tenant=False)


def deploy_two(liar: Liar, tee: str) -> tuple[Attempt, Attempt]:
    async def whole() -> tuple[Attempt, Attempt]:
        async with lying_host(liar) as running:
            policy = sev_policy(machine(), tee)
            one, other = await asyncio.gather(attempt(running, policy), attempt(running, policy))
        return one, other

    return asyncio.run(whole())
