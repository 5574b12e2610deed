"""The flags that ``run`` and ``deploy`` share, and what they mean as a request."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from wasmkeep.errors import InputError, UsageError

if TYPE_CHECKING:
    import argparse

    from wasmkeep.tenant.request import DeliveredDirectory

__all__ = [
    "TEE_KINDS",
    "add_deployment_flags",
    "add_output_flags",
    "directories",
    "environment",
    "memory_size",
    "read_file",
    "seconds",
]

TEE_KINDS = ("snp", "sev-es", "sev")
_MAX_POLICY_SIZE = 1 << 20  # bytes
_OPEN_ALREADY = re.compile(r"/dev/(stdin|fd/[0-9]+)")
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """``--json`` and ``--quiet``, which every command takes."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json", action="store_true", help="the same facts for machines, one JSON object a line"
    )
    group.add_argument("--quiet", action="store_true", help="say only what is wrong or unprotected")


def add_deployment_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of section "what it is given" and "what it must prove" of ``run`` and ``deploy``."""
    parser.add_argument(
        "program",
        metavar="PROGRAM",
        help=".wasm or .wat file, or a directory with main.wasm (or .wat) and Keep.toml",
    )
    given = parser.add_argument_group("what the program is given")
    given.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="K[=V]",
        help="an environment variable; without =V, this environment's value (unseen by `ps`)",
    )
    given.add_argument(
        "--dir",
        action="append",
        default=[],
        metavar="LOCAL:GUEST[:rw]",
        help="a directory delivered read-only as /GUEST; with :rw a private writable copy, gone at exit",
    )
    given.add_argument(
        "--config", metavar="FILE", help="read this Keep.toml instead of the program directory's"
    )
    proven = parser.add_argument_group("what must be proven first")
    proven.add_argument(
        "--tee", choices=TEE_KINDS, metavar="KIND", help="use this kind of TEE: snp, sev-es or sev"
    )
    proven.add_argument(
        "--policy", metavar="FILE", help="what evidence must show (TOML); default: the strict one"
    )
    after = parser.add_argument_group("the run")
    after.add_argument(
        "--receipt", metavar="FILE", help="where the receipt goes; default: PROGRAM's name, .receipt"
    )
    after.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="end the keep when it took longer; default: no limit",
    )
    add_output_flags(parser)


def seconds(text: str) -> float:
    """A positive number of seconds."""
    import argparse
    import math

    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def memory_size(text: str) -> int:
    """A number of bytes, with an optional binary unit: ``64MiB``."""
    import argparse

    digits = text.rstrip("KMGiB ")
    factor = _UNITS.get(text[len(digits) :].strip())
    if factor is None or not (digits.isascii() and digits.isdigit()) or len(digits) > 15:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 64MiB or 1GiB")
    return int(digits) * factor


def environment(items: list[str]) -> tuple[tuple[str, str], ...]:
    """The variables that ``--env`` names, in order. Raises UsageError."""
    pairs = []
    for item in items:
        name, equals, value = item.partition("=")
        if not name or "\0" in item:
            raise UsageError(
                "usage.env", "--env needs a name", found="no name before '='", required="K=V or K"
            )
        if not equals:
            if name not in os.environ:
                raise UsageError(
                    "usage.env",
                    f"--env {name}: there is no such variable here",
                    required=f"{name} set in this environment, or --env {name}=VALUE",
                )
            value = os.environ[name]
        pairs.append((name, value))
    return tuple(pairs)


def directories(items: list[str]) -> tuple[DeliveredDirectory, ...]:
    """The trees that ``--dir`` names, in order. Raises UsageError, InputError."""
    from wasmkeep.tenant.request import DeliveredDirectory

    trees = []
    for item in items:
        path, writable = (item[: -len(":rw")], True) if item.endswith(":rw") else (item, False)
        local, colon, guest = path.rpartition(":")
        if not colon or not local or not guest:
            raise UsageError(
                "usage.dir", f"--dir {item}: not understood", required="LOCAL:GUEST or LOCAL:GUEST:rw"
            )
        if not Path(local).is_dir():
            raise InputError("input.directory", f"--dir: there is no directory {local}")
        trees.append(
            DeliveredDirectory(Path(local), guest if guest.startswith("/") else f"/{guest}", writable)
        )
    return tuple(trees)


def read_file(path: str, what: str, *, limit: int = _MAX_POLICY_SIZE) -> bytes:
    """All of a small file of the user's: a regular one, or an open descriptor as the shell names it.

    Those names are ``/dev/stdin`` and ``/dev/fd/N``. Raises InputError, naming the file and the reason.
    """
    try:
        # A pipe that nobody writes to must not make a command wait.
        named_by_shell = _OPEN_ALREADY.fullmatch(path) is not None
        with open(path, "rb", opener=None if named_by_shell else _open_without_waiting) as file:
            if not named_by_shell and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(
                    "input.file", f"cannot read {what} {path}", found="no regular file", required="one"
                )
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError(
            "input.unreadable", f"cannot read {what} {path}", found=error.strerror or "?"
        ) from error
    except ValueError as error:  # a NUL in the name
        raise InputError("input.unreadable", f"cannot read {what}", found="a name that is not one") from error
    if len(data) > limit:
        raise InputError(
            "input.too-large", f"{what} {path} is too large", found="more", required=f"at most {limit} bytes"
        )
    return data


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
