"""The examples compile to the recorded bytes, here as everywhere, and their configuration reads."""

from __future__ import annotations

import pytest

from tests.tenant.record_digests import EXAMPLES, digests, examples, recorded
from wasmkeep.tenant.source import read_source
from wasmkeep.tenant.trees import read_trees


@pytest.mark.parametrize("name", examples())
def test_example_compiles_to_its_recorded_digests(name: str) -> None:
    assert digests(examples()[name]) == recorded()[name]


def test_nothing_is_recorded_that_is_not_there() -> None:
    missing = {x for x in recorded() if x.endswith(".wat")} - examples().keys()
    assert not missing


def test_the_application_is_complete() -> None:
    read = read_source(EXAMPLES / "letter")
    files = {x.path: x.content for x in read_trees(read.configuration.trees)}
    assert files[b"data/letter.txt"] == (EXAMPLES / "letter" / "data" / "letter.txt").read_bytes()
    assert read.configuration.memory == 1 << 20
