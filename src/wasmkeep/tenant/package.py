"""The invocation part of a package: what a program is given for one run, byte for byte.

Source: docs/protocol.md, section 4, "Invocation part" and "Digests of tenant data". Every bound that the
keep enforces is enforced here first, before anything is allocated for the package.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from wasmkeep.errors import InputError, ProgramError, UsageError, WasmkeepError
from wasmkeep.protocol.events import Salts
from wasmkeep.tenant.guest_paths import check_path, shown
from wasmkeep.tenant.program import Program

__all__ = ["DeliveredFile", "Delivery", "Invocation", "Salts", "invocation"]

MAGIC: Final = b"WKINVO01"
HEADER: Final = struct.Struct("<8sQQ 5I I QQ 32s 224s 32x")
_FILE: Final = struct.Struct("<IIQQ")
_DIRECTORY: Final = 1
_WRITABLE: Final = 2

MAX_STRINGS: Final = 4096
"""Arguments, and likewise environment variables."""
MAX_STRING_BYTES: Final = 65_536
MAX_CONFIGURATION_BYTES: Final = 65_536
MAX_FILES: Final = 4096
MAX_FILE_BYTES: Final = 512 << 20
MAX_MEMORY: Final = 4 << 30
"""Largest limit of linear memory, in bytes; the least is one page of 64 KiB."""
PAGE: Final = 64 << 10
ENTROPY_BYTES: Final = 32
SALT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class DeliveredFile:
    """A file or directory as the program sees it: ``path`` relative to ``/``, ``modified`` ns since 1970."""

    path: bytes
    directory: bool
    writable: bool
    modified: int
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one run is given. ``memory_limit`` in bytes; ``wall_clock`` in ns since 1970, the tenant's claim.

    ``arguments`` begin with the program's name, as a program expects.
    """

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    configuration: bytes
    files: tuple[DeliveredFile, ...]
    memory_limit: int
    wall_clock: int


@dataclass(frozen=True, slots=True)
class Invocation:
    """``encoded`` follows the program part; the others are parts of it; the keep proves their digests."""

    encoded: bytes
    configuration: memoryview
    arguments: memoryview
    environment: memoryview
    files: memoryview


