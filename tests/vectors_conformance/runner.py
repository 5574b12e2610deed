"""Every row of an index, one after the other, and what to say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.vectors_conformance import dcap_rows, other_rows, sev_rows, snp_rows
from tests.vectors_conformance.index import UnusableIndex, VectorRow, load
from tests.vectors_conformance.outcome import Outcome
from wasmkeep.errors import WasmkeepError
from wasmkeep.evidence import Policy
from wasmkeep.evidence.plain import plain

__all__ = ["judge", "run"]

Judge = Callable[[VectorRow, Policy, Outcome], None]
_JUDGES: Mapping[str, Judge] = {
    "snp": snp_rows.judge,
    "sev": sev_rows.judge,
    "tdx": dcap_rows.judge,
    "sgx": dcap_rows.judge,
}

# Whatever a row's bytes make a verifier raise but `Rejected` is a failure of that row, not of the run.
_FAILURES = (
    UnusableIndex,
    WasmkeepError,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def judge(row: VectorRow, policy: Policy) -> Outcome:
    """One row. A row that cannot be run, or whose files are not the index's, has failed."""
    outcome = Outcome()
    for file in row.files:
        outcome.problems += file.problems()
    if not outcome.problems:
        _run(_JUDGES.get(row.technology, other_rows.judge), row, policy, outcome)
    return outcome


def _run(by_technology: Judge, row: VectorRow, policy: Policy, outcome: Outcome) -> None:
    try:
        by_technology(row, policy, outcome)
    except _FAILURES as error:
        outcome.problems.append(f"cannot be run: {type(error).__name__}: {error}")
        return
    if not outcome.compared and not outcome.notes:
        outcome.problems.append("nothing of it was compared")


def run(
    folder: Path,
    say: Callable[[str], None],
    *,
    beside: tuple[Path, ...] = (),
    policy: Policy | None = None,
) -> bool:
    """Run an index; ``say`` gets the lines, the last of which is ``N of N as expected``. Raises
    `UnusableIndex` where there is none. Returns whether every row was as expected."""
    rows = load(folder, beside)
    policy = policy if policy is not None else plain()
    good = 0
    for row in rows:
        outcome = judge(row, policy)
        good += not outcome.problems
        for note in outcome.notes:
            say(f"     {row.name}: {note}")
        for problem in outcome.problems:
            say(f"FAIL {row.name}: {problem}")
    say(f"{good} of {len(rows)} as expected")
    return good == len(rows)
