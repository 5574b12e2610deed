"""Reading `Keep.toml`, strictly: every key known, every value of its type and in its range."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from wasmkeep.errors import ConfigurationError, InputError
from wasmkeep.tenant.configuration import Configuration, Stream, StreamKind
from wasmkeep.tenant.guest_paths import check_path
from wasmkeep.tenant.package import MAX_MEMORY, MAX_STRING_BYTES, MAX_STRINGS, PAGE
from wasmkeep.tenant.settings import CpuLevel
from wasmkeep.tenant.trees import LocalTree

__all__ = ["FILE_NAME", "MAX_BYTES", "parse_configuration", "parse_size"]

FILE_NAME: Final = "Keep.toml"
MAX_BYTES: Final = 1 << 20
"""Largest `Keep.toml`, in bytes."""
MAX_TIMEOUT: Final = 7 * 24 * 3600
"""Longest timeout, in seconds: a week."""
MAX_TREES: Final = 64
_MAX_LINE: Final = 1000
"""Characters of a line in which its key is looked for: time to say what is wrong must not grow with it."""

_TOP: Final = ("args", "cpu", "dirs", "env", "env_from", "files", "limits", "stdio", "timeout")
_UNITS: Final = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE: Final = re.compile(r"([0-9]{1,15}) ?(|KiB|MiB|GiB)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_configuration(text: str, *, name: str, base: Path) -> Configuration:
    """The configuration in ``text``.

    :param name: how messages call the file.
    :param base: the folder its paths are relative to.
    :raises ConfigurationError: not TOML, an unknown key, a value of another type or out of range.
    """
    try:
        document = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or an integer of more digits than Python reads
        raise ConfigurationError(
            "configuration.toml", f"{name} is not valid TOML", found=_shown(str(error))
        ) from error
    except RecursionError as error:
        raise ConfigurationError(
            "configuration.toml", f"{name} is nested too deeply", required="tables and lists of a few levels"
        ) from error
    return _Document(document, text, name, base).read()


def parse_size(text: str) -> int | None:
    """``"256 MiB"`` in bytes; None where it is no size."""
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) * _UNITS[match[2]] if match else None


class _Document:
    """One file being read. ``where`` in its methods is the path of a key, such as ``limits.memory``."""

    def __init__(self, document: Mapping[str, object], text: str, name: str, base: Path) -> None:
        self._document = document
        self._lines = [line[:_MAX_LINE] for line in text.splitlines()]
        self._name = name
        self._base = base

    def read(self) -> Configuration:
        document = self._document
        self._known(document, _TOP, "")
        limits = self._table(document, "limits", ("memory",))
        stdio = self._table(document, "stdio", ("stdin", "stdout", "stderr"))
        return Configuration(
            arguments=tuple(self._strings(document, "args")),
            environment=self._environment(),
            environment_from=self._environment_from(),
            trees=(*self._trees("dirs"), *self._trees("files")),
            stdin=self._stream(stdio, "stdin"),
            stdout=self._stream(stdio, "stdout"),
            stderr=self._stream(stdio, "stderr"),
            memory=self._memory(limits),
            level=self._level(),
            timeout=self._timeout(),
        )

    def _wrong(self, where: str, found: object, required: str, *, remedy: str = "") -> ConfigurationError:
        line = self._line(where)
        place = f"{self._name}, line {line}" if line else self._name
        return ConfigurationError(
            f"configuration.{where.split('[')[0]}",
            f"{place}: {where} is not as it must be",
            found=_shown(found),
            required=required,
            remedy=remedy,
        )

    def _line(self, where: str) -> int:
        """Line of a key; 0 where it cannot be told. For messages only: the parser does not keep lines."""
        key = re.escape(re.split(r"[.\[]", where.rstrip("]0123456789["))[-1])
        table = where.split(".")[0].split("[")[0]
        inside = "." not in where
        for number, line in enumerate(self._lines, 1):
            header = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line)
            if header:
                inside = header[1].split(".")[0].strip("\"' ") == table
            if header and inside and key in (re.escape(table), re.escape(header[1].strip("\"' "))):
                return number
            if inside and re.search(rf"(^|[{{,\s])[\"']?{key}[\"']?\s*[=.]", line):
                return number
        return 0

    def _known(self, table: Mapping[str, object], known: Sequence[str], where: str) -> None:
        for key in table:
            if key in known:
                continue
            full = f"{where}.{key}" if where else key
            near = difflib.get_close_matches(key, known, n=1)
            line = self._line(full)
            place = f"{self._name}, line {line}" if line else self._name
            raise ConfigurationError(
                "configuration.unknown",
                f"{place}: the key {_shown(full)} is not known",
                found=_shown(full),
                required=f"one of {', '.join(known)}",
                remedy=f"did you mean {near[0]}?" if near else "remove it; docs/programs.md lists the keys",
            )

    def _table(self, table: Mapping[str, object], key: str, known: Sequence[str]) -> Mapping[str, object]:
        value = table.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, value, "a table")
        self._known(value, known, key)
        return value

    def _strings(self, table: Mapping[str, object], key: str) -> list[str]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
            raise self._wrong(key, value, "a list of strings")
        if len(value) > MAX_STRINGS or sum(map(len, value)) > MAX_STRING_BYTES:
            raise self._wrong(
                key, f"{len(value)} strings", f"at most {MAX_STRINGS} of {MAX_STRING_BYTES} bytes"
            )
        if any("\0" in x for x in value):
            raise self._wrong(key, "a NUL", "strings without NUL")
        return value

    def _environment(self) -> dict[str, str]:
        value = self._document.get("env", {})
        if not isinstance(value, dict):
            raise self._wrong("env", value, "a table of strings")
        for name, item in value.items():
            if not _NAME.fullmatch(name):
                raise self._wrong(f"env.{name}", name, "a name of letters, digits and underscores")
            if not isinstance(item, str) or "\0" in item:
                raise self._wrong(f"env.{name}", type(item).__name__, "a string without NUL")
        return dict(value)

    def _environment_from(self) -> tuple[str, ...]:
        names = self._strings(self._document, "env_from")
        given = self._document.get("env", {})
        for number, name in enumerate(names):
            if not _NAME.fullmatch(name):
                raise self._wrong("env_from", name, "names of letters, digits and underscores")
            if name in names[:number] or (isinstance(given, dict) and name in given):
                raise self._wrong("env_from", name, "each name once, in env or in env_from")
        return tuple(names)

    def _trees(self, key: str) -> list[LocalTree]:
        value = self._document.get(key, [])
        if not isinstance(value, list) or not all(isinstance(x, dict) for x in value):
            raise self._wrong(key, value, f"tables, as in [[{key}]]")
        if len(value) > MAX_TREES:
            raise self._wrong(key, len(value), f"at most {MAX_TREES}")
        return [self._tree(item, f"{key}[{number}]") for number, item in enumerate(value)]

    def _tree(self, table: Mapping[str, object], where: str) -> LocalTree:
        self._known(table, ("local", "guest", "writable"), where)
        for key in ("local", "guest"):
            if not isinstance(table.get(key), str):
                raise self._wrong(f"{where}.{key}", table.get(key, "nothing"), "a path")
        writable = table.get("writable", False)
        if not isinstance(writable, bool):
            raise self._wrong(f"{where}.writable", writable, "true or false")
        local = self._inside(str(table["local"]), f"{where}.local")
        guest = str(table["guest"])
        inner = guest.strip("/").encode()
        try:
            if not guest.startswith("/") or (where.startswith("files") and not inner):
                raise self._wrong(f"{where}.guest", guest, "an absolute path in the keep, such as /data")
            if inner:
                check_path(inner)
        except InputError as error:
            raise self._wrong(
                f"{where}.guest", guest, "a path that a keep accepts", remedy=error.message
            ) from error
        return LocalTree(local, guest, writable, self._base)

    def _inside(self, text: str, where: str) -> Path:
        """A path relative to the file's folder, and inside it as written; links in it are refused later."""
        path = PurePosixPath(text)
        if not text or "\0" in text or path.is_absolute() or ".." in path.parts:
            raise self._wrong(
                where,
                text,
                f"a path inside the folder of {FILE_NAME}",
                remedy="give other folders on the command line, with --dir",
            )
        return self._base / path

    def _stream(self, table: Mapping[str, object], key: str) -> Stream:
        value = table.get(key, StreamKind.INHERIT)
        if value in (StreamKind.INHERIT, StreamKind.NONE):
            return Stream(StreamKind(str(value)))
        where = f"stdio.{key}"
        if not isinstance(value, dict):
            raise self._wrong(where, value, '"inherit", "none" or { file = "name" }')
        self._known(value, ("file",), where)
        if not isinstance(value.get("file"), str):
            raise self._wrong(where, value, '{ file = "name" }')
        return Stream(StreamKind.FILE, self._inside(value["file"], where), self._base)

    def _memory(self, table: Mapping[str, object]) -> int:
        value = table.get("memory")
        if value is None:
            return Configuration().memory
        size = parse_size(value) if isinstance(value, str) else value
        if not isinstance(size, int) or isinstance(size, bool) or not PAGE <= size <= MAX_MEMORY:
            raise self._wrong("limits.memory", value, 'bytes, or such as "256 MiB", from 64 KiB to 4 GiB')
        return size

    def _level(self) -> CpuLevel:
        value = self._document.get("cpu", Configuration().level)
        if not isinstance(value, str) or value not in list(CpuLevel):
            raise self._wrong("cpu", value, "one of " + ", ".join(CpuLevel))
        return CpuLevel(value)

    def _timeout(self) -> float | None:
        value = self._document.get("timeout")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_TIMEOUT:
            raise self._wrong("timeout", value, f"seconds, more than 0 and at most {MAX_TIMEOUT}")
        return float(value)


def _shown(value: object) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; tables nested as deeply
        text = f"a value too large to show ({type(value).__name__})"
    text = text[:_MAX_LINE]
    text = "".join(x if x.isprintable() else f"\\x{ord(x):02x}" for x in text)
    return text if len(text) <= 100 else text[:100] + " …"
