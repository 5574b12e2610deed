"""From a program's bytes to a `Program`: checked parse, wasmtime's compiler, layout; cached.

The same module and level give the same bytes on every computer; a verifier recompiles and compares.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from wasmkeep.errors import PlatformUnavailable, SystemFailure
from wasmkeep.tenant import settings, wasmtime_facts
from wasmkeep.tenant.cache import ProgramCache, cache_key
from wasmkeep.tenant.program import Program
from wasmkeep.tenant.settings import DEFAULT_LEVEL, CpuLevel

__all__ = ["Progress", "compile_program", "level_of_target", "target_name"]

Progress = Callable[[float], None]
"""Called with the seconds since compilation began: at once, then about ten times a second."""


def target_name(level: CpuLevel) -> str:
    """The target as packages, statements and receipts name it."""
    return f"wasmtime {wasmtime_facts.VERSION} {wasmtime_facts.TRIPLE} {level}"


def level_of_target(target: str) -> CpuLevel:
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
    key = cache_key(wasm, target, settings.describe())
    found = cache.load(key, target) if cache is not None else None
    if found is not None:
        return found
    program = _compile(wasm, level, progress)
    if cache is not None:
        cache.store(key, program)
    return program


def _compile(wasm: bytes, level: CpuLevel, progress: Progress | None) -> Program:
    # Imported here: a program from the cache needs none of it.
    from wasmkeep.tenant import compiler, elf, layout, module

    parsed = module.parse(wasm)
    compiler.check_platform()
    compiled = _watched(lambda: compiler.machine_code(wasm, level), progress)
    sections = elf.parse(
        compiled, text_section=wasmtime_facts.SECTION_TEXT, traps_section=wasmtime_facts.SECTION_TRAPS
    )
    return layout.lay_out(parsed, wasm, sections, target_name(level))


def _watched(work: Callable[[], bytes], progress: Progress | None) -> bytes:
    """Run ``work`` in a thread of its own, so that the caller can be told and can be interrupted."""
    if progress is None:
        return work()
    results: list[bytes] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - it is raised again in the calling thread
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
