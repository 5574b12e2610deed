"""Files that are written whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes, *, modified: float | None = None) -> None:
    """Write beside ``path``, flush to disk, move into place; readable by its owner alone (mode 0600).

    ``modified`` becomes the file's time, in seconds since the epoch. Whoever reads meanwhile, or after a
    crash, finds the old file or the new one. Raises OSError; nothing is left beside then.
    """
    beside = path.with_name(f".{secrets.token_hex(8)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(beside, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if modified is not None:
            os.utime(beside, (modified, modified))
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
