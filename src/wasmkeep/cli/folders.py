"""A private folder for as long as a command runs, with a name short enough for a socket in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["private_folder"]

_MAX_LENGTH = 80  # bytes; a socket's path has at most 107


@contextmanager
def private_folder(shared: Path | None = None) -> Iterator[Path]:
    """A new folder (0700), in the temporary folder where its name is short, else in /tmp; gone at the end.

    ``shared`` is one that a parent process made for both: whoever ends last finds it gone.
    """
    folder = shared or Path(tempfile.mkdtemp(prefix="wasmkeep-", dir=_base()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _base() -> str:
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) > _MAX_LENGTH:
        return "/tmp"  # noqa: S108 - mkdtemp makes a folder of its own there, mode 0700
    return base
