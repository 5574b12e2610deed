"""Standard input as programs use it: waiting, not waiting, and asking first whether there is any."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.conformance.test_traps import CPUS
from tests.hostile.lying_host import attempt, lying_host, policy_for
from tests.machines import machine
from wasmkeep.evidence.policy import Policy
from wasmkeep.tenant.preparation import prepare
from wasmkeep.tenant.request import DeploymentRequest

MODULE = """
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $flags (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $errno i32) (local $tries i32)
    ;; 0: {256, 100}; 8: bytes read; subscriptions at 512, events at 768, their number at 1020
    (i32.store (i32.const 0) (i32.const 256))
    (i32.store (i32.const 4) (i32.const 100))
    %s
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))
"""

NOT_WAITING = """
    (drop (call $flags (i32.const 0) (i32.const 4)))
    (loop $again
      (local.set $tries (i32.add (local.get $tries) (i32.const 1)))
      (if (i32.gt_u (local.get $tries) (i32.const 200000)) (then (call $exit (i32.const 99))))
      (local.set $errno (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $again (i32.eq (local.get $errno) (i32.const 6))))
    (if (local.get $errno) (then (call $exit (local.get $errno))))
"""

ASKING_FIRST = """
    ;; a clock that is already due, and standard input
    (i32.store8 (i32.const 520) (i32.const 0))
    (i32.store (i32.const 528) (i32.const 1))
    (i32.store8 (i32.const 568) (i32.const 1))
    (loop $again
      (local.set $tries (i32.add (local.get $tries) (i32.const 1)))
      (if (i32.gt_u (local.get $tries) (i32.const 200000)) (then (call $exit (i32.const 99))))
      (local.set $errno (call $poll (i32.const 512) (i32.const 768) (i32.const 2) (i32.const 1020)))
      (if (local.get $errno) (then (call $exit (local.get $errno))))
      ;; both events, or the second alone: input is there
      (br_if $again (i32.and
        (i32.eq (i32.load (i32.const 1020)) (i32.const 1))
        (i32.eqz (i32.load8_u (i32.const 778))))))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
"""

WAITING = """
    (local.set $errno (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
"""


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize(
    "way", [WAITING, NOT_WAITING, ASKING_FIRST], ids=["waiting", "not waiting", "asking"]
)
def test_input_arrives(way: str, cpu: str, tmp_path: Path) -> None:
    program = tmp_path / "program.wat"
    program.write_text(MODULE % way)
    request = DeploymentRequest(program=program, host="http://127.0.0.1:1", policy=Policy.default())
    goods, hardware = prepare(request), machine(cpu=cpu)

    async def whole() -> None:
        async with lying_host(on=hardware) as running:
            result = await attempt(running, policy_for(hardware), goods, b"typed")
        assert result.outcome is not None, result.error
        assert (result.outcome.exit_code, result.stdout) == (0, b"typed")

    asyncio.run(whole())
