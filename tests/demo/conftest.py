"""The command with a machine that is there at once."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.demo.fake_machine import FakeMachine
from wasmkeep.cli import demo_local, demo_machines
from wasmkeep.cli.console import Console
from wasmkeep.cli.demo_machines import Opened


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """What `wasmkeep demo sev` finds in place of a machine."""
    machine = FakeMachine()

    @asynccontextmanager
    async def opened(_options: argparse.Namespace, _console: Console) -> AsyncIterator[Opened]:
        yield Opened(machine, machine.vouchers, machine.trust, machine.pins)

    monkeypatch.setattr(demo_local, "opened", opened)
    monkeypatch.setattr(demo_machines, "opened", opened)
    return machine
