"""The table of checks in ``docs/verification.md`` is complete and current, and says what is so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evidence import verification_table
from tests.evidence.check_ids import collect
from tests.evidence.soak import SOAK

_NAME = re.compile(r"[a-z][a-z0-9]*(\.[a-z0-9-]+)+")
_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| `([^`]+)` \|$", re.MULTILINE)


def rows() -> list[tuple[str, ...]]:
    text = verification_table.DOCUMENT.read_text(encoding="utf-8")
    table = text.partition(verification_table.START)[2].partition(verification_table.END)[0]
    return [match.groups() for match in _ROW.finditer(table)]


def test_every_check_can_be_followed_in_the_source() -> None:
    ids, unfollowed = collect()
    assert not unfollowed
    assert all(_NAME.fullmatch(check) for check in ids)
    assert len(ids) > 150


def test_the_table_has_every_check_once() -> None:
    """`python -m tests.evidence.verification_table` makes it so."""
    assert [check for check, _, _ in rows()] == list(collect()[0])
    assert verification_table.document(verification_table.DOCUMENT.read_text(encoding="utf-8")) == (
        verification_table.DOCUMENT.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("check", collect()[0])
def test_a_check_has_a_section_and_a_test_that_names_it(check: str) -> None:
    assert verification_table.section_of(check)
    assert check in verification_table.tests_of(), f"no test names {check}"


def test_a_check_without_a_test_would_be_noticed() -> None:
    assert "snp.no-such-check" not in verification_table.tests_of()
    with pytest.raises(KeyError):
        verification_table.section_of("other.check")


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="runs every test in the table: `make soak`")
def test_each_test_in_the_table_refuses_by_its_check(tmp_path: Path) -> None:
    named = verification_table.tests_of()
    found = tmp_path / "refusals.json"
    plugin = ("-p", "tests.evidence.refusal_recorder")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, *sorted(set(named.values()))],
        cwd=verification_table.DOCUMENT.parents[1],
        env=os.environ | {"REFUSALS_FILE": str(found), "WASMKEEP_SOAK": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    refused = json.loads(found.read_text())
    assert not {check: test for check, test in named.items() if check not in refused.get(test, ())}
