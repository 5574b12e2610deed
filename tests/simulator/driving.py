"""Driving a booted machine from a test: platforms, launched guests, and which CPUs there are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from tests.machines import HAS_KVM, machine
from tests.simulator import tiny
from tests.simulator.tiny import MEMORY, Program
from wasmkeep.hardware.simulated import Guest, Platform

POLICY = 0x3_0000
SOAK = bool(os.environ.get("WASMKEEP_SOAK"))
T = TypeVar("T")

_NO_KVM = pytest.mark.skipif(not HAS_KVM, reason="/dev/kvm is not here or not permitted")
KVM = pytest.param("kvm", marks=[pytest.mark.kvm, _NO_KVM])
EITHER = pytest.mark.parametrize("cpu", [KVM, "process"])
ONLY_KVM = pytest.mark.parametrize("cpu", [KVM])


def run(test: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(60):
            return await test

    return asyncio.run(bounded())


@asynccontextmanager
async def platform(cpu: str, *options: str) -> AsyncIterator[Platform]:
    opened = await Platform.open(machine(*options, cpu=cpu).socket)
    try:
        yield opened
    finally:
        await opened.close()


async def launched(
    on: Platform,
    program: Program,
    policy: int = POLICY,
    *,
    guest_requests: int = 0,
    identity: tuple[bytes, bytes] | None = None,
) -> Guest:
    """`identity` is an ID block and its ID authentication."""
    cpu = on.description.cpu
    block, auth = identity or (None, None)
    return await on.launch(
        MEMORY,
        tiny.launch_regions(program, cpu),
        tiny.vmsa(cpu),
        policy=policy,
        host_data=bytes(32),
        id_block=block,
        id_auth=auth,
        guest_requests=guest_requests,
    )


async def guests_left(on: Platform, number: int) -> None:
    """Wait until the machine has that many; `run` bounds the wait."""
    while (await on.status()).guest_count != number:  # noqa: ASYNC110 - the machine tells nobody
        await asyncio.sleep(0.01)
