"""Before anything leaves: the program compiled, its files read, everything it is given checked and counted.

A ``Prepared`` holds nothing that belongs to one session; ``ship`` adds that (salts, entropy, the time), and
may be called again for another deployment of the same request.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import platformdirs

from wasmkeep.errors import ConfigurationError, InputError, ProgramError
from wasmkeep.protocol.binding import FIELD_SALT_SIZE, Field, salted_digest
from wasmkeep.protocol.events import Salts, Shipment
from wasmkeep.tenant import events
from wasmkeep.tenant.cache import ProgramCache
from wasmkeep.tenant.compile import compile_program, target_name
from wasmkeep.tenant.configuration import Configuration, Overrides, apply, canonical
from wasmkeep.tenant.package import ENTROPY_BYTES, DeliveredFile, Delivery, Invocation, invocation
from wasmkeep.tenant.source import Source, read_source
from wasmkeep.tenant.trees import LocalTree, read_trees

if TYPE_CHECKING:
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.tenant.events import Watcher
    from wasmkeep.tenant.program import Program
    from wasmkeep.tenant.request import DeploymentRequest

KEEP_MEMORY_SIZES = tuple(1 << power for power in range(26, 34))
"""Sizes a keep comes in: 64 MiB to 8 GiB. Few: a verifier can try them all, and a host learns little."""
_KEEP_OVERHEAD = 24 << 20
"""The image, its stacks and page tables, rounding to pages of 2 MiB, and room for files to grow a little."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A program and what it is given, ready to be shipped. ``keep_memory`` is one of KEEP_MEMORY_SIZES."""

    name: str
    wasm_size: int
    program: Program
    configuration: Configuration
    environment: tuple[tuple[str, str], ...]
    files: tuple[DeliveredFile, ...]
    image: str
    keep_memory: int

    @property
    def argument_count(self) -> int:
        return len(self.configuration.arguments)

    @property
    def environment_count(self) -> int:
        return len(self.environment)

    @property
    def file_count(self) -> int:
        return sum(not file.directory for file in self.files)

    @property
    def file_bytes(self) -> int:
        return sum(len(file.content) for file in self.files)

    def ship(self) -> Shipment:
        """A package for one session, with fresh salts and entropy, and what the keep must prove back of it.

        Raises UsageError, InputError, ProgramError where it exceeds what a keep takes.
        """
        salts = Salts(*(os.urandom(FIELD_SALT_SIZE) for _ in Field))
        delivery = Delivery(
            arguments=(self.name, *self.configuration.arguments),
            environment=self.environment,
            configuration=canonical(self.configuration),
            files=self.files,
            memory_limit=self.configuration.memory,
            wall_clock=time.time_ns(),
        )
        part = invocation(delivery, self.program, salts, os.urandom(ENTROPY_BYTES))
        return _shipment(self.program, delivery, part, salts)


def _shipment(program: Program, delivery: Delivery, part: Invocation, salts: Salts) -> Shipment:
    return Shipment(
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


def prepare(request: DeploymentRequest, emit: Watcher = events.ignore) -> Prepared:
    """Read, check and compile. Raises InputError, ProgramError, ConfigurationError; nothing has left then."""
    _require_keep(request.policy)
    source = read_source(request.program, request.configuration)
    configuration, overridden = apply(source.configuration, _overrides(request))
    for setting in overridden:
        emit(events.SettingOverridden(setting.key, setting.was, setting.now))
    _require_level(configuration, request.policy)
    program = _compiled(source, configuration, emit)
    files = read_trees(configuration.trees)
    prepared = Prepared(
        name=source.name,
        wasm_size=len(source.wasm),
        program=program,
        configuration=configuration,
        environment=_environment(configuration),
        files=files,
        image=_image_name(request.policy),
        keep_memory=_keep_memory(configuration, program, files),
    )
    prepared.ship()  # every bound is checked before the first byte goes to a host
    return prepared


def _overrides(request: DeploymentRequest) -> Overrides:
    return Overrides(
        arguments=request.arguments,
        environment=dict(request.environment),
        trees=tuple(LocalTree(x.local, x.guest, x.writable) for x in request.directories),
        memory=request.memory,
        timeout=request.timeout,
    )


def _compiled(source: Source, configuration: Configuration, emit: Watcher) -> Program:
    began = time.monotonic_ns()
    announced = False

    def progress(_: float) -> None:
        nonlocal announced
        if not announced:
            announced = True
            emit(events.CompileStarted(source.name, len(source.wasm), target_name(configuration.level)))

    cache = ProgramCache(platformdirs.user_cache_path("wasmkeep") / "programs")
    program = compile_program(source.wasm, level=configuration.level, cache=cache, progress=progress)
    emit(
        events.CompileFinished(
            program=source.name,
            size=len(source.wasm),
            target=program.target,
            code_size=len(program.part),
            program_digest=program.digest,
            cached=not announced,
            elapsed_ns=time.monotonic_ns() - began,
        )
    )
    return program


def _require_keep(policy: Policy) -> None:
    """Evidence of more kinds can be judged than keeps exist for."""
    from wasmkeep.evidence.policy import KEEP_PLATFORMS

    if set(policy.platforms).isdisjoint(KEEP_PLATFORMS):
        raise ConfigurationError(
            "policy.platform",
            f"there is no keep for {' or '.join(policy.platforms)} in this release",
            found=", ".join(policy.platforms),
            required=" or ".join(KEEP_PLATFORMS),
            meaning="a policy may name it for evidence that others made (`wasmkeep evidence verify`)",
            remedy="name another platform in the policy",
        )


def _require_level(configuration: Configuration, policy: Policy) -> None:
    if str(configuration.level) not in policy.cpu:
        raise ConfigurationError(
            "policy.cpu",
            "the program is configured for a CPU level that the policy does not name",
            found=str(configuration.level),
            required=" or ".join(policy.cpu),
            remedy="change cpu in Keep.toml, or in the policy",
        )


def _environment(configuration: Configuration) -> tuple[tuple[str, str], ...]:
    values = dict(configuration.environment)
    for name in configuration.environment_from:
        value = os.environ.get(name)
        if value is None:
            raise InputError(
                "configuration.environment",
                f"the environment variable {name} is not set here",
                required="a value, since Keep.toml takes it from the caller's environment",
                remedy=f"set {name}, or give --env {name}=VALUE",
            )
        values[name] = value
    return tuple(values.items())


def _image_name(policy: Policy) -> str:
    """What to ask the host for; it is the measurement that decides what is accepted.

    Raises ConfigurationError for a name that this installation cannot resolve.
    """
    from wasmkeep.image import OWN_NAME, resolve

    for name in policy.runtime_names:
        resolve(name)
    return policy.runtime_names[0] if policy.runtime_names else OWN_NAME


def _keep_memory(configuration: Configuration, program: Program, files: tuple[DeliveredFile, ...]) -> int:
    needed = (
        configuration.memory + len(program.part) + sum(len(file.content) for file in files) + _KEEP_OVERHEAD
    )
    for size in KEEP_MEMORY_SIZES:
        if needed <= size:
            return size
    raise ProgramError(
        "program.memory",
        "the program and what it is given need more memory than a keep can have",
        found=f"{needed} bytes",
        required=f"at most {KEEP_MEMORY_SIZES[-1]} bytes",
        remedy="lower limits.memory, or deliver less",
    )
