"""Programs of the tenant's compiler in the keep itself, on each kind of machine; and the same in wasmtime."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import wasmtime

from tests.keep.bare_machine import KvmMachine, Machine, ProcessMachine, configuration_page
from tests.keep.wire import Outcome, Relay
from tests.tenant.bare import BUILD
from wasmkeep.hardware.kvm import Kvm
from wasmkeep.image import MachineKind, read_image
from wasmkeep.protocol.binding import Field, salted_digest
from wasmkeep.protocol.events import Salts, Shipment
from wasmkeep.protocol.statements import Exited
from wasmkeep.tenant import wasmtime_facts
from wasmkeep.tenant.package import DeliveredFile, Delivery, invocation
from wasmkeep.tenant.program import Program

KINDS = tuple(MachineKind)
_LARGE = 1 << 20


@dataclass(frozen=True, slots=True)
class Given:
    """What a program is given; ``memory`` is its limit, ``machine`` the whole machine's, in bytes."""

    arguments: Sequence[str] = ()
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[DeliveredFile, ...] = ()
    stdin: bytes = b""
    memory: int = 16 << 20
    machine: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    stdout: bytes
    stderr: bytes = field(default=b"")


def has_kvm() -> bool:
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


@functools.cache
def _kvm() -> Kvm:
    return Kvm()


@functools.cache
def _image(kind: MachineKind) -> bytes:
    return read_image(kind)


def _machine(kind: MachineKind, memory: int) -> Callable[[bytes], Machine]:
    def make(launch_page: bytes) -> Machine:
        pages = launch_page, configuration_page(memory)
        if kind.process:
            return ProcessMachine(_image(kind), *pages)
        return KvmMachine(_kvm(), _image(kind), *pages, memory)

    return make


def in_keep(kind: MachineKind, program: Program, given: Given) -> Outcome:
    """One whole session; what the tenant saw of it."""
    salts = Salts(*(os.urandom(32) for _ in Field))
    delivery = Delivery(
        ("program", *given.arguments), given.environment, b"{}", given.files, given.memory, time.time_ns()
    )
    part = invocation(delivery, program, salts, os.urandom(32))
    shipment = Shipment(
        package=(program.part, part.encoded),
        program_digest=program.digest,
        target=program.target,
        configuration_digest=salted_digest(Field.CONFIGURATION, salts.configuration, part.configuration),
        arguments_digest=salted_digest(Field.ARGUMENTS, salts.arguments, part.arguments),
        environment_digest=salted_digest(Field.ENVIRONMENT, salts.environment, part.environment),
        files_digest=salted_digest(Field.FILES, salts.files, part.files),
        memory_limit=delivery.memory_limit,
        started_ns=delivery.wall_clock,
        salts=salts,
    )
    return Relay(_machine(kind, given.machine), tee=kind.tee).run(shipment, given.stdin)


def ended(outcome: Outcome) -> Result:
    """Exit code and output of a session that ended with a receipt."""
    result = outcome.receipt.receipt.outcome
    assert isinstance(result, Exited), result
    return Result(result.code, bytes(outcome.stdout), bytes(outcome.stderr))


def in_wasmtime(wasm: bytes, given: Given) -> Result:
    """The same run by wasmtime, its files in a fresh folder that it sees as ``/``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root, output, errors, standard = (folder / x for x in ("root", "stdout", "stderr", "stdin"))
        (root / "tmp").mkdir(parents=True)
        for file in given.files:
            path = root / os.fsdecode(file.path)
            if file.directory:
                path.mkdir()
            else:
                path.write_bytes(file.content)
        standard.write_bytes(given.stdin)
        config = wasmtime.WasiConfig()
        config.argv = ["program", *given.arguments]
        config.env = given.environment
        config.stdin_file, config.stdout_file, config.stderr_file = str(standard), str(output), str(errors)
        config.preopen_dir(str(root), "/")
        code = start_in_wasmtime(wasm, config)
        return Result(code, output.read_bytes(), errors.read_bytes())


@functools.cache
def _engine() -> wasmtime.Engine:
    """What wasmtime's results are does not hang on its optimizations; how long it compiles does."""
    config = wasmtime.Config()
    config.cranelift_opt_level = "none"
    return wasmtime.Engine(config)


@functools.lru_cache(maxsize=2)
def _module(wasm: bytes) -> wasmtime.Module:
    """Large ones are kept from one test run to the next."""
    if len(wasm) < _LARGE:
        return wasmtime.Module(_engine(), wasm)
    key = hashlib.sha256(wasm + wasmtime_facts.VERSION.encode()).hexdigest()[:32]
    kept = BUILD / f"wasmtime-{key}.cwasm"
    if not kept.exists():
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(wasmtime.Module(_engine(), wasm).serialize())
        partial.rename(kept)
    return wasmtime.Module.deserialize_file(_engine(), str(kept))


def start_in_wasmtime(wasm: bytes, config: wasmtime.WasiConfig) -> int:
    """The exit code of a run with whatever ``config`` gives it; a trap is raised as wasmtime raises it."""
    store = wasmtime.Store(_engine())
    store.set_wasi(config)
    linker = wasmtime.Linker(_engine())
    linker.define_wasi()
    start = linker.instantiate(store, _module(wasm)).exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    try:
        start(store)
    except wasmtime.ExitTrap as exited:
        return int(exited.code)
    return 0
