"""What became of a row: facts compared with what was computed, and whatever could not be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from wasmkeep.evidence import Rejected

__all__ = ["Facts", "NotCheckable", "Outcome", "same"]

Facts = Mapping[str, Callable[[], object]]
"""Facts by the index's name, each computed from the row's files when it is asked for."""


class NotCheckable(Exception):
    """A fact needs something that is not among the vectors."""


@dataclass
class Outcome:
    """``problems`` make a row fail; ``notes`` say what was not compared."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compared: int = 0

    def compare(self, expected: Mapping[str, Any], facts: Facts) -> None:  # Any: JSON
        """Every expected fact with the computed one of its name. A name that nothing computes is noted."""
        known = {_key(name): compute for name, compute in facts.items()}
        for name, wanted in expected.items():
            compute = known.get(_key(name))
            if compute is None:
                self.notes.append(f"not checkable: {name} (nothing here computes it)")
                continue
            try:
                found = compute()
            except NotCheckable as reason:
                self.notes.append(f"not checkable: {name} ({reason})")
                continue
            except Rejected as rejected:
                self.problems.append(f"{name}: refused by {', '.join(rejected.checks)}: {rejected}")
                continue
            self.compared += 1
            if not same(wanted, found):
                self.problems.append(f"{name}: found {_shown(found)}, expected {_shown(wanted)}")


def same(wanted: Any, found: Any) -> bool:  # Any: JSON, and what a parser gives
    """Equality across spellings of one value: hexadecimal or decimal integers, dates, bytes, nothing."""
    if found is None:
        return wanted in (None, False, 0, "")
    if isinstance(found, bytes):
        return isinstance(wanted, str) and wanted.lower() == found.hex()
    if isinstance(found, bool) or isinstance(wanted, bool):
        return wanted is found
    if isinstance(found, int):
        return wanted == found or (isinstance(wanted, str) and _integer(wanted) == found)
    if isinstance(found, datetime | date):
        return isinstance(wanted, str) and _same_moment(wanted, found)
    if isinstance(found, Mapping):
        if not isinstance(wanted, Mapping):
            return False
        by_key = {_key(name): value for name, value in found.items()}
        return all(_key(name) in by_key and same(value, by_key[_key(name)]) for name, value in wanted.items())
    if isinstance(found, list | tuple):
        return (
            isinstance(wanted, list)
            and len(wanted) == len(found)
            and all(same(one, other) for one, other in zip(wanted, found, strict=True))
        )
    if isinstance(found, str) and isinstance(wanted, str):
        return wanted.casefold() == found.casefold()
    return bool(wanted == found)


def _same_moment(wanted: str, found: datetime | date) -> bool:
    try:
        moment = datetime.fromisoformat(wanted)
    except ValueError:
        return False
    if not isinstance(found, datetime):
        return moment.date() == found
    if len(wanted) == len("2020-01-01"):
        return moment.date() == found.date()
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) == found


def _integer(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def _key(name: str) -> str:
    return name.replace("_", "").replace(" ", "").casefold()


def _shown(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
