"""From a program's bytes to a `Program`: checked parse, wasmtime's compiler, layout; cached.

The compiler is configured whole: target and CPU level by name (never this computer's own), every WebAssembly
feature on or off by name, memory and guards as the keep lays them out. The same module and level give the
same bytes on every computer; a verifier recompiles and compares.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import threading
from collections.abc import Callable
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Final

from wasmkeep.errors import PlatformUnavailable, ProgramError, SystemFailure
from wasmkeep.tenant import elf, layout, module, wasmtime_facts
from wasmkeep.tenant.binary import malformed, unsupported
from wasmkeep.tenant.cache import ProgramCache, cache_key
from wasmkeep.tenant.program import Program

if TYPE_CHECKING:
    import wasmtime

__all__ = ["DEFAULT_LEVEL", "CpuLevel", "Progress", "compile_program", "parse_target", "target_name"]

Progress = Callable[[float], None]
"""Called with the seconds since compilation began: at once, then about ten times a second."""


class CpuLevel(StrEnum):
    """A level of the x86-64 psABI that programs may be compiled for."""

    V2 = "x86-64-v2"
    V3 = "x86-64-v3"
    V4 = "x86-64-v4"


DEFAULT_LEVEL: Final = CpuLevel.V3

MEMORY_RESERVATION: Final = 4 << 30
"""Addresses the compiled code takes for linear memory; the keep reserves 4 GiB at 0x1_0000_0000."""
MEMORY_GUARD: Final = 32 << 20
"""Unmapped bytes after it that the compiled code relies on; the keep has 4 GiB."""

_SWITCHES: Final = {
    # what runs
    "wasm_bulk_memory": True,
    "wasm_multi_value": True,
    "wasm_reference_types": True,
    "wasm_relaxed_simd": True,
    "wasm_relaxed_simd_deterministic": False,
    "wasm_simd": True,
    "wasm_tail_call": True,
    "wasm_wide_arithmetic": True,
    # what does not
    "gc_support": False,
    "shared_memory": False,
    "wasm_component_model": False,
    "wasm_custom_page_sizes": False,
    "wasm_exceptions": False,
    "wasm_function_references": False,
    "wasm_gc": False,
    "wasm_memory64": False,
    "wasm_multi_memory": False,
    "wasm_stack_switching": False,
    "wasm_threads": False,
    # how it runs
    "consume_fuel": False,
    "cranelift_nan_canonicalization": False,
    "debug_info": False,
    "epoch_interruption": False,
    "memory_init_cow": False,
    "memory_may_move": False,
    "native_unwind_info": False,
    "signals_based_traps": True,
}
"""Every switch of wasmtime's configuration that changes what is accepted or compiled. ``memory_init_cow`` is
off so that runtime data are the module's segments one by one, as the layout expects."""
_VALUES: Final = {
    "cranelift_opt_level": "speed",
    "memory_guard_size": MEMORY_GUARD,
    "memory_reservation": MEMORY_RESERVATION,
    "memory_reservation_for_growth": 0,
    "strategy": "cranelift",
    "target": wasmtime_facts.TRIPLE,
}

_FEATURE_MESSAGES: Final = (
    (re.compile(r"threads|shared memor|atomic"), "threads (shared memory, atomics)"),
    (re.compile(r"exceptions|legacy exception"), "exceptions"),
    (re.compile(r"multi-memory|multiple memories"), "more than one memory (multi-memory)"),
    (re.compile(r"memory64|64-bit"), "memory64 (64-bit addresses)"),
    (re.compile(r"custom page sizes"), "custom page sizes"),
    (re.compile(r"stack switching|continuation"), "stack switching"),
    (re.compile(r"function references|function-references"), "typed function references"),
    (re.compile(r"\bgc\b|GC|struct|array indexed"), "garbage collection (GC)"),
)
_DISABLED: Final = re.compile(
    r"not enabled|not supported|must be enabled|disallowed|require[sd]?\b.*proposal"
)


def target_name(level: CpuLevel) -> str:
    """The target as packages, statements and receipts name it."""
    return f"wasmtime {wasmtime_facts.VERSION} {wasmtime_facts.TRIPLE} {level}"


def parse_target(target: str) -> CpuLevel:
    """The level a target's name ends in; the name comes from a receipt.

    :raises PlatformUnavailable: ``program.target``: it is not one this wasmkeep compiles for.
    """
    for level in CpuLevel:
        if target_name(level) == target:
            return level
    raise PlatformUnavailable(
        "program.target",
        "this wasmkeep cannot compile for the target that is named",
        found=target[:100],
        required=" or ".join(map(target_name, CpuLevel)),
        remedy="use the wasmkeep release that the receipt was made with",
    )


