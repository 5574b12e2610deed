"""What the user names as PROGRAM: a `.wasm` or `.wat` file, or a folder with `main.wasm` and `Keep.toml`.

A folder may hold `main.wat` instead where it has no `main.wasm`.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wasmkeep.errors import ConfigurationError, InputError, ProgramError
from wasmkeep.tenant.configuration import Configuration
from wasmkeep.tenant.keep_toml import FILE_NAME, MAX_BYTES, parse_configuration

__all__ = ["MAIN", "Source", "read_source"]

MAIN: Final = "main.wasm"
MAIN_TEXT: Final = "main.wat"
MAX_PROGRAM_BYTES: Final = 256 << 20
"""Largest program file, in bytes."""

_BINARY: Final = b"\0asm"


@dataclass(frozen=True, slots=True)
class Source:
    """``name``: the program's file name, its first argument. ``wasm``: the binary format, unchecked."""

    name: str
    path: Path
    wasm: bytes
    configuration: Configuration


def read_source(program: Path, configuration: Path | None = None) -> Source:
    """Read the program, and its configuration: the named one, the folder's, or the default.

    :raises InputError: something is missing, unreadable, too large or no regular file.
    :raises ProgramError: text format that does not parse.
    :raises ConfigurationError: the configuration is wrong.
    """
    # os.path, unlike pathlib, calls a path that cannot exist no folder instead of raising.
    folder = os.path.isdir(program)
    file = _main(program) if folder else program
    data = _read(file, MAX_PROGRAM_BYTES, "program")
    if folder and configuration is None:
        configuration = program / FILE_NAME
    settings = Configuration() if configuration is None else _read_configuration(configuration)
    return Source(file.name, file, _to_binary(data, file), settings)


def _main(folder: Path) -> Path:
    binary, text = folder / MAIN, folder / MAIN_TEXT
    return text if os.path.isfile(text) and not os.path.lexists(binary) else binary


def _read_configuration(path: Path) -> Configuration:
    data = _read(path, MAX_BYTES, "configuration")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError("configuration.text", f"{path.name} is not UTF-8") from error
    return parse_configuration(text, name=path.name, base=path.parent)


def _to_binary(data: bytes, file: Path) -> bytes:
    """The bytes themselves, or the binary form of text. What a file holds decides, not its name."""
    if data.startswith(_BINARY) or file.suffix != ".wat":
        return data
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProgramError("program.text", f"{file.name} is neither WebAssembly nor text") from error
    # Imported here: the compiler's library is large, and binary programs do not need it to be read.
    from wasmkeep.tenant import compiler

    compiler.check_platform()
    return compiler.text_to_binary(text)


def _read(path: Path, most: int, what: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _unreadable(path, what, error) from error
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{what}.file", f"the {what} is not a regular file", found=str(path))
        if status.st_size > most:
            found = f"{status.st_size} bytes"
            raise InputError(
                f"{what}.file", f"the {what} is too large", found=found, required=f"at most {most}"
            )
        try:
            return file.read(status.st_size + 1)
        except OSError as error:
            raise _unreadable(path, what, error) from error


def _unreadable(path: Path, what: str, error: OSError | ValueError) -> InputError:
    number = error.errno if isinstance(error, OSError) else None
    reason = os.strerror(number).lower() if number else "it is no path"
    return InputError(
        f"{what}.file",
        f"the {what} cannot be read: {reason}",
        found=str(path),
        meaning="nothing was sent",
        remedy="check the path and its permissions",
    )
