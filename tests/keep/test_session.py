"""A whole session with a keep, on each kind of machine and TEE: offer, package, program, receipt."""

from __future__ import annotations

import functools
import struct

import pytest
import wasmtime

from tests.keep import packages
from tests.keep.bare_machine import MEASUREMENT
from tests.keep.conftest import ALL_KINDS, tee_of
from tests.keep.packages import FLAG_DIRECTORY, FLAG_WRITABLE, FileEntry, InvocationPart
from tests.keep.wire import FOREVER, Exchange, Relay
from wasmkeep.protocol.events import InputWanted, LaunchProven, Shipment
from wasmkeep.protocol.statements import Exited, Trapped
from wasmkeep.tenant.compile import compile_program
from wasmkeep.tenant.program import Program

IMPORTS = """
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open
    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
"""
# $write(stream, address, length); $must(errno) exits with 100 + errno where it is not 0.
HELPERS = """
  (func $must (param i32)
    (if (local.get 0) (then (call $proc_exit (i32.add (i32.const 100) (local.get 0))))))
  (func $write (param $fd i32) (param $at i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $size))
    (call $must (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $read (param $at i32) (param $size i32) (result i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $size))
    (call $must (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.load (i32.const 8)))
"""


@pytest.fixture(params=ALL_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@functools.lru_cache
def program(body: str, memory: str = "2", more: str = "") -> Program:
    text = f"""(module {IMPORTS} (memory (export "memory") {memory}) {HELPERS} {more}
               (func (export "_start") {body}))"""
    return compile_program(bytes(wasmtime.wat2wasm(text)))


def ship(compiled: Program, **invocation: object) -> tuple[Shipment, InvocationPart]:
    part = InvocationPart(**invocation)  # type: ignore[arg-type]  # fields by name
    return packages.shipment(compiled.part, compiled.target, part), part


def test_output_reaches_the_tenant_and_the_receipt_covers_it(relay: Relay) -> None:
    compiled = program(
        """(i32.store (i32.const 64) (i32.const 0x0a37))
           (call $write (i32.const 1) (i32.const 64) (i32.const 2))"""
    )
    shipped, _ = ship(compiled)
    outcome = relay.run(shipped)
    assert outcome.stdout == b"7\n"
    receipt = outcome.receipt.receipt
    assert receipt.outcome == Exited(0)
    assert receipt.launch.measurement == (MEASUREMENT if relay.session.tee == "snp" else b"")
    assert receipt.stdout.length == 2
    assert receipt.peak_memory == 2 << 16
    assert receipt.exits == outcome.exits
    launched = outcome.events[0]
    assert isinstance(launched, LaunchProven)
    assert launched.statement == receipt.launch


def test_arguments_and_environment_arrive_as_delivered(relay: Relay) -> None:
    compiled = program("""
        (call $must (call $args_get (i32.const 1024) (i32.const 2048)))
        (call $write (i32.const 1) (i32.const 2048) (i32.const 12))
        (call $must (call $environ_get (i32.const 1024) (i32.const 4096)))
        (call $write (i32.const 2) (i32.const 4096) (i32.const 8))""")
    shipped, _ = ship(compiled, arguments=[b"name", b"", b"\xff three"[:5]], variables=[b"A=1", b"B="])
    outcome = relay.run(shipped)
    assert outcome.stdout == b"name\0\0\xff thr\0"
    assert outcome.stderr == b"A=1\0B=\0\0"


def test_exit_code_is_the_receipts(relay: Relay) -> None:
    shipped, _ = ship(program("(call $proc_exit (i32.const 77))"))
    assert relay.run(shipped).receipt.receipt.outcome == Exited(77)


def test_delivered_file_can_be_read(relay: Relay) -> None:
    compiled = program(
        """
        (call $must (call $path_open (i32.const 3) (i32.const 0) (i32.const 256) (i32.const 5)
          (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512)))
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.const 65536))
        (call $must (call $fd_read (i32.load (i32.const 512)) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 8)))""",
        more='(data (i32.const 256) "d/one")',
    )
    content = bytes(range(256)) * 160
    files = [FileEntry(b"d", FLAG_DIRECTORY), FileEntry(b"d/one", FLAG_WRITABLE, content)]
    shipped, _ = ship(compiled, files=files)
    assert relay.run(shipped).stdout == content


def test_input_is_asked_for_and_counted(relay: Relay) -> None:
    compiled = program("""(local $n i32)
        (loop $again
          (local.set $n (call $read (i32.const 1024) (i32.const 40000)))
          (call $write (i32.const 1) (i32.const 1024) (local.get $n))
          (br_if $again (local.get $n)))""")
    data = bytes(index * 7 % 251 for index in range(150_000))
    shipped, _ = ship(compiled)
    outcome = relay.run(shipped, data)
    assert outcome.stdout == data
    assert outcome.receipt.receipt.stdin.length == len(data)
    assert sum(isinstance(event, InputWanted) for event in outcome.events) == 4  # 61,440 thrice, then the end


@pytest.mark.parametrize(
    ("body", "vector"),
    [
        ("unreachable", 6),
        ("(drop (i32.load (i32.const 0x20000)))", 14),
        ("(drop (i32.load (i32.const 0x1ffff)))", 14),
        ("(drop (i32.load offset=0xfffffff0 (i32.const 0xffffffff)))", 14),
        ("(drop (i32.div_s (i32.const 7) (i32.load (i32.const 512))))", 0),
    ],
)
def test_a_trap_is_reported_and_receipted(body: str, vector: int, relay: Relay) -> None:
    shipped, _ = ship(program(body))
    outcome = relay.run(shipped)
    # A division is checked by an instruction of its own on some levels.
    assert outcome.trap.vector in (vector, 6)
    assert outcome.trap.memory_length == 2 << 16
    assert outcome.trap.frames
    assert outcome.receipt.receipt.outcome == Trapped(outcome.trap.vector)


def test_a_stack_that_runs_over_is_a_trap(relay: Relay) -> None:
    more = """(func $deep (param i32)
      (call $deep (i32.add (local.get 0) (i32.const 1))) (drop (i32.load (local.get 0))))"""
    shipped, _ = ship(program("(call $deep (i32.const 0))", more=more))
    outcome = relay.run(shipped)
    assert outcome.trap.vector in (6, 14)
    assert len(outcome.trap.frames) == 48


def test_memory_grows_to_its_limit_zeroed_and_exact(relay: Relay) -> None:
    """Every page from the first to the limit, one by one and in steps; each new page is zero and writable."""
    compiled = program(
        """(local $size i32) (local $step i32)
        (local.set $step (i32.const 1))
        (loop $again
          (local.set $size (memory.size))
          (if (i32.ne (memory.grow (local.get $step)) (i32.const -1)) (then
            (if (i64.ne (i64.const 0)
                (i64.load (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 8))))
              (then (call $proc_exit (i32.const 1))))
            (if (i64.ne (i64.load (i32.shl (local.get $size) (i32.const 16))) (i64.const 0))
              (then (call $proc_exit (i32.const 2))))
            (i64.store (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 8)) (i64.const -1))
            (i64.store (i32.shl (local.get $size) (i32.const 16)) (i64.const -1))
            (local.set $step
              (i32.add (i32.rem_u (i32.mul (local.get $step) (i32.const 7)) (i32.const 41)) (i32.const 1)))
            (br $again))))
        (loop $rest (br_if $rest (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (if (i32.ne (memory.size) (i32.const 320)) (then (call $proc_exit (i32.const 3))))
        (drop (i32.load (i32.const 20971520)))""",
        "3",
    )
    shipped, _ = ship(compiled, limit=320 << 16)
    outcome = relay.run(shipped)
    assert outcome.trap.vector == 14
    assert outcome.trap.memory_length == 320 << 16
    assert outcome.receipt.receipt.peak_memory == 320 << 16


@pytest.mark.parametrize("pages", [0, 1, 31, 32, 33, 64, 65])
def test_initial_memory_ends_exactly(pages: int, relay: Relay) -> None:
    text = f"""(module {IMPORTS} (memory (export "memory") {pages}) (func (export "_start")
        (if (i32.ne (memory.size) (i32.const {pages})) (then unreachable))
        (if (i32.gt_u (memory.size) (i32.const 0)) (then
          (i32.store8 (i32.const 0) (i32.const 1))
          (i32.store8 (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1)) (i32.const 1))))
        (i32.store8 (i32.shl (memory.size) (i32.const 16)) (i32.const 1))))"""
    compiled = compile_program(bytes(wasmtime.wat2wasm(text)))
    trap = relay.run(ship(compiled)[0]).trap
    assert trap.vector == 14
    assert trap.fault_address & 0x1F_FFFF == 0


def test_memory_beyond_the_machine_is_not_there(relay: Relay) -> None:
    compiled = program("(call $proc_exit (i32.eq (memory.grow (i32.const 2000)) (i32.const -1)))")
    shipped, _ = ship(compiled, limit=4 << 30)
    assert relay.run(shipped).receipt.receipt.outcome == Exited(1)


def test_copy_and_fill(relay: Relay) -> None:
    compiled = program(
        """(memory.fill (i32.const 1024) (i32.const 0x61) (i32.const 8))
           (memory.copy (i32.const 1030) (i32.const 200) (i32.const 6))
           (memory.copy (i32.const 1025) (i32.const 1024) (i32.const 11))
           (memory.copy (i32.const 1024) (i32.const 1026) (i32.const 9))
           (call $write (i32.const 1) (i32.const 1024) (i32.const 12))
           (memory.fill (i32.const 131070) (i32.const 1) (i32.const 3))""",
        more='(data (i32.const 200) "123456")',
    )
    outcome = relay.run(ship(compiled)[0])
    buffer = bytearray(12)
    buffer[:8] = b"a" * 8
    buffer[6:12] = b"123456"
    buffer[1:12] = bytes(buffer[0:11])
    buffer[0:9] = bytes(buffer[2:11])
    assert outcome.stdout == buffer
    assert outcome.receipt.receipt.outcome == Trapped(outcome.trap.vector)


def test_time_is_the_tenants_claim_and_goes_on(relay: Relay) -> None:
    compiled = program("""
        (call $must (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 64)))
        (call $must (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 72)))
        (call $write (i32.const 1) (i32.const 64) (i32.const 16))""")
    shipped, invocation = ship(compiled)
    outcome = relay.run(shipped)
    real, monotonic = struct.unpack("<QQ", outcome.stdout)
    assert 0 < real - invocation.wall_clock < 60_000_000_000
    assert 0 < monotonic <= outcome.receipt.receipt.elapsed_ns


def test_random_numbers_differ_between_keeps(machine_of: object, kind: str) -> None:
    compiled = program("""
        (call $must (call $random_get (i32.const 64) (i32.const 64)))
        (call $write (i32.const 1) (i32.const 64) (i32.const 64))""")
    outputs = {bytes(Relay(machine_of, tee=tee_of(kind)).run(ship(compiled)[0]).stdout) for _ in range(3)}  # type: ignore[arg-type]
    assert len(outputs) == 3
    assert all(len(output) == 64 and any(output) for output in outputs)


POLL = """
    (i64.store (i32.const 1024) (i64.const 5))           ;; userdata
    (i32.store8 (i32.const 1032) (i32.const {tag}))
    (i32.store (i32.const 1040) (i32.const {clock}))
    (i64.store (i32.const 1048) (i64.const {timeout}))
    {more}
    (call $must (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const {count}) (i32.const 64)))
"""


def test_sleeping_leaves_the_processor(relay: Relay) -> None:
    compiled = program(POLL.format(tag=0, clock=1, timeout=30_000_000, more="", count=1))
    waits: list[int] = []
    step = relay.host.step

    def watched() -> object:
        result = step()
        if isinstance(result, Exchange):
            waits.append(result.wait)
        return result

    relay.host.step = watched  # type: ignore[method-assign, assignment]
    outcome = relay.run(ship(compiled)[0])
    assert outcome.receipt.receipt.outcome == Exited(0)
    sleeps = [wait for wait in waits if 0 < wait < FOREVER]
    assert sleeps
    assert sleeps[0] <= 30_000_000
    assert outcome.receipt.receipt.elapsed_ns >= 30_000_000


def test_waiting_for_input_ends_when_it_comes(relay: Relay) -> None:
    second = """
    (i64.store (i32.const 1072) (i64.const 6))
    (i32.store8 (i32.const 1080) (i32.const 1))
    (i32.store (i32.const 1088) (i32.const 0))"""
    compiled = program(
        POLL.format(tag=0, clock=1, timeout=3_600_000_000_000, more=second, count=2)
        + "(call $write (i32.const 1) (i32.const 2048) (i32.const 1))"
        + "(call $write (i32.const 1) (i32.const 1024) (call $read (i32.const 1024) (i32.const 3)))"
    )
    outcome = relay.run(ship(compiled)[0], b"abc")
    assert outcome.stdout == b"\x06abc"


def test_large_output_in_one_call(relay: Relay) -> None:
    compiled = program(
        """(memory.fill (i32.const 1024) (i32.const 0x78) (i32.const 3000000))
           (call $write (i32.const 1) (i32.const 1024) (i32.const 3000000))""",
        "48",
    )
    outcome = relay.run(ship(compiled)[0])
    assert outcome.stdout == b"x" * 3_000_000
    assert outcome.receipt.receipt.stdout.length == 3_000_000


def test_input_that_arrives_in_the_middle_of_output(relay: Relay) -> None:
    """The answer to a poll comes while a long write fills the window: neither harms the other."""
    asking = """
    (i64.store (i32.const 1024) (i64.const 5))
    (i32.store8 (i32.const 1032) (i32.const 0))
    (i32.store (i32.const 1040) (i32.const 1))
    (i64.store (i32.const 1048) (i64.const 1))
    (i64.store (i32.const 1072) (i64.const 6))
    (i32.store8 (i32.const 1080) (i32.const 1))
    (i32.store (i32.const 1088) (i32.const 0))
    (call $must (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 2) (i32.const 64)))"""
    compiled = program(
        asking
        + """(memory.fill (i32.const 4096) (i32.const 0x78) (i32.const 3000000))
           (call $write (i32.const 1) (i32.const 4096) (i32.const 3000000))
           (call $write (i32.const 2) (i32.const 1024) (call $read (i32.const 1024) (i32.const 9)))""",
        "48",
    )
    relay.eager = True
    outcome = relay.run(ship(compiled)[0], b"an answer")
    assert outcome.stdout == b"x" * 3_000_000
    assert outcome.stderr == b"an answer"
    assert outcome.receipt.receipt.exits == outcome.exits
