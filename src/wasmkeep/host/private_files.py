"""Files that only this user may read or replace: folders 0700, files 0600, written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wasmkeep.errors import SystemFailure
from wasmkeep.whole_file import write_whole

__all__ = ["make_private_folder", "read_private", "write_private"]


def make_private_folder(folder: Path) -> None:
    """Create ``folder`` (0700) or check that it is this user's alone. Raises ``SystemFailure`` otherwise."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise _failure(folder, error) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise SystemFailure(
            "host.private_folder",
            f"the folder {folder} is not this user's alone",
            found=f"owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}",
            required=f"a folder of user {os.geteuid()} that nobody else may write",
            remedy=f"remove it, or `chmod 700 {folder}` if it is yours",
        )


def read_private(path: Path, max_bytes: int) -> bytes:
    """The file's bytes. Raises ``FileNotFoundError``, or ``SystemFailure`` where others may read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _failure(path, error) from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise SystemFailure(
                "host.private_file",
                f"{path} is not this user's alone",
                found=f"owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}",
                required=f"a file of user {os.geteuid()}, mode 0600",
                remedy="its tokens may be known to others: remove it and create new ones",
            )
        body = file.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise SystemFailure(
            "host.private_file", f"{path} is too large", required=f"at most {max_bytes} bytes"
        )
    return body


def write_private(path: Path, body: bytes) -> None:
    """Write the file whole, mode 0600. Raises ``SystemFailure``."""
    try:
        write_whole(path, body)
    except OSError as error:
        raise _failure(path, error) from error


def _failure(path: Path, error: OSError) -> SystemFailure:
    return SystemFailure(
        "host.private_file", f"{path} cannot be used", found=error.strerror or type(error).__name__
    )
