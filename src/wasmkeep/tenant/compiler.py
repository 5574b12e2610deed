"""wasmtime's compiler, configured whole: nothing is left to its defaults or to this computer's processor.

Target and CPU level go by name, every WebAssembly feature is on or off by name, memory and guards are as the
keep lays them out; so the same module and level give the same bytes on every computer.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from typing import TYPE_CHECKING, Final

from wasmkeep.errors import PlatformUnavailable, ProgramError
from wasmkeep.tenant import wasmtime_facts
from wasmkeep.tenant.binary import malformed, unsupported
from wasmkeep.tenant.settings import SWITCHES, VALUES, CpuLevel

if TYPE_CHECKING:
    import wasmtime

__all__ = ["check_platform", "machine_code", "text_to_binary"]

# What wasmtime's validator says of a feature that is off (wasmparser, crates/wasmparser/src/validator), and
# the name that users know the feature by.
_DISABLED: Final = re.compile(
    r"(.*) support is not enabled|not enabled|not supported without|must be enabled|disallowed"
    r"|required for|require.*proposal|locally defined global"
)
_FEATURES: Final = (
    (re.compile(r"threads|shared memor|atomic"), "threads (shared memory, atomics)"),
    (re.compile(r"exception"), "exceptions"),
    (re.compile(r"multi-memory|multiple memories"), "more than one memory (multi-memory)"),
    (re.compile(r"memory64|64-bit"), "memory64 (64-bit addresses)"),
    (re.compile(r"custom page sizes"), "custom page sizes"),
    (re.compile(r"stack switching|continuation"), "stack switching"),
    (re.compile(r"function[- ]references"), "typed function references"),
    (re.compile(r"locally defined global"), "constants made of its own globals (part of GC)"),
    (re.compile(r"\bgc\b|struct|array"), "garbage collection (GC)"),
)


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


def text_to_binary(text: str) -> bytes:
    """A module in the text format, as binary.

    :raises ProgramError: ``program.text``: it does not parse; ``found`` says where.
    """
    import wasmtime

    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ProgramError(
            "program.text",
            "not a valid WebAssembly module in text format",
            found="; ".join(lines[:2]) or "nothing that reads",
            meaning="nothing was sent",
            remedy="correct the text at the place named",
        ) from error


def machine_code(wasm: bytes, level: CpuLevel) -> bytes:
    """wasmtime's ELF file for a module, after wasmtime too has validated it.

    :raises ProgramError: not valid, or it needs a feature that is off.
    :raises PlatformUnavailable: this computer's processor is below ``level``.
    """
    # The library is imported here, once the platform has been checked; a cached program never needs it.
    import wasmtime

    engine = _engine(level)
    try:
        wasmtime.Module.validate(engine, wasm)
    except wasmtime.WasmtimeError as error:
        raise _not_valid(str(error)) from error
    try:
        # An empty module first: wasmtime compares the level with the processor only after compiling.
        wasmtime.Module(engine, b"\0asm\1\0\0\0")
        return bytes(wasmtime.Module(engine, wasm).serialize())
    except wasmtime.WasmtimeError as error:
        raise _not_compiled(str(error), level) from error


def _engine(level: CpuLevel) -> wasmtime.Engine:
    import wasmtime

    config = wasmtime.Config()
    for name, value in {**SWITCHES, **VALUES}.items():
        setattr(config, name, value)
    config.cranelift_flag_enable(level.value)
    return wasmtime.Engine(config)


def _not_valid(message: str) -> ProgramError:
    text = " ".join(message.split())
    disabled = _DISABLED.search(text)
    if disabled:
        known = next((feature for pattern, feature in _FEATURES if pattern.search(text)), None)
        return unsupported(known or disabled[1] or "a feature that is off", found=text)
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
