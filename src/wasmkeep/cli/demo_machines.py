"""The machine that the demonstration runs on: simulated, an unencrypted KVM guest of one, or real SEV."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Mapping

    from wasmkeep.cli.console import Console
    from wasmkeep.demo.client import Trust
    from wasmkeep.demo.machine import Machine, Vouchers

__all__ = ["Opened", "opened"]


class Opened:
    """A machine that is there; what vouches for it; and what a client may be told beforehand to trust."""

    __slots__ = ("machine", "pins", "trust", "vouchers")

    def __init__(self, machine: Machine, vouchers: Vouchers, trust: Trust, pins: Mapping[str, str]) -> None:
        self.machine = machine
        self.vouchers = vouchers
        self.trust = trust
        self.pins = pins


@asynccontextmanager
async def opened(options: argparse.Namespace, console: Console) -> AsyncIterator[Opened]:
    raise NotImplementedError
    yield
