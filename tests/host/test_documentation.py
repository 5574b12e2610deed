"""The operator's page says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from wasmkeep.cli.host_serve import LIMITS
from wasmkeep.host.openapi import OPERATIONS
from wasmkeep.host.settings import Limits
from wasmkeep.host.window import DATA_SIZE

PAGE = (Path(__file__).parents[2] / "docs" / "operating-a-host.md").read_text()
TABLE_OF_LIMITS = PAGE.split("\n## Limits\n")[1].split("\n## ")[0]


def test_every_limit_is_in_the_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", TABLE_OF_LIMITS, re.MULTILINE))
    limits = Limits()
    assert list(rows) == list(Limits.__dataclass_fields__)
    for name, default in rows.items():
        if name != "total_memory":
            assert float(re.match(r"\d+", default)[0]) == getattr(limits, name), name  # type: ignore[index] # fails then


def test_the_flags_of_limits_are_in_the_table() -> None:
    flags = dict(re.findall(r"^\| `(\w+)` \| [^|]+? \| `?([^|`]+?)`? \|", TABLE_OF_LIMITS, re.MULTILINE))
    fixed = {"request_bytes", "header_bytes", "request_seconds"}
    assert flags.keys() == set(Limits.__dataclass_fields__)
    assert {name for name, flag in flags.items() if flag == "fixed"} == fixed
    assert {name: flag for name, flag in flags.items() if name not in fixed} == {
        field: flag for flag, field, _, _ in LIMITS
    }


def test_one_token_cannot_take_every_keep() -> None:
    assert Limits().keeps_per_token < Limits().keeps


def test_the_size_of_a_message_is_the_windows() -> None:
    assert f"{DATA_SIZE:,} bytes" in PAGE


def test_paths_named_are_served() -> None:
    for path in re.findall(r"`(/v1/\w+|/openapi\.json)`", PAGE):
        assert any(operation.path == path for operation in OPERATIONS)
