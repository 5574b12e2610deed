"""Whatever a host puts into a command buffer, the firmware answers with a status, and a refusal changes
nothing.
"""

from __future__ import annotations

import ctypes
import random

import pytest

from tests.simulator.sev import journey
from tests.simulator.sev.bench import BASE, PAGE, SIZE, Bench, Owner, policy
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_commands import COMMAND_BUFFERS
from wasmkeep.hardware.sev_status import SevStatus

ROUNDS = 400
SIZES = (0, 15, 16, 48, 52, 64, 128, 208, 1664, 2084, 3200, PAGE, 6252, 0x5000, 0x8000, 0xFFFF_FFFF)
ENDS_ALL = (Command.SHUTDOWN, Command.PLATFORM_RESET)


def machine(chance: random.Random) -> Bench:
    """With a guest in about every state, and bytes in memory that are nearly right."""
    bench, owner = Bench(), Owner()
    for bits in (policy(0), policy(4), policy(1)):
        handle = bench.activated(bits, owner)
        if chance.random() < 0.5:
            bench.measured(handle)
            if chance.random() < 0.7:
                bench.ok(Command.LAUNCH_FINISH, handle=handle)
                if chance.random() < 0.5 and not bits & 8:
                    journey.send_start(bench, handle, bench.export())
    return bench


def value(chance: random.Random, name: str, bench: Bench) -> int:
    if name.endswith("address"):
        known = bench.memory._next
        return chance.choice(
            (
                0,
                1,
                BASE,
                chance.randrange(BASE, known, 64),
                chance.randrange(BASE, BASE + SIZE),
                (1 << 64) - 1,
            )
        )
    if name.endswith("len") or name == "length":
        return chance.choice(SIZES)
    if name == "handle":
        return chance.choice((0, 1, 2, 3, 4, 0xFFFF_FFFF))
    if name == "asid":
        return chance.choice((0, 1, 7, 8, 15, 16, 0xFFFF_FFFF))
    if name == "policy":
        return chance.choice((0, 1, 4, 1 << 6, 1 << 16, 0xFFFF_FFFF))
    return chance.choice((0, 1, 0xFF))


@pytest.mark.parametrize("seed", range(4))
def test_every_buffer_has_an_answer(seed: int) -> None:
    chance = random.Random(seed)
    bench = machine(chance)
    commands = [command for command in COMMAND_BUFFERS if command not in ENDS_ALL]
    for _ in range(ROUNDS):
        command = chance.choice(commands)
        kind = COMMAND_BUFFERS[command]
        fields = {
            name: value(chance, name, bench)
            for name, form, *_ in kind._fields_
            if not issubclass(form, ctypes.Array)
        }
        before = bench.everything()
        status, after = bench.firmware.command(command, bytes(kind(**fields)), bench.memory)
        assert isinstance(status, SevStatus)
        assert len(after) == ctypes.sizeof(kind)
        if status is not SevStatus.SUCCESS:
            assert bench.everything() == before, command.name
