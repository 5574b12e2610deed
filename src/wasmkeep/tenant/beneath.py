"""Opening what a `Keep.toml` names: beneath its folder, and never through a symbolic link.

A program's folder may come from somebody else, with links in it to any file of the user's. So each part of
a path is opened relative to the folder before it, which is open already, whatever happens to the tree
meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Final

__all__ = ["open_beneath"]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ALWAYS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""For the last part: a pipe must not make its opener wait, nor a terminal become the process's own."""
_NEW: Final = 0o600


def open_beneath(folder: Path, path: Path, flags: int) -> int:
    """A descriptor of ``path``, which begins with ``folder``; links in ``folder`` itself are followed.

    :param flags: of open(2); a file that O_CREAT makes is the user's alone (0600).
    :raises OSError: ELOOP where a part after ``folder`` is a symbolic link; EINVAL where one is ``..``, or
        ``path`` does not begin with ``folder``.
    """
    parts = _parts(folder, path)
    with ExitStack() as opened:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if not parts:
            return place
        opened.callback(os.close, place)
        for name in parts[:-1]:
            place = _open_part(place, name, _FOLDER)
            opened.callback(os.close, place)
        return _open_part(place, parts[-1], flags | _ALWAYS)


def _parts(folder: Path, path: Path) -> tuple[str, ...]:
    inner: PurePath | None = path.relative_to(folder) if path.is_relative_to(folder) else None
    if inner is None or ".." in inner.parts:
        raise OSError(errno.EINVAL, "it is not inside the folder")
    return inner.parts


def _open_part(place: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags, _NEW, dir_fd=place)
    except OSError:
        # O_DIRECTORY calls a link no directory; to the user it is a link. The refusal stands either way.
        if _is_link(place, name):
            raise OSError(errno.ELOOP, f"{name} is a symbolic link") from None
        raise


def _is_link(place: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)
    except OSError:
        return False
