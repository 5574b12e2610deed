"""A private folder for as long as a command runs, with a name short enough for a socket in it."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wasmkeep.errors import SystemFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["folder_of_child", "private_folder"]

_MAX_LENGTH = 80  # bytes; a socket's path has at most 107
_RANDOM_BYTES = 6  # of a name: 8 characters


@contextmanager
def private_folder(named: Path | None = None) -> Iterator[Path]:
    """A new folder (0700), in the temporary folder where its name is short, else in /tmp; gone at the end.

    ``named`` is where a parent process wants it. It must not be there yet, since everything in it is removed
    at the end. Raises SystemFailure where it is, or cannot be made.
    """
    folder = Path(tempfile.mkdtemp(prefix="wasmkeep-", dir=_base())) if named is None else _made(named)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def folder_of_child() -> Iterator[Path]:
    """A name that nobody can guess, for the private folder of a child process, which makes and removes it.

    Whoever of the two ends last removes it, so that nothing is left if the other is killed.
    """
    folder = Path(_base(), f"wasmkeep-{secrets.token_urlsafe(_RANDOM_BYTES)}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700)
    except (OSError, ValueError) as error:
        raise SystemFailure(
            "folder.private",
            "the private folder cannot be made",
            found=f"{folder}: {error.strerror if isinstance(error, OSError) else 'it is no path'}",
            required="a folder that is not there yet: it is removed at the end, with everything in it",
        ) from error
    return folder


def _base() -> str:
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) > _MAX_LENGTH:
        return "/tmp"  # noqa: S108 - a folder of its own is made there, mode 0700
    return base