def compile_program(
    wasm: bytes,
    *,
    level: CpuLevel = DEFAULT_LEVEL,
    cache: ProgramCache | None = None,
    progress: Progress | None = None,
) -> Program:
    """The program part for ``wasm``, from ``cache`` where it is there, else compiled, which can take seconds.

    :param wasm: a core module in the binary format.
    :param progress: called while compiling, from the calling thread; never for a program from the cache.
    :raises ProgramError: the module is refused: malformed, unsupported, or not valid.
    :raises PlatformUnavailable: not Linux on x86-64, a processor below ``level``, or another wasmtime.
    """
    target = target_name(level)
    key = cache_key(wasm, target, _flags())
    if cache is not None:
        found = cache.load(key, target)
        if found is not None:
            return found
    program = _compile(wasm, level, progress)
    if cache is not None:
        cache.store(key, program)
    return program


def _flags() -> str:
    settings = {**_SWITCHES, **_VALUES}
    listed = " ".join(f"{name}={value}" for name, value in sorted(settings.items()))
    return f"layout={layout.LAYOUT_VERSION} {listed}"


def _compile(wasm: bytes, level: CpuLevel, progress: Progress | None) -> Program:
    parsed = module.parse(wasm)
    check_platform()
    engine = _engine(level)
    compiled = _watched(lambda: _machine_code(engine, wasm, level), progress)
    sections = elf.parse(
        compiled, text_section=wasmtime_facts.SECTION_TEXT, traps_section=wasmtime_facts.SECTION_TRAPS
    )
    return layout.lay_out(parsed, wasm, sections, target_name(level))


def check_platform() -> None:
    """Whether programs can be compiled here at all.

    :raises PlatformUnavailable: not Linux on x86-64, or another wasmtime than the layout is made for.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ("x86_64", "AMD64"):
        raise PlatformUnavailable(
            "program.platform",
            "programs can be compiled for a keep on Linux on x86-64 only",
            found=f"{sys.platform} on {machine}",
            required="linux on x86_64",
            remedy="deploy from such a computer",
        )
    try:
        version = importlib.metadata.version("wasmtime")
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    if version != wasmtime_facts.VERSION:
        raise PlatformUnavailable(
            "program.wasmtime",
            "another version of wasmtime is installed than wasmkeep is made for",
            found=f"wasmtime {version}",
            required=f"wasmtime {wasmtime_facts.VERSION}",
            meaning="its compiled code would not fit the keep; nothing was sent",
            remedy=f"pip install wasmtime=={wasmtime_facts.VERSION}",
        )


def _engine(level: CpuLevel) -> wasmtime.Engine:
    # Imported here: the library is large, and a program from the cache never needs it.
    import wasmtime

    config = wasmtime.Config()
    for name, value in {**_SWITCHES, **_VALUES}.items():
        setattr(config, name, value)
    config.cranelift_flag_enable(level.value)
    return wasmtime.Engine(config)


def _machine_code(engine: wasmtime.Engine, wasm: bytes, level: CpuLevel) -> bytes:
    import wasmtime

    try:
        wasmtime.Module.validate(engine, wasm)
    except wasmtime.WasmtimeError as error:
        raise _not_valid(str(error)) from error
    try:
        return bytes(wasmtime.Module(engine, wasm).serialize())
    except wasmtime.WasmtimeError as error:
        raise _not_compiled(str(error), level) from error


def _not_valid(message: str) -> ProgramError:
    text = " ".join(message.split())
    if _DISABLED.search(text):
        for pattern, feature in _FEATURE_MESSAGES:
            if pattern.search(text):
                return unsupported(feature, found=text)
    return malformed("wasmtime's validation failed", found=text)


def _not_compiled(message: str, level: CpuLevel) -> ProgramError | PlatformUnavailable:
    text = " ".join(message.split())
    if "native host" in text or "not available on the host" in text or "compilation settings" in text:
        return PlatformUnavailable(
            "program.level",
            f"this computer's processor cannot compile for {level}",
            found=text,
            required=f"a processor of level {level}",
            remedy=f"choose a lower level, such as {CpuLevel.V2}",
        )
    return ProgramError(
        "program.compile",
        "wasmtime could not compile the program",
        found=text,
        meaning="nothing was sent",
        remedy="build the program without what the message names",
    )


def _watched(work: Callable[[], bytes], progress: Progress | None) -> bytes:
    """Run ``work`` in a thread of its own, so that the caller can be told and can be interrupted."""
    if progress is None:
        return work()
    results: list[bytes] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except (ProgramError, PlatformUnavailable) as error:
            failures.append(error)

    began = monotonic()
    thread = threading.Thread(target=run, name="wasmkeep-compile", daemon=True)
    thread.start()
    while True:
        progress(monotonic() - began)
        thread.join(0.1)
        if not thread.is_alive():
            break
    if failures:
        raise failures[0]
    if not results:
        raise SystemFailure("program.compile", "the compiler ended without a result")
    return results[0]
