"""Every accepted real SGX quote, mutated: nothing is accepted, and nothing but `Rejected` is raised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.evidence import quote_mutations
from tests.evidence.mutations import bounded
from tests.evidence.vectors import needs_vectors

pytestmark = needs_vectors

ROWS = quote_mutations.accepted("sgx")


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    with bounded():
        yield


@pytest.mark.parametrize("row", ROWS)
def test_every_signed_byte(row: str) -> None:
    quote_mutations.every_signed_byte(row)


@pytest.mark.parametrize("row", ROWS)
def test_every_byte_behind_the_signed_part(row: str) -> None:
    quote_mutations.every_byte_behind(row)


@pytest.mark.parametrize("row", ROWS)
def test_signatures_out_of_range(row: str) -> None:
    quote_mutations.signatures_out_of_range(row)


@pytest.mark.parametrize("row", ROWS)
def test_truncated_and_extended(row: str) -> None:
    quote_mutations.truncated_and_extended(row)


@pytest.mark.parametrize("row", ROWS)
def test_lengths_that_are_not_so(row: str) -> None:
    quote_mutations.lengths(row)


@pytest.mark.parametrize("row", ROWS)
def test_certificates_of_others_and_malformed_ones(row: str) -> None:
    quote_mutations.certificates(row)


@pytest.mark.parametrize("row", ROWS)
def test_collateral_of_others_and_malformed_one(row: str) -> None:
    quote_mutations.collateral(row)
