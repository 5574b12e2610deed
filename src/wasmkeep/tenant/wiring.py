"""Standard streams as `Keep.toml` wires them: the command's own, none, or a file of the tenant's.

Files are opened beneath the folder of `Keep.toml`, through no symbolic link, and must be regular. Those for
output are made where absent (mode 0600), and lose what they held only when the first output arrives or the
program has ended: a keep that was refused before changes none of them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from wasmkeep.errors import InputError, OutputError
from wasmkeep.tenant.beneath import open_beneath
from wasmkeep.tenant.configuration import Configuration, Stream, StreamKind
from wasmkeep.tenant.streams import BytesInput, FileInput, FileOutput, Input, NoOutput, Output

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND  # both outputs may be one file


@contextmanager
def wired(
    configuration: Configuration, inherited: tuple[Input, Output, Output]
) -> Iterator[tuple[Input, Output, Output]]:
    """The three streams; files are opened here and closed at the end. Raises InputError, OutputError."""
    stdin, stdout, stderr = inherited
    with ExitStack() as stack:
        replaced = _Replaced()
        yield (
            _input(configuration.stdin, stdin, stack),
            _output(configuration.stdout, stdout, "standard output", replaced, stack),
            _output(configuration.stderr, stderr, "standard error", replaced, stack),
        )
        replaced.empty()  # not after an error: then nothing proves that a program ran


@dataclass(slots=True)
class _Replaced:
    """The files that the program's output replaces, emptied all at once and only once."""

    descriptors: list[int] = field(default_factory=list)

    def empty(self) -> None:
        """Raises OutputError."""
        while self.descriptors:
            try:
                os.ftruncate(self.descriptors.pop(), 0)
            except OSError as error:
                raise OutputError(
                    "output.write",
                    "a file that Keep.toml wires to a standard stream cannot be emptied",
                    found=error.strerror or type(error).__name__,
                    meaning="the keep was ended",
                ) from error


class _ReplacingOutput:
    """Output to a file, instead of what it held."""

    def __init__(self, output: FileOutput, replaced: _Replaced) -> None:
        self._output = output
        self._replaced = replaced

    async def write(self, data: bytes) -> None:
        self._replaced.empty()
        await self._output.write(data)


def _input(stream: Stream, inherited: Input, stack: ExitStack) -> Input:
    match stream.kind:
        case StreamKind.INHERIT:
            return inherited
        case StreamKind.NONE:
            return BytesInput(b"")
        case StreamKind.FILE:
            return FileInput(_opened(stream, os.O_RDONLY, InputError, "input.file", stack))


def _output(stream: Stream, inherited: Output, name: str, replaced: _Replaced, stack: ExitStack) -> Output:
    match stream.kind:
        case StreamKind.INHERIT:
            return inherited
        case StreamKind.NONE:
            return NoOutput()
        case StreamKind.FILE:
            descriptor = _opened(stream, _APPEND, OutputError, "output.file", stack)
            replaced.descriptors.append(descriptor)
            return _ReplacingOutput(FileOutput(descriptor, name), replaced)


def _opened(
    stream: Stream, flags: int, failure: type[InputError | OutputError], check: str, stack: ExitStack
) -> int:
    path = stream.file if stream.file is not None else Path()
    beneath = stream.beneath if stream.beneath is not None else path.parent
    try:
        descriptor = open_beneath(beneath, path, flags)
        stack.callback(os.close, descriptor)
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        reason = "" if regular else "it is no regular file"
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no path"
    if reason:
        raise failure(
            check,
            "a file that Keep.toml wires to a standard stream cannot be opened",
            found=f"{path}: {reason}",
            required="a regular file beneath the folder of Keep.toml, with no symbolic link on the way",
        )
    return descriptor
