"""configfs ``tsm/report`` as a stand-in: the same system calls, with what the kernel does at each.

After ``fs/configfs/file.c`` and ``drivers/virt/coco/guest/report.c``: a new folder has its attributes at
once, those that its provider offers; a text attribute is taken at the write, a binary one at close, where a
refusal is lost; every taken write counts ``generation``; a blob is made at the first read after a write, and
read twice, once for its length; whoever removes an entry leaves open files without one; the wrong direction
is EACCES, even for root.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

FOLDER = "/sys/kernel/config/tsm/report"
COUNTER = 1 << 64
TEXT_MAX, INBLOB_MAX, OUTBLOB_MAX = 4096, 64, 32 << 10
LEVEL_MAX = 3

READ, WRITE = os.O_RDONLY, os.O_WRONLY
TEXT = {
    "generation": READ,
    "provider": READ,
    "privlevel": WRITE,
    "privlevel_floor": READ,
    "service_provider": WRITE,
    "service_guid": WRITE,
    "service_manifest_version": WRITE,
}
BINARY = {"inblob": WRITE, "outblob": READ, "auxblob": READ, "manifestblob": READ}


@dataclass
class Request:
    """What a provider is asked (``struct tsm_report_desc``)."""

    inblob: bytes = b""
    level: int = 0
    service: str = ""
    guid: str = ""
    manifest_version: int = 0


@dataclass
class Blobs:
    outblob: bytes
    auxblob: bytes = b""
    manifestblob: bytes = b""


class Provider(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def floor(self) -> int: ...

    @property
    def attributes(self) -> frozenset[str]: ...

    def report(self, request: Request) -> Blobs:
        """Raises OSError."""


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass
class Item:
    provider: Provider
    request: Request = field(default_factory=Request)
    written: int = 0
    read: int = 0
    blobs: Blobs | None = None
    dead: bool = False

    def advance(self) -> None:
        if self.written == (self.read - 1) % COUNTER:
            raise error(errno.EBUSY)
        self.written = (self.written + 1) % COUNTER

    def show(self, name: str) -> bytes:
        text = {
            "generation": str(self.written),
            "provider": self.provider.name,
            "privlevel_floor": str(self.provider.floor),
        }
        return f"{text[name]}\n".encode()

    def store(self, name: str, data: bytes) -> None:
        text = data.decode().removesuffix("\n")
        if name in ("privlevel", "service_manifest_version") and not text.isdigit():
            raise error(errno.EINVAL)
        if name == "privlevel" and not self.provider.floor <= int(text) <= LEVEL_MAX:
            raise error(errno.EINVAL)
        self.advance()
        if name == "privlevel":
            self.request.level = int(text)
        elif name == "service_manifest_version":
            self.request.manifest_version = int(text)
        elif name == "service_provider":
            self.request.service = text
        elif len(text) == 36 and text.count("-") == 4:
            self.request.guid = text
        else:
            raise error(errno.EINVAL)  # counted all the same

    def blob(self, name: str) -> bytes:
        if not self.request.inblob:
            raise error(errno.EINVAL)
        if self.blobs is None or self.read != self.written:
            self.blobs = None
            self.blobs = self.provider.report(self.request)
            self.read = self.written
        return bytes(getattr(self.blobs, name))


@dataclass
class Open:
    item: Item
    name: str
    direction: int
    buffer: bytes | None = None
    position: int = 0


Hook = Callable[[str, str], None]


class Configfs:
    """`moment`, if set, is called before each operation with its name and the attribute's (or ``""``): the
    place for somebody else to act. ``between`` is the moment inside a blob's first read."""

    def __init__(self, provider: Provider | None, *, root: bool = True) -> None:
        self.provider, self.root = provider, root
        self.items: dict[str, Item] = {}
        self.opened: dict[int, Open] = {}
        self.moment: Hook = lambda operation, name: None
        self._numbers = itertools.count(100)

    def mkdir(self, path: str, _mode: int, /) -> None:
        self.moment("mkdir", "")
        if not path.startswith(FOLDER + "/"):
            raise error(errno.ENOENT)
        if not self.root:
            raise error(errno.EACCES)
        if path in self.items:
            raise error(errno.EEXIST)
        if self.provider is None:
            raise error(errno.ENXIO)
        self.items[path] = Item(self.provider)

    def rmdir(self, path: str, /) -> None:
        if path not in self.items:
            raise error(errno.ENOENT)
        self.items.pop(path).dead = True

    def open(self, path: str, flags: int, /) -> int:
        folder, _, name = path.rpartition("/")
        self.moment("open", name)
        item = self.items.get(folder)
        if item is None or name not in item.provider.attributes:
            raise error(errno.ENOENT)
        if flags & os.O_ACCMODE != (TEXT | BINARY)[name]:
            raise error(errno.EACCES)
        descriptor = next(self._numbers)
        self.opened[descriptor] = Open(item, name, flags & os.O_ACCMODE)
        return descriptor

    def read(self, descriptor: int, count: int, /) -> bytes:
        file = self.opened[descriptor]
        self.moment("read", file.name)
        if file.buffer is None:
            if file.item.dead:
                raise error(errno.ENOENT)
            file.buffer = file.item.show(file.name) if file.name in TEXT else self._blob(file)
        part = file.buffer[file.position : file.position + count]
        file.position += len(part)
        return part

    def _blob(self, file: Open) -> bytes:
        size = len(file.item.blob(file.name))
        if size > OUTBLOB_MAX:
            raise error(errno.EFBIG)
        if not size:
            return b""
        self.moment("between", file.name)
        if file.item.dead:
            raise error(errno.ENOENT)
        return file.item.blob(file.name)[:size].ljust(size, b"\0")

    def write(self, descriptor: int, data: bytes, /) -> int:
        file = self.opened[descriptor]
        self.moment("write", file.name)
        if file.item.dead and file.name in TEXT:
            raise error(errno.ENOENT)
        if file.name in TEXT:
            file.item.store(file.name, data[: TEXT_MAX - 1])
        else:
            if len(file.buffer or b"") + len(data) > INBLOB_MAX:
                raise error(errno.EFBIG)
            file.buffer = (file.buffer or b"") + data
        return len(data)

    def close(self, descriptor: int, /) -> None:
        file = self.opened.pop(descriptor)
        self.moment("close", file.name)
        if file.name == "inblob" and file.buffer is not None and not file.item.dead:
            try:
                file.item.advance()
            except OSError:
                return  # nobody is told
            file.item.request.inblob = file.buffer
