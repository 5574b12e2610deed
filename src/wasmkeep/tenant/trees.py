"""Local folders as they go into a keep: read once, race-free, inside their own bounds.

Everything is opened relative to a folder that is already open and never through a symbolic link, so that
nothing outside the folder named by the user is read, whatever happens to the tree meanwhile. A symbolic
link is delivered as a copy of what it points to if that lies in the same tree, and refused otherwise; a
device, a pipe or a socket is refused. Entries come in the order of their names (bytes), folders before what
is in them, so the same tree gives the same bytes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from wasmkeep.errors import InputError
from wasmkeep.tenant.beneath import open_beneath
from wasmkeep.tenant.guest_paths import check_component, check_path, shown
from wasmkeep.tenant.package import MAX_FILE_BYTES, MAX_FILES, DeliveredFile

__all__ = ["LocalTree", "read_trees"]

MAX_LINKS: Final = 40
"""Symbolic links followed on the way to one entry (Linux's own bound)."""
MAX_DEPTH: Final = 100
"""Folders inside folders, in one tree."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class LocalTree:
    """``local``, a folder or a single file, appears in the keep as ``guest`` (absolute, ``/`` for the root).

    ``writable``: the program gets a private copy that it may change, gone when the keep ends. ``beneath``:
    the folder of the `Keep.toml` that named it, from which no symbolic link may lead to it; None where the
    user named it, who is free to.
    """

    local: Path
    guest: str
    writable: bool = False
    beneath: Path | None = None


def read_trees(trees: Sequence[LocalTree]) -> tuple[DeliveredFile, ...]:
    """All entries of ``trees``, parents first.

    :raises InputError: missing or unreadable, a name or kind of file that cannot be delivered, a link out of
        the tree, two trees with the same file, or more than a keep takes.
    """
    collected = _Collected()
    for tree in trees:
        _read_tree(tree, collected)
    return tuple(collected.files.values())


@dataclass(slots=True)
class _Collected:
    """What has been read so far, and how much of the bounds is left."""

    files: dict[bytes, DeliveredFile] = field(default_factory=dict)
    bytes_left: int = MAX_FILE_BYTES

    def add(self, file: DeliveredFile) -> None:
        check_path(file.path)
        known = self.files.get(file.path)
        if known is not None:
            if known.directory and file.directory:
                return
            raise _refused(
                "two folders bring the same file", file.path, "deliver folders that do not overlap"
            )
        if len(self.files) >= MAX_FILES:
            raise _too_many(f"{MAX_FILES} files and folders")
        self.files[file.path] = file
        self.bytes_left -= len(file.content)


def _refused(message: str, name: bytes, remedy: str = "") -> InputError:
    return InputError("files.refused", message, found=shown(name), meaning="nothing was sent", remedy=remedy)


def _too_many(required: str) -> InputError:
    return InputError(
        "files.size",
        "the delivered folders are too large for a keep",
        found=f"more than {required}",
        required=f"at most {required}",
        meaning="nothing was sent",
        remedy="deliver a smaller folder",
    )


def _unreadable(name: bytes, error: OSError | ValueError) -> InputError:
    number = error.errno if isinstance(error, OSError) else None
    reason = os.strerror(number) if number else "it is no path"
    return InputError(
        "files.unreadable",
        f"a file to deliver cannot be read: {reason.lower()}",
        found=shown(name),
        meaning="nothing was sent",
        remedy="check the path and its permissions",
    )


def _read_tree(tree: LocalTree, collected: _Collected) -> None:
    guest = _guest_components(tree.guest)
    local = os.fsencode(tree.local)
    with ExitStack() as stack:
        try:
            root = _open_root(tree)
        except (OSError, ValueError) as error:
            raise _unreadable(local, error) from error
        stack.callback(os.close, root)
        status = os.fstat(root)
        folder = stat.S_ISDIR(status.st_mode)
        _add_parents(guest if folder else guest[:-1], status, tree, collected, deliver_last=folder)
        if folder:
            walk = _Walk(local, tree.writable, collected)
            walk.read([root], b"/".join(guest), frozenset({(status.st_dev, status.st_ino)}))
        elif stat.S_ISREG(status.st_mode) and guest:
            content = _read_file(root, local, collected)
            path = b"/".join(guest)
            collected.add(DeliveredFile(path, False, tree.writable, _modified(status), content))
        else:
            raise _refused("only folders and regular files can be delivered", local)


def _open_root(tree: LocalTree) -> int:
    if tree.beneath is None:
        # The user named this path, so links in it are theirs to follow.
        return os.open(tree.local, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return open_beneath(tree.beneath, tree.local, os.O_RDONLY)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise _refused(
            "a symbolic link stands in a path that Keep.toml names",
            os.fsencode(tree.local),
            "replace it with a copy, or name where it leads with --dir",
        ) from error


def _guest_components(guest: str) -> list[bytes]:
    encoded = guest.encode("utf-8", "surrogateescape")
    if not encoded.startswith(b"/"):
        raise InputError(
            "files.guest",
            "the folder in the keep must be an absolute path",
            found=shown(encoded),
            required="a path such as /data",
        )
    inner = encoded.strip(b"/")
    components = inner.split(b"/") if inner else []
    for name in components:
        check_component(name)
    if components:
        check_path(inner)
    return components


def _add_parents(
    guest: list[bytes], status: os.stat_result, tree: LocalTree, collected: _Collected, *, deliver_last: bool
) -> None:
    """The folders above a tree's entries, its own last. They carry its time; only its own is writable."""
    for depth in range(1, len(guest) + 1):
        own = deliver_last and depth == len(guest)
        path = b"/".join(guest[:depth])
        collected.add(DeliveredFile(path, True, own and tree.writable, _modified(status)))


def _modified(status: os.stat_result) -> int:
    return max(0, status.st_mtime_ns)


def _read_file(descriptor: int, shown_as: bytes, collected: _Collected) -> bytes:
    size = os.fstat(descriptor).st_size
    if size > collected.bytes_left:
        raise _too_many(f"{MAX_FILE_BYTES} bytes")
    try:
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(collected.bytes_left + 1)
    except OSError as error:
        raise _unreadable(shown_as, error) from error
    if len(content) > collected.bytes_left:
        raise _too_many(f"{MAX_FILE_BYTES} bytes")
    return content


@dataclass(frozen=True, slots=True)
class _Walk:
    """One tree being read. ``folders`` are open folders, from the root down to the one in hand."""

    local: bytes
    writable: bool
    collected: _Collected

    def read(self, folders: list[int], guest: bytes, above: frozenset[tuple[int, int]]) -> None:
        """Everything in the last of ``folders``; ``above`` are the folders being read, to find loops."""
        if len(above) > MAX_DEPTH:
            raise _refused(f"folders are nested more than {MAX_DEPTH} deep", self._shown(guest))
        try:
            with os.scandir(folders[-1]) as entries:
                names = [os.fsencode(entry.name) for entry in islice(entries, MAX_FILES + 1)]
        except OSError as error:
            raise _unreadable(self._shown(guest), error) from error
        if len(names) > MAX_FILES:
            raise _too_many(f"{MAX_FILES} files and folders")
        for name in sorted(names):
            check_component(name)
            self._entry(folders, name, guest + b"/" + name if guest else name, above)

    def _entry(
        self, folders: list[int], name: bytes, guest: bytes, above: frozenset[tuple[int, int]]
    ) -> None:
        check_path(guest)
        shown_as = self._shown(guest)
        with ExitStack() as opened:
            try:
                place, file = self._open(folders, name, shown_as, opened)
                status = os.fstat(place[-1] if file is None else file)
            except OSError as error:
                raise _unreadable(shown_as, error) from error
            if file is not None:
                content = _read_file(file, shown_as, self.collected)
                self.collected.add(DeliveredFile(guest, False, self.writable, _modified(status), content))
                return
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                raise _refused("a symbolic link leads back to a folder it is in", shown_as)
            self.collected.add(DeliveredFile(guest, True, self.writable, _modified(status)))
            self.read(place, guest, above | {identity})

    def _open(
        self, folders: list[int], name: bytes, shown_as: bytes, opened: ExitStack
    ) -> tuple[list[int], int | None]:
        """Open ``name`` in the last of ``folders``, through links that stay in the tree.

        Returns the open folders from the root down and the open file in the last of them; None for the file
        where ``name`` is a folder, which then is the last. Every name is looked up in a folder that is open.
        """
        place, pending, links = list(folders), [name], 0
        while pending:
            component = pending.pop(0)
            if component in (b"", b"."):
                continue
            if component == b"..":
                if len(place) == 1:
                    raise self._escape(shown_as)
                place.pop()
                continue
            mode = os.stat(component, dir_fd=place[-1], follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                if links > MAX_LINKS:
                    raise _refused("too many symbolic links in a row", shown_as)
                target = os.readlink(component, dir_fd=place[-1])
                if target.startswith(b"/"):
                    raise self._escape(shown_as)
                pending[:0] = target.split(b"/")
            elif stat.S_ISDIR(mode):
                place.append(os.open(component, _FOLDER, dir_fd=place[-1]))
                opened.callback(os.close, place[-1])
            elif stat.S_ISREG(mode) and not pending:
                return place, self._open_file(place[-1], component, shown_as, opened)
            else:
                raise _refused("only files and folders can be delivered", shown_as)
        return place, None

    def _open_file(self, folder: int, name: bytes, shown_as: bytes, opened: ExitStack) -> int:
        file = os.open(name, _FILE, dir_fd=folder)
        opened.callback(os.close, file)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise _refused("only files and folders can be delivered", shown_as)
        return file

    def _escape(self, shown_as: bytes) -> InputError:
        return _refused(
            "a symbolic link leads out of the delivered folder",
            shown_as,
            "replace it with a copy, or deliver the folder it leads to",
        )

    def _shown(self, guest: bytes) -> bytes:
        return b"/" + guest + b" in " + self.local
