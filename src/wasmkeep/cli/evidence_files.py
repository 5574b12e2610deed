"""Evidence in files: what is to be judged, and what may vouch for it, told by content.

Sorting files into their kinds decides nothing about trust: whatever is picked here goes through every check.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from wasmkeep.cli.flags import read_file
from wasmkeep.errors import InputError
from wasmkeep.evidence.kinds import EvidenceKind, recognise
from wasmkeep.evidence.material import Material

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["STANDARD_INPUT", "Files", "Subject", "read_each", "read_files", "read_report", "without_receipt"]

STANDARD_INPUT = "-"
_MAX_FILE_SIZE = 1 << 20  # bytes
_MAX_FILES = 512
_VOUCHES = frozenset(
    {EvidenceKind.SEV_CERTIFICATES, EvidenceKind.PEM, EvidenceKind.DER, EvidenceKind.COLLATERAL_JSON}
)
_WHAT_COUNTS = (
    "a report, an extended report, a quote, a collection (JSON or CBOR), collateral, or certificates and "
    "revocation lists of AMD's"
)


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to judge. ``name`` is the file's; ``kind`` what its content was recognised as."""

    name: str
    kind: EvidenceKind
    data: bytes


@dataclass(slots=True)
class Files:
    """What files hold: subjects, and what can vouch for them, from whichever files. ``passed_over`` names
    those of folders that are nothing of the kind."""

    subjects: list[Subject] = field(default_factory=list)
    material: Material = field(default_factory=Material)
    passed_over: list[str] = field(default_factory=list)

    def add(self, path: str, data: bytes) -> bool:
        """Take in one file; False where it is nothing that evidence is made of. Raises Rejected for what is
        broken past recognition of its parts."""
        kind = recognise(data)
        if kind in _VOUCHES or kind is EvidenceKind.UNKNOWN:
            return self.material.add(data)
        self.subjects.append(Subject(path, kind, without_receipt(data)))
        return True


def read_files(paths: list[str], folder: str | None) -> Files:
    """Sort the files named and, where given, what a folder of endorsements holds. Raises InputError for files
    that cannot be read or have nothing to do with evidence, Rejected for what is broken."""
    files = Files()
    nothing: list[str] = []
    for path, data, named in _named_and_found(paths):
        if not files.add(path, data):
            (nothing if named else files.passed_over).append(path)
    judged = [one for one in files.subjects if not _is_unsupported(one.kind)]
    if nothing and (judged or not files.subjects):
        raise InputError(
            "evidence.file", f"{nothing[0]} is nothing that evidence is made of", required=_WHAT_COUNTS
        )
    if not files.subjects and not files.material.sev:
        raise InputError(
            "evidence.none", f"there is no evidence in {', '.join(paths)}", required=_WHAT_COUNTS
        )
    if folder is not None:
        _add_folder(files, folder)
    return files


def _add_folder(files: Files, folder: str) -> None:
    """Take in all that vouches for evidence in a folder. A list's age counts from its file's time, which is
    when it was retrieved; SEV's certificates only complete those of a platform that is there to be judged.
    Raises InputError, Rejected."""
    for_sev = bool(files.material.sev)
    for path in _files_of(folder):
        data = read_file(path, "the endorsement", limit=_MAX_FILE_SIZE)
        kind = recognise(data)
        if kind in _VOUCHES and (for_sev or kind is not EvidenceKind.SEV_CERTIFICATES):
            files.material.add(data, retrieved=_time_of(path))


def without_receipt(data: bytes) -> bytes:
    """The collection in a receipt; anything else as it is. Whether the receipt is true is not asked: that is
    what `wasmkeep receipt verify` is for. Raises ReceiptInvalid, Rejected."""
    from wasmkeep.evidence import cmw
    from wasmkeep.tenant import receipt_file

    if not data.startswith(b'{"__cmwc_t":"%s"' % receipt_file.COLLECTION_TYPE.encode()):
        return data
    file = receipt_file.decode(data)
    return cmw.encode(cmw.EvidenceCollection(file.evidence, file.binding.encode()))


def read_report(path: str) -> bytes:
    """The attestation report in a file: bare, extended, wrapped, or in a collection. Raises InputError,
    Rejected."""
    from wasmkeep.evidence import SnpEvidence, cmw
    from wasmkeep.evidence.assembly import bare_report

    data = without_receipt(_read(path))
    if recognise(data) not in (EvidenceKind.CMW_JSON, EvidenceKind.CMW_CBOR):
        return bare_report(data, Material())[0]
    evidence = cmw.decode(data).evidence
    if not isinstance(evidence, SnpEvidence):
        raise InputError("evidence.none", f"there is no attestation report in {path}")
    return evidence.report


def read_each(paths: list[str]) -> Iterator[tuple[str, bytes]]:
    """Files with their names; of a folder, all that are in it; standard input for ``-``. Raises
    InputError."""
    for path, data, _ in _named_and_found(paths):
        yield path, data


def _named_and_found(paths: list[str]) -> Iterator[tuple[str, bytes, bool]]:
    """Name, content, and whether the user named this very file."""
    for path in paths:
        if path == STANDARD_INPUT:
            yield "standard input", _read(path), True
        elif Path(path).is_dir():
            for file in _files_of(path):
                yield file, _read(file), False
        else:
            yield path, _read(path), True


def _read(path: str) -> bytes:
    if path != STANDARD_INPUT:
        return read_file(path, "the evidence", limit=_MAX_FILE_SIZE)
    if sys.stdin is None:
        raise InputError("input.unreadable", "standard input is closed")
    try:
        data = sys.stdin.buffer.read(_MAX_FILE_SIZE + 1)
    except OSError as error:
        raise InputError(
            "input.unreadable", "cannot read standard input", found=error.strerror or "?"
        ) from error
    if len(data) > _MAX_FILE_SIZE:
        required = f"at most {_MAX_FILE_SIZE} bytes"
        raise InputError("input.too-large", "the evidence is too large", found="more", required=required)
    return data


def _files_of(folder: str) -> list[str]:
    if not Path(folder).is_dir():
        raise InputError("input.directory", f"there is no folder {folder}")
    paths = []
    for root, _, names in os.walk(folder):
        paths += [os.path.join(root, name) for name in sorted(names)]
        if len(paths) > _MAX_FILES:
            raise InputError(
                "input.too-many", f"too many files in {folder}", required=f"at most {_MAX_FILES}"
            )
    return paths


def _time_of(path: str) -> datetime | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return datetime.fromtimestamp(status.st_mtime, UTC) if stat.S_ISREG(status.st_mode) else None


def _is_unsupported(kind: EvidenceKind) -> bool:
    return kind in (EvidenceKind.NITRO, EvidenceKind.CCA, EvidenceKind.TPM_QUOTE, EvidenceKind.TRUSTZONE)
