"""Standard streams as `Keep.toml` wires them: the command's own, none, or a file of the tenant's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wasmkeep.errors import InputError, OutputError
from wasmkeep.tenant.configuration import Configuration, Stream, StreamKind
from wasmkeep.tenant.streams import BytesInput, FileInput, FileOutput, Input, NoOutput, Output


@contextmanager
def wired(
    configuration: Configuration, inherited: tuple[Input, Output, Output]
) -> Iterator[tuple[Input, Output, Output]]:
    """The three streams; files are opened here and closed at the end. Raises InputError, OutputError."""
    stdin, stdout, stderr = inherited
    with ExitStack() as stack:
        yield (
            _input(configuration.stdin, stdin, stack),
            _output(configuration.stdout, stdout, "standard output", stack),
            _output(configuration.stderr, stderr, "standard error", stack),
        )


def _input(stream: Stream, inherited: Input, stack: ExitStack) -> Input:
    match stream.kind:
        case StreamKind.INHERIT:
            return inherited
        case StreamKind.NONE:
            return BytesInput(b"")
        case StreamKind.FILE:
            return FileInput(_opened(stream, os.O_RDONLY, InputError, "input.file", stack))


def _output(stream: Stream, inherited: Output, name: str, stack: ExitStack) -> Output:
    match stream.kind:
        case StreamKind.INHERIT:
            return inherited
        case StreamKind.NONE:
            return NoOutput()
        case StreamKind.FILE:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            return FileOutput(_opened(stream, flags, OutputError, "output.file", stack), name)


def _opened(
    stream: Stream, flags: int, failure: type[InputError | OutputError], check: str, stack: ExitStack
) -> int:
    path = stream.file if stream.file is not None else Path()
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, 0o666)
    except OSError as error:
        raise failure(
            check,
            "a file that Keep.toml wires to a standard stream cannot be opened",
            found=f"{path}: {error.strerror}",
            required="a file that this user can open",
        ) from error
    stack.callback(os.close, descriptor)
    return descriptor
