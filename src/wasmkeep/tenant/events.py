"""What a deployment tells whoever watches it: one frozen value a step, made by the step that proved it.

A watcher is called with each event in the order below, from the thread or task that runs the deployment,
and must not block for long. An event exists only after its step succeeded; a step that fails raises a
`wasmkeep.errors.WasmkeepError` instead, and nothing later is announced. All times are nanoseconds of a
monotonic clock; all sizes are bytes.

::

    SettingOverridden*                        the request replaced a setting of Keep.toml
    CompileStarted?  CompileFinished          the program became machine code (or came from the cache)
    HostPassedOver*  KindPassedOver*          a place had no keep: before any evidence
    KeepStarted                               a host made a keep: what it says of it is a hint
    EvidenceVerified                          the verdict; nothing was delivered before this event
    Delivered                                 the sealed package has left
    Launched                                  the keep proved back what it received
    Trapped?  Finished                        the program ended; the receipt verified
    ProtectionLost                            at any time: something the user switched off or cannot have
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wasmkeep.evidence.result import AttestationResult

__all__ = [
    "CompileFinished",
    "CompileStarted",
    "Delivered",
    "Event",
    "EvidenceVerified",
    "Finished",
    "HostPassedOver",
    "KeepStarted",
    "KindPassedOver",
    "Launched",
    "ProtectionLost",
    "SettingOverridden",
    "Trapped",
    "Watcher",
    "ignore",
]


@dataclass(frozen=True, slots=True)
class SettingOverridden:
    """The request replaced a setting of ``Keep.toml``. Holds no value of an environment variable."""

    key: str
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class CompileStarted:
    """The program is not in the cache and is being compiled; ``size`` is that of the ``.wasm``."""

    program: str
    size: int
    target: str


@dataclass(frozen=True, slots=True)
class CompileFinished:
    """Machine code for ``target`` is there; the keep must prove ``program_digest`` (32 bytes) back."""

    program: str
    size: int
    target: str
    code_size: int
    program_digest: bytes
    cached: bool
    elapsed_ns: int


@dataclass(frozen=True, slots=True)
class KindPassedOver:
    """A kind the policy prefers was not used at a host, before any evidence: absent, full, or denied."""

    tee: str
    reason: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class HostPassedOver:
    """A host that the tenant prefers was not used, before any evidence: it is not there, or takes nobody."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class KeepStarted:
    """The host says that it made a keep. Everything here but ``tee`` is the host's word."""

    host: str
    tee: str
    product: str
    image_kind: str
    memory: int
    elapsed_ns: int


@dataclass(frozen=True, slots=True)
class EvidenceVerified:
    """The evidence passed the policy and is bound to this session: ``result`` says what was found.

    ``image_size`` is the size of the tenant's own copy of the image that ``result.reference`` names, 0 where
    the policy named only a launch digest; ``nonce_size`` is that of the tenant's nonce.
    """

    result: AttestationResult
    image_size: int
    nonce_size: int
    elapsed_ns: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """The package was sealed to the keep's receiving key and sent."""

    program: str
    program_size: int
    arguments: int
    environment: int
    files: int
    file_bytes: int
    sealed_bytes: int
    elapsed_ns: int


@dataclass(frozen=True, slots=True)
class Launched:
    """The keep's signed launch statement verified and names exactly what was delivered."""

    program_digest: bytes
    target: str
    measurement: bytes
    memory_limit: int
    session_id: bytes
    elapsed_ns: int


@dataclass(frozen=True, slots=True)
class Trapped:
    """The program trapped. ``name`` is wasm's word for it; ``backtrace`` innermost first, possibly empty."""

    name: str
    detail: str
    backtrace: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The program ended and its receipt verified against the output that arrived.

    Exactly one of ``exit_code`` and ``trap`` is not None. ``receipt`` is the receipt file's bytes,
    ``disclosures`` the salts that the tenant keeps to disclose single fields. ``stored_session`` is empty, or
    what the tenant must keep to verify a receipt that convinces nobody else (SEV, SEV-ES); it is secret.
    ``elapsed_ns`` covers the whole deployment, ``program_ns`` is the keep's own clock.
    """

    exit_code: int | None
    trap: str | None
    receipt: bytes
    disclosures: bytes
    stdout_size: int
    stderr_size: int
    peak_memory: int
    program_ns: int
    elapsed_ns: int
    stored_session: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ProtectionLost:
    """A protection is off or weaker than usual, and the user must read it: never silenced.

    ``what`` is a stable word (``simulated``, ``denied-generation-allowed`` …), ``lines`` the text.
    """

    what: str
    lines: tuple[str, ...]


Event = (
    SettingOverridden
    | CompileStarted
    | CompileFinished
    | KindPassedOver
    | HostPassedOver
    | KeepStarted
    | EvidenceVerified
    | Delivered
    | Launched
    | Trapped
    | Finished
    | ProtectionLost
)

Watcher = Callable[[Event], None]


def ignore(_: Event) -> None:
    """The watcher of a deployment that nobody watches."""