def invocation(delivery: Delivery, program: Program, salts: Salts, entropy: bytes) -> Invocation:
    """Encode ``delivery`` for ``program``.

    :param entropy: 32 fresh random bytes, mixed with the keep's own.
    :raises UsageError: arguments or environment beyond what a keep takes.
    :raises InputError: files beyond it, or a name that it refuses.
    :raises ProgramError: the memory limit is below what the program starts with.
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError("entropy has 32 bytes")
    _check_memory(delivery, program)
    file_bytes = _check_files(delivery.files)
    arguments = _strings(delivery.arguments, "arguments")
    environment = _strings(_variables(delivery.environment), "environment variables")
    if len(delivery.configuration) > MAX_CONFIGURATION_BYTES:
        raise _too_much(UsageError, "bytes of configuration", len(delivery.configuration), 65_536)
    header = HEADER.pack(
        MAGIC,
        delivery.wall_clock,
        delivery.memory_limit,
        len(delivery.arguments),
        len(arguments),
        len(delivery.environment),
        len(environment),
        len(delivery.configuration),
        len(delivery.files),
        file_bytes,
        0,
        entropy,
        _salt_bytes(salts),
    )
    pieces = [header, arguments, environment, delivery.configuration]
    for file in delivery.files:
        flags = _DIRECTORY * file.directory | _WRITABLE * file.writable
        pieces.append(_FILE.pack(len(file.path), flags, len(file.content), file.modified))
        pieces += [file.path, file.content]
    return _sliced(b"".join(pieces), len(arguments), len(environment), len(delivery.configuration))


def _sliced(encoded: bytes, arguments: int, environment: int, configuration: int) -> Invocation:
    view = memoryview(encoded)
    first = HEADER.size
    second = first + arguments
    third = second + environment
    fourth = third + configuration
    return Invocation(
        encoded,
        arguments=view[first:second],
        environment=view[second:third],
        configuration=view[third:fourth],
        files=view[fourth:],
    )


def _salt_bytes(salts: Salts) -> bytes:
    """The seven salts in the order of the header: that of the class."""
    parts = [getattr(salts, field.name) for field in fields(salts)]
    if any(len(part) != SALT_BYTES for part in parts):
        raise ValueError("a salt has 32 bytes")
    return b"".join(parts)


def _too_much(error: type[WasmkeepError], what: str, found: int, most: int) -> WasmkeepError:
    return error(
        "package.size",
        f"too many {what} for a keep",
        found=str(found),
        required=f"at most {most}",
        meaning="nothing was sent",
        remedy="give the program less, or give it in a file",
    )


def _check_memory(delivery: Delivery, program: Program) -> None:
    limit, least = delivery.memory_limit, program.memory_minimum * PAGE
    if not PAGE <= limit <= MAX_MEMORY:
        raise UsageError(
            "package.memory",
            "the limit of linear memory is out of range",
            found=f"{limit} bytes",
            required=f"{PAGE} to {MAX_MEMORY} bytes",
        )
    if limit < least:
        raise ProgramError(
            "package.memory",
            "the program starts with more memory than its limit allows",
            found=f"an initial memory of {least} bytes",
            required=f"at most {limit} bytes, its limit",
            meaning="nothing was sent",
            remedy="raise limits.memory in Keep.toml, or --memory",
        )


def _strings(values: Sequence[str], what: str) -> bytes:
    if len(values) > MAX_STRINGS:
        raise _too_much(UsageError, what, len(values), MAX_STRINGS)
    if sum(map(len, values)) > MAX_STRING_BYTES:
        raise _too_much(UsageError, f"bytes of {what}", sum(map(len, values)), MAX_STRING_BYTES)
    pieces: list[bytes] = []
    for value in values:
        try:
            # surrogateescape: the shell's bytes reach the program as they were typed.
            encoded = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise _bad_string(what, "one is not text") from error
        if b"\0" in encoded:
            raise _bad_string(what, "one has a NUL in it")
        pieces.append(encoded + b"\0")
    joined = b"".join(pieces)
    if len(joined) > MAX_STRING_BYTES:
        raise _too_much(UsageError, f"bytes of {what}", len(joined), MAX_STRING_BYTES)
    return joined


def _bad_string(what: str, reason: str) -> UsageError:
    return UsageError(
        "package.string", f"the {what} cannot be delivered: {reason}", meaning="nothing was sent"
    )


def _variables(environment: Sequence[tuple[str, str]]) -> list[str]:
    names = [name for name, _ in environment]
    for name in names:
        if not name or "=" in name:
            raise _bad_string("environment variables", "a name is empty or has = in it")
    if len(set(names)) != len(names):
        raise _bad_string("environment variables", "a name is there twice")
    return [f"{name}={value}" for name, value in environment]


def _check_files(files: Sequence[DeliveredFile]) -> int:
    """All bounds on files; returns the bytes of all contents."""
    if len(files) > MAX_FILES:
        raise _too_much(InputError, "files", len(files), MAX_FILES)
    total = sum(len(file.content) for file in files)
    if total > MAX_FILE_BYTES:
        raise _too_much(InputError, "bytes of files", total, MAX_FILE_BYTES)
    seen: dict[bytes, bool] = {}
    for file in files:
        check_path(file.path)
        parent = file.path.rpartition(b"/")[0]
        if parent and not seen.get(parent, False):
            raise _bad_order(file.path, "its folder does not come before it")
        if file.path in seen:
            raise _bad_order(file.path, "two files have the same path in the keep")
        if file.directory and file.content:
            raise ValueError("a directory with content")
        if not 0 <= file.modified < 1 << 64:
            raise ValueError("a time outside u64")
        seen[file.path] = file.directory
    return total


def _bad_order(path: bytes, reason: str) -> InputError:
    return InputError(
        "files.path",
        f"a file cannot be delivered: {reason}",
        found=shown(path),
        meaning="nothing was sent",
        remedy="deliver folders that do not overlap",
    )
