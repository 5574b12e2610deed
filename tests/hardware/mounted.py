"""A stand-in mounted as a real file system: the driver's own system calls reach it through the kernel.

FUSE, as the kernel speaks it (uapi ``linux/fuse.h``, 7.31), no library between; direct I/O, nothing cached.
What close does to a binary attribute of configfs happens at FLUSH, for which a program that closes waits.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hardware.configfs import BINARY, FOLDER, TEXT, Configfs

_ROOT = 1
_IN = struct.Struct("<IIQQIIII")  # length, opcode, unique, node …
_OUT = struct.Struct("<IiQ")  # length, −errno, unique
_ATTRIBUTES = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<QQQQII")  # node, generation, no time of validity
_OPENED = struct.Struct("<QII")
_DIRECT_IO = 1
_DETACH = 2  # MNT_DETACH
_SILENT = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET have no answer
_system = ctypes.CDLL(None, use_errno=True)


class _Daemon:
    """Answers the kernel's requests by a `Configfs`."""

    def __init__(self, files: Configfs) -> None:
        self.files = files
        self.paths = {_ROOT: FOLDER}
        self.nodes = {FOLDER: _ROOT}
        self._next = itertools.count(_ROOT + 1)
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            1: self._lookup,
            3: lambda node, body: bytes(16) + self._attributes(node),
            4: lambda node, body: bytes(16) + self._attributes(node),  # O_TRUNC, which changes nothing
            9: self._mkdir,
            11: self._rmdir,
            14: self._open,
            15: lambda node, body: files.read(*_first(body, "<Q8xI")),
            16: self._write,
            18: lambda node, body: b"",
            25: lambda node, body: self._flush(body),
            26: lambda node, body: struct.pack("<4I2H2I2H", 7, 31, 0, 0, 0, 0, 1 << 17, 1, 0, 0).ljust(
                64, b"\0"
            ),
            27: lambda node, body: _OPENED.pack(0, 0, 0),
            28: self._list,
            29: lambda node, body: b"",
        }

    def serve(self, descriptor: int) -> None:
        """Until the file system is unmounted. Where this fails, whoever waits gets ENOTCONN."""
        try:
            while request := self._receive(descriptor):
                _, opcode, unique, node, *_ = _IN.unpack_from(request)
                if opcode in _SILENT:
                    continue
                try:
                    answer, error = self._answer(opcode, node, request[_IN.size :]), 0
                except OSError as refused:
                    answer, error = b"", refused.errno or errno.EIO
                os.write(descriptor, _OUT.pack(_OUT.size + len(answer), -error, unique) + answer)
        finally:
            os.close(descriptor)

    @staticmethod
    def _receive(descriptor: int) -> bytes:
        try:
            return os.read(descriptor, 1 << 18)
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return b""
            raise

    def _answer(self, opcode: int, node: int, body: bytes) -> bytes:
        if opcode not in self._answers:
            raise OSError(errno.ENOSYS, "")
        return self._answers[opcode](node, body)

    def _lookup(self, node: int, body: bytes) -> bytes:
        path = f"{self.paths[node]}/{_name(body)}"
        if node == _ROOT:
            known = path in self.files.items
        else:
            item = self.files.items.get(self.paths[node])
            known = item is not None and _name(body) in item.provider.attributes
        if not known:
            raise OSError(errno.ENOENT, "")
        return self._entry(path)

    def _entry(self, path: str) -> bytes:
        if path not in self.nodes:
            node = next(self._next)
            self.nodes[path], self.paths[node] = node, path
        return _ENTRY.pack(self.nodes[path], 0, 0, 0, 0, 0) + self._attributes(self.nodes[path])

    def _attributes(self, node: int) -> bytes:
        name = self.paths[node].rpartition("/")[2]
        direction = (TEXT | BINARY).get(name)
        if direction is None:
            mode = stat.S_IFDIR | 0o755
        else:
            mode = stat.S_IFREG | (0o200 if direction == os.O_WRONLY else 0o400)
        return _ATTRIBUTES.pack(node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, os.getuid(), os.getgid(), 0, 4096, 0)

    def _mkdir(self, node: int, body: bytes) -> bytes:
        path = f"{self.paths[node]}/{_name(body[8:])}"
        self.files.mkdir(path, 0o755)
        self.nodes.pop(path, None)  # a new entry is not the one that had its name
        return self._entry(path)

    def _rmdir(self, node: int, body: bytes) -> bytes:
        self.files.rmdir(f"{self.paths[node]}/{_name(body)}")
        return b""

    def _open(self, node: int, body: bytes) -> bytes:
        handle = self.files.open(self.paths[node], *_first(body, "<I"))
        return _OPENED.pack(handle, _DIRECT_IO, 0)

    def _write(self, node: int, body: bytes) -> bytes:
        handle, size = _first(body, "<Q8xI")
        return struct.pack("<II", self.files.write(handle, body[40 : 40 + size]), 0)

    def _flush(self, body: bytes) -> bytes:
        self.files.close(*_first(body, "<Q"))
        return b""

    def _list(self, node: int, body: bytes) -> bytes:
        if _first(body, "<8xQ")[0]:
            return b""
        path = self.paths[node]
        found = self.files.items.get(path)
        names = found.provider.attributes if found else (one.rpartition("/")[2] for one in self.files.items)
        entries = b""
        for number, name in enumerate(sorted(names), 1):
            entry = struct.pack("<QQII", number, number, len(name), 0) + name.encode()
            entries += entry + bytes(-len(entry) % 8)
        return entries


def _first(body: bytes, form: str) -> tuple[int, ...]:
    return struct.unpack_from(form, body)


def _name(body: bytes) -> str:
    return body.partition(b"\0")[0].decode()


def _mount(folder: Path, descriptor: int) -> None:
    options = f"fd={descriptor},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if _system.mount(b"configfs-stand-in", os.fsencode(folder), b"fuse", 0, options.encode()):
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed))


@contextmanager
def mounted(files: Configfs, folder: Path) -> Iterator[str]:
    """The path of `files` as a file system. Raises OSError where this user may not mount one.

    It is at `folder` for a moment only, and then reached by a descriptor: nothing stays mounted, however this
    process ends.
    """
    descriptor = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        _mount(folder, descriptor)
    except OSError:
        os.close(descriptor)
        raise
    daemon = threading.Thread(target=_Daemon(files).serve, args=(descriptor,))
    daemon.start()
    root = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    _system.umount2(os.fsencode(folder), _DETACH)
    try:
        yield f"/proc/self/fd/{root}"
    finally:
        os.close(root)
        daemon.join(10)
