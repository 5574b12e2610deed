"""The examples compile to the recorded bytes, here as everywhere, and their configuration reads."""

from __future__ import annotations

import pytest

from tests.tenant.record_digests import (
    EXAMPLES,
    digests,
    examples,
    recorded,
    recorded_layout,
    require_new_layout,
)
from wasmkeep.tenant.program import LAYOUT_VERSION
from wasmkeep.tenant.source import read_source
from wasmkeep.tenant.trees import read_trees


@pytest.mark.parametrize("name", examples())
def test_example_compiles_to_its_recorded_digests(name: str) -> None:
    assert digests(examples()[name]) == recorded()[name]


def test_recorded_digests_are_of_this_layout() -> None:
    assert recorded_layout() == LAYOUT_VERSION


def test_other_bytes_are_not_recorded_under_the_same_layout() -> None:
    require_new_layout(recorded())
    changed = recorded()
    changed["add.wat"]["x86-64-v3"] = "00" * 32
    with pytest.raises(SystemExit, match=r"add\.wat.*LAYOUT_VERSION"):
        require_new_layout(changed)


def test_nothing_is_recorded_that_is_not_there() -> None:
    missing = {x for x in recorded() if x.endswith(".wat")} - examples().keys()
    assert not missing


def test_the_application_is_complete() -> None:
    read = read_source(EXAMPLES / "letter")
    files = {x.path: x.content for x in read_trees(read.configuration.trees)}
    assert files[b"data/letter.txt"] == (EXAMPLES / "letter" / "data" / "letter.txt").read_bytes()
    assert read.configuration.memory == 1 << 20
