"""Keeps of a host that attacks them through its machine: the real daemon, with another guest put in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.lying_host import Attempt, Liar, attempt, lying_host, sev_policy
from tests.machines import HAS_KVM, machine
from tests.threats.aes_schedule import round_keys
from wasmkeep.evidence.policy import Policy
from wasmkeep.hardware.machine_guest import MachineGuest
from wasmkeep.hardware.simulated import Platform
from wasmkeep.protocol import binding
from wasmkeep.protocol.binding import DirectionKey
from wasmkeep.tenant.preparation import Prepared, prepare
from wasmkeep.tenant.request import DeploymentRequest

ON_KVM = [
    pytest.mark.kvm,
    pytest.mark.skipif(not HAS_KVM, reason="/dev/kvm is not here or not permitted"),
]
DATA = 0x30_0000  # where a keep has its variables (keep/src/layout.zig)
PIECE, PIECES = 64 << 10, 256

# Writes 16 MiB to its standard output: 64 KiB of each number from 255 down to 0.
FLOOD = f"""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start") (local $left i32)
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (i32.const {PIECE}))
    (local.set $left (i32.const {PIECES}))
    (loop $again
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (memory.fill (i32.const 65536) (local.get $left) (i32.const {PIECE}))
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
      (br_if $again (local.get $left)))))
"""
FLOODED = b"".join(bytes((number,)) * PIECE for number in range(PIECES - 1, -1, -1))


def flooding(folder: Path) -> Prepared:
    program = folder / "flood.wat"
    program.write_text(FLOOD)
    request = DeploymentRequest(program=program, host="http://127.0.0.1:1", policy=Policy.default())
    return prepare(request, lambda _: None)


class AttackingHost:
    """The machine as such a host uses it: honest in everything else. `wrap` makes the guest what it is."""

    def __init__(self, platform: Platform, wrap: Callable[[Any], object]) -> None:
        self._platform = platform
        self._wrap = wrap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._platform, name)

    async def launch(self, *arguments: Any, **named: Any) -> object:
        return self._wrap(await self._platform.launch(*arguments, **named))

    async def launch_sev(self, *arguments: Any, **named: Any) -> object:
        return self._wrap(await self._platform.launch_sev(*arguments, **named))


class AttackedGuest:
    """A guest like another, but for what an attack makes of `run`."""

    def __init__(self, guest: MachineGuest) -> None:
        self._guest = guest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)


class TenantsKeys:
    """The record keys that the tenant's side derives, as it derives them: to the keep, and from it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[DirectionKey] = []
        derive = binding._direction_key

        def remembering(secret: bytes, session: bytes, info: bytes) -> DirectionKey:
            self.keys.append(derive(secret, session, info))
            return self.keys[-1]

        monkeypatch.setattr(binding, "_direction_key", remembering)

    def caught(self, seen: set[bytes]) -> set[bytes]:
        """Round keys that were seen. 16 random bytes are there by no accident."""
        return {one for each in self.keys for one in round_keys(each.key) if one in seen}


def deployed(
    tee: str, goods: Prepared, altered: Callable[[Platform], object], tap: Liar | None = None
) -> Attempt:
    async def whole() -> Attempt:
        async with lying_host(tap, altered=altered) as running:
            return await attempt(running, sev_policy(machine(), tee), goods)

    return asyncio.run(whole())
