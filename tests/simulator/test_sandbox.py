"""What a guest of the process kind finds: its three descriptors and nothing else of this computer."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulator import tiny
from tests.simulator.driving import POLICY, platform, run
from tests.simulator.tiny import MEMORY
from wasmkeep.hardware.simulated import ExitKind
from wasmkeep.hardware.snp_messages import SecretsPage

_CACHE = Path(__file__).resolve().parents[2] / "build" / "zig-cache"

SOURCE = Path(__file__).with_name("inspector.c")  # writes its findings in the order of these
FINDINGS = {
    "descriptors 0 to 5": 0b111111,
    "environment": 0,
    "arguments": 1,
    "a session of its own": 1,
    "signal at its parent's death": 9,
    "no new privileges": 1,
    "core dumps": 0,
    "open files": 8,
    "bytes of a file": 0,
    "processes": 0,
    "ignored signals": 0,
    "bytes of private memory": 8192,
    "bytes read of it": 8192,
    "cannot write it": 1,
    "cannot resize the window": 1,
    "in the root folder": 1,
}


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("inspector")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-musl", "-Os", "-s", "-static"]
    environment = {
        "ZIG_LOCAL_CACHE_DIR": str(_CACHE),
        "ZIG_GLOBAL_CACHE_DIR": str(_CACHE),
        "PATH": "/usr/bin:/bin",
    }
    subprocess.run([*command, "-o", "i", str(SOURCE)], cwd=folder, check=True, env=environment, timeout=300)
    return (folder / "i").read_bytes()


def test_a_guest_process_has_what_it_needs_and_nothing_else(inspector: bytes) -> None:
    async def test() -> None:
        async with platform("process") as on:
            regions = tiny.process_regions(inspector)
            guest = await on.launch(MEMORY, regions, tiny.vmsa("process"), policy=POLICY, host_data=bytes(32))
            assert (await guest.run()).kind is ExitKind.VMGEXIT
            found = struct.unpack_from(f"<{len(FINDINGS)}I", guest.window)
            assert dict(zip(FINDINGS, found, strict=True)) == FINDINGS
            pages = bytes(guest.window[0x1000:0x3000])
            assert pages[:13] == b"configuration"
            secrets = SecretsPage.parse(pages[4096:])
            assert secrets.version == 3
            assert len({*secrets.vmpck}) == 4
            await guest.close()

    run(test())


def test_its_limits_are_its_own_not_the_machines() -> None:
    """The machine itself still opens hundreds of descriptors afterwards."""

    async def test() -> None:
        async with platform("process") as on:
            guests = []
            for _ in range(30):
                regions = tiny.launch_regions(tiny.EXIT_FOREVER, "process")
                guests.append(
                    await on.launch(MEMORY, regions, tiny.vmsa("process"), policy=POLICY, host_data=bytes(32))
                )
            exits = await asyncio.gather(*(guest.run() for guest in guests))
            assert {each.kind for each in exits} == {ExitKind.VMGEXIT}
            await asyncio.gather(*(guest.close() for guest in guests))

    run(test())
