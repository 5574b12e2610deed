"""Compiled programs, kept in the user's cache folder: found by everything that went into them.

A file holds a whole `Program`. It is used only if it is whole: magic, lengths, the key it was stored under,
and the digest of everything in it. Anything else (torn, foreign, altered, a symbolic link, another owner's)
is as if it were not there: the program is compiled again and the file replaced. The folder belongs to the
user alone (0700) and is never followed through a symbolic link; files are written aside and renamed.

A file, little-endian::

    00  8   magic WKCACHE1
    08  32  key
    28  32  program digest: SHA-256 of the program part, as the keep proves it back
    48  32  integrity: SHA-256 over bytes 00 to 47, the lengths, and the tree digests of both halves
    68  8   length of the program part
    70  8   length of the rest
    78  8   zero
    80  …   program part, then the rest: memory minimum u32, memory maximum u32, text size u64, then
            four times {length u64, bytes}: target, symbols, names, trap codes
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from typing import Final

from wasmkeep.tenant.program import Program, TrapTables
from wasmkeep.tenant.tree_digest import tree_digest

__all__ = ["ProgramCache", "cache_key", "default_cache"]

MAGIC: Final = b"WKCACHE1"
HEADER: Final = struct.Struct("<8s32s32s32sQQQ")
_REST: Final = struct.Struct("<IIQ")
_LENGTH: Final = struct.Struct("<Q")

MAX_FILE_BYTES: Final = 1 << 30
"""Largest file that is read."""
DEFAULT_LIMIT: Final = 1 << 30
"""Bytes kept in all; beyond it the files used longest ago go."""
_SUFFIX: Final = ".program"


def cache_key(wasm: bytes, target: str, flags: str) -> bytes:
    """Digest over the module's, the target (wasmtime's version in it) and every setting. 32 bytes."""
    parts = (tree_digest(wasm), target.encode(), flags.encode())
    return hashlib.sha256(b"".join(_LENGTH.pack(len(x)) + x for x in parts)).digest()


def default_cache() -> ProgramCache:
    """The cache in the user's cache folder; the folder is made when something is stored."""
    # Imported here: a caller with a folder of its own does not need it.
    from platformdirs import user_cache_dir

    return ProgramCache(Path(user_cache_dir("wasmkeep")) / "programs")


@dataclass(frozen=True, slots=True)
class ProgramCache:
    """Programs in ``folder``, ``limit`` bytes of them. A cache that cannot be used is an empty one."""

    folder: Path
    limit: int = DEFAULT_LIMIT

    def load(self, key: bytes, target: str) -> Program | None:
        """The program stored under ``key``, or None; never raises for what is on the disk."""
        try:
            with self._opened(create=False) as folder:
                header, part, rest = _read(folder, _file_name(key))
        except OSError:
            return None
        return _decode(header, part, rest, key, target)

    def store(self, key: bytes, program: Program) -> None:
        """Keep ``program``; where the disk does not allow it, nothing happens."""
        data = _encode(key, program)
        if len(data) > min(self.limit, MAX_FILE_BYTES):
            return
        with suppress(OSError), self._opened(create=True) as folder:
            _write(folder, _file_name(key), data)
            _evict(folder, self.limit, keep=_file_name(key))

    @contextmanager
    def _opened(self, *, create: bool) -> Iterator[int]:
        """The folder as a descriptor, once it is known to be this user's alone."""
        if create:
            self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.folder.mkdir(mode=0o700)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(folder)
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                raise PermissionError("the cache folder is not this user's alone")
            yield folder
        finally:
            os.close(folder)


def _file_name(key: bytes) -> str:
    return key.hex() + _SUFFIX


def _read(folder: int, name: str) -> tuple[bytes, bytes, bytes]:
    """Header, program part and rest of a file, in the lengths its header says; unverified."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError("not this user's file")
        header = os.pread(descriptor, HEADER.size, 0)
        if len(header) != HEADER.size:
            raise OSError("shorter than a header")
        *_, part_size, rest_size, _ = HEADER.unpack(header)
        if not HEADER.size + part_size + rest_size == status.st_size <= MAX_FILE_BYTES:
            raise OSError("of another length than it says")
        part = os.pread(descriptor, part_size, HEADER.size)
        rest = os.pread(descriptor, rest_size, HEADER.size + part_size)
        with suppress(OSError):
            os.utime(descriptor)  # used now: the last to be evicted
        return header, part, rest
    finally:
        os.close(descriptor)


def _write(folder: int, name: str, data: bytes) -> None:
    temporary = f".{secrets.token_hex(8)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
    with ExitStack() as undo:
        undo.callback(_unlink, folder, temporary)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        undo.pop_all()


def _unlink(folder: int, name: str) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


def _evict(folder: int, limit: int, *, keep: str) -> None:
    """Remove the files used longest ago until ``limit`` holds, and what a crash left half-written."""
    found: list[tuple[int, int, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and entry.name.endswith((_SUFFIX, ".new")):
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime_ns, status.st_size, entry.name))
    total = sum(size for _, size, _ in found)
    for _, size, name in sorted(found):
        if total <= limit:
            break
        if name == keep:
            continue
        _unlink(folder, name)
        total -= size


def _integrity(key: bytes, digest: bytes, part: bytes, rest: bytes) -> bytes:
    lengths = _LENGTH.pack(len(part)) + _LENGTH.pack(len(rest))
    return hashlib.sha256(MAGIC + key + digest + lengths + tree_digest(part) + tree_digest(rest)).digest()


def _encode(key: bytes, program: Program) -> bytes:
    traps = program.traps
    pieces = [_REST.pack(program.memory_minimum, program.memory_maximum, traps.text_size)]
    for piece in (program.target.encode(), traps.symbols, traps.names, traps.codes):
        pieces += [_LENGTH.pack(len(piece)), piece]
    rest = b"".join(pieces)
    integrity = _integrity(key, program.digest, program.part, rest)
    header = HEADER.pack(MAGIC, key, program.digest, integrity, len(program.part), len(rest), 0)
    return b"".join((header, program.part, rest))


def _decode(header: bytes, part: bytes, rest: bytes, key: bytes, target: str) -> Program | None:
    """A program from a file's bytes; None unless every byte is as it was stored under ``key``."""
    magic, stored_key, digest, integrity, part_size, rest_size, zero = HEADER.unpack(header)
    if magic != MAGIC or zero or not compare_digest(stored_key, key):
        return None
    if part_size != len(part) or rest_size != len(rest):
        return None
    if not compare_digest(_integrity(key, digest, part, rest), integrity):
        return None
    return _program(part, digest, rest, target)


def _program(part: bytes, digest: bytes, rest: bytes, target: str) -> Program | None:
    try:
        minimum, maximum, text_size = _REST.unpack_from(rest)
        pieces: list[bytes] = []
        at = _REST.size
        while len(pieces) < 4:
            (size,) = _LENGTH.unpack_from(rest, at)
            at += _LENGTH.size
            pieces.append(rest[at : at + size])
            at += size
    except struct.error:
        return None
    if at != len(rest) or pieces[0] != target.encode():
        return None
    return Program(target, part, digest, minimum, maximum, TrapTables(text_size, *pieces[1:]))
