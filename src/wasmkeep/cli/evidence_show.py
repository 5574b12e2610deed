"""``wasmkeep evidence show``: every field of reports and certificates, in words. Nothing is verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console
    from wasmkeep.cli.evidence_subjects import Shown
    from wasmkeep.errors import InputError

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a report, extended report, quote, collection (JSON or CBOR), collateral, certificates or "
        "revocation lists, or a folder of these; - for standard input",
    )
    parser.epilog = "Shows what the bytes claim. `wasmkeep evidence verify` says whether it is true."
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """Print each file's fields. Raises InputError for a file that is nothing of the kind, Rejected for one
    that breaks its format or is of a kind that is known and not explained; of a folder's files, those that
    are nothing are passed over."""
    from wasmkeep.cli.console import answer
    from wasmkeep.cli.evidence_files import STANDARD_INPUT, read_each

    named = {path if path != STANDARD_INPUT else "standard input" for path in options.files}
    for path, data in read_each(options.files):
        found = _subjects(data, named=path in named)
        if found is None and path in named:
            raise _nothing(path)
        if found is None:
            console.note(f"passed over: {path}, nothing that evidence is made of")
        for subject in found or ():
            answer(_json(path, subject) if options.json else _page(subject))
    return 0


def _subjects(data: bytes, *, named: bool) -> tuple[Shown, ...] | None:
    """What a file holds. A folder may have certificates beside AMD's; a file that was named may not."""
    from wasmkeep.cli.evidence_files import without_receipt
    from wasmkeep.cli.evidence_subjects import subjects
    from wasmkeep.evidence.errors import Rejected
    from wasmkeep.evidence.kinds import EvidenceKind, recognise

    try:
        return subjects(without_receipt(data))
    except Rejected:
        if named or recognise(data) not in (EvidenceKind.DER, EvidenceKind.PEM):
            raise
        return None


def _nothing(path: str) -> InputError:
    from wasmkeep.errors import InputError

    return InputError("evidence.file", f"{path} is nothing that evidence is made of")


def _json(path: str, subject: Shown) -> str:
    import json

    fields = [
        {"group": line.group, "name": line.name, "value": line.value, "meaning": line.meaning}
        for line in subject.lines
    ]
    return json.dumps({"file": path, **subject.facts, "verified": False, "fields": fields})


def _page(subject: Shown) -> str:
    from wasmkeep.cli.text import escape

    page = [escape(f"{subject.heading} · nothing here was verified")]
    group = ""
    wide = max([11, *(len(line.group) + 1 for line in subject.lines)])
    for line in subject.lines:
        if line.name == "processor":
            continue
        label, group = (line.group if line.group != group else ""), line.group
        meaning = f"  {line.meaning}" if line.meaning else ""
        page.append(escape(f"  {label:<{wide}}{line.name:<22}{_compact(line.value)}{meaning}"))
    return "\n".join(page)


def _compact(value: str) -> str:
    """A field of nothing but zeros, in one word; everything else whole, since people compare it."""
    return f"0 ({len(value) // 2} bytes)" if len(value) > 8 and not value.strip("0") else value
