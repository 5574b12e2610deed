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
def private_folder() -> Iterator[Path]:
    """A new folder (0700), in the temporary folder where its name is short, else in /tmp; gone at the end."""
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) > _MAX_LENGTH:
        base = "/tmp"  # noqa: S108 - mkdtemp makes a folder of its own there, mode 0700
    folder = Path(tempfile.mkdtemp(prefix="wasmkeep-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
