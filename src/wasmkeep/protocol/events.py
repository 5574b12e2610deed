"""What goes into a session and what comes out of it, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wasmkeep.protocol.statements import LaunchStatement, Receipt


class Verdict(Protocol):
    """What the session needs of an attestation result: only one bound to session and tenant key opens it."""

    @property
    def bound(self) -> bool: ...
    @property
    def host_data_bound(self) -> bool: ...
    @property
    def report_data(self) -> bytes: ...
    @property
    def host_data(self) -> bytes: ...
    @property
    def launch_digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Salts:
    """One 32-byte salt for each field of tenant data; the tenant keeps them to disclose one by one."""

    configuration: bytes
    arguments: bytes
    environment: bytes
    files: bytes
    stdin: bytes
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Shipment:
    """The package and what the keep must prove back of it (docs/protocol.md sections 4 and 5)."""

    package: tuple[bytes | memoryview, ...]
    program_digest: bytes
    target: str
    configuration_digest: bytes
    arguments_digest: bytes
    environment_digest: bytes
    files_digest: bytes
    memory_limit: int
    started_ns: int
    salts: Salts


@dataclass(frozen=True, slots=True)
class LaunchProven:
    statement: LaunchStatement
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes of standard output, or of standard error."""

    error: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class InputWanted:
    """The program reads standard input: answer with 1 to ``limit`` bytes, or none at its end."""

    limit: int


@dataclass(frozen=True, slots=True)
class TrapReport:
    """Where the program trapped: x86 vector and error code, addresses, return addresses innermost first."""

    vector: int
    error_code: int
    instruction: int
    fault_address: int
    stack_pointer: int
    frame_pointer: int
    memory_length: int
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The keep refused the package, with a code of docs/host-interface.md and a detail."""

    code: int
    detail: int


@dataclass(frozen=True, slots=True)
class Ended:
    receipt: Receipt
    encoded: bytes


SessionEvent = LaunchProven | Output | InputWanted | TrapReport | Refusal | Ended
