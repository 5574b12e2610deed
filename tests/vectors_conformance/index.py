"""An index of vectors: ``index.json`` and the files its rows name, as ``README.md`` beside it describes them.

The bytes of a row are those that the index has digests of; another file is no vector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

__all__ = ["UnusableIndex", "VectorFile", "VectorRow", "load"]

_MAX_FILE = 1 << 20


class UnusableIndex(Exception):
    """The index, or a row of it, is not in the form that this program runs."""


@dataclass(frozen=True)
class VectorFile:
    """One file of a row. ``sha256`` and ``size`` are the index's, None where it does not say."""

    path: Path
    sha256: str | None
    size: int | None

    @property
    def name(self) -> str:
        return self.path.name.lower()

    @cached_property
    def data(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(_MAX_FILE + 1)

    def problems(self) -> list[str]:
        """What tells that these are not the index's bytes."""
        if not self.path.is_file():
            return [f"{self.path.name} is not there"]
        if len(self.data) > _MAX_FILE:
            return [f"{self.path.name} is longer than {_MAX_FILE} bytes"]
        found = []
        if self.size is not None and len(self.data) != self.size:
            found.append(f"{self.path.name} has {len(self.data)} bytes, the index says {self.size}")
        if self.sha256 is not None and sha256(self.data).hexdigest() != self.sha256.lower():
            found.append(f"{self.path.name} is not the file that the index has a digest of")
        return found


@dataclass(frozen=True)
class VectorRow:
    """One row. ``folder`` is the index's own; ``authorities`` are folders where roots may lie beside it."""

    name: str
    technology: str
    generation: str
    files: tuple[VectorFile, ...]
    expected: Mapping[str, Any]  # Any: JSON
    folder: Path
    authorities: tuple[Path, ...] = ()

    @property
    def entry(self) -> str:
        """The part behind ``#``: an entry of the row's ``vectors.json``."""
        return self.name.partition("#")[2]

    def file(self, *names: str) -> VectorFile | None:
        """The first file of one of these names."""
        return next((file for file in self.files if file.name in names), None)

    def entries(self) -> Mapping[str, Any]:  # Any: JSON
        """The inputs of the row's entry in its file of vectors."""
        file = self.file("vectors.json")
        if file is None:
            raise UnusableIndex("the row has no vectors.json")
        for entry in json.loads(file.data)["vectors"]:
            if entry["id"] == self.entry:
                inputs: Mapping[str, Any] = entry["inputs"]
                return inputs
        raise UnusableIndex(f"vectors.json has no entry {self.entry}")


def load(folder: Path, beside: tuple[Path, ...] = ()) -> list[VectorRow]:
    """The rows of a folder's index, in its order. ``beside`` are other folders of vectors, whose roots a row
    without its own may use: roots are judged by their pins, wherever they lie. Raises `UnusableIndex`."""
    path = folder / "index.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        rows = [_row(entry, folder, beside) for entry in entries]
    except OSError as error:
        raise UnusableIndex(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UnusableIndex(f"{path} is not an index of vectors: {error!r}") from error
    if not rows or len({row.name for row in rows}) != len(rows):
        raise UnusableIndex(f"{path} has no rows, or two of one name")
    return rows


def _row(entry: Mapping[str, Any], folder: Path, beside: tuple[Path, ...]) -> VectorRow:  # Any: JSON
    files = []
    for file in entry["files"]:
        path = (folder / (file.get("file") or file["path"])).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise UnusableIndex(f"{entry['row']} names a file outside of the vectors")
        files.append(VectorFile(path, file.get("sha256"), file.get("size")))
    return VectorRow(
        entry["row"],
        entry["technology"],
        entry.get("generation", ""),
        tuple(files),
        entry["expected"],
        folder,
        (folder, *beside),
    )
