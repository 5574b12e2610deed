"""Every accepted real report, mutated: nothing is accepted, and nothing but `Rejected` is raised."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.evidence.soak import SOAK
from tests.evidence.vectors import PRODUCTS, accepted, authorities, needs_vectors, plain, rows
from wasmkeep.evidence import UNBOUND, Rejected, SnpEvidence, verify
from wasmkeep.evidence.snp.report import REPORT_SIZE, SIGNED_SIZE

pytestmark = needs_vectors


def refused(row: str, evidence: SnpEvidence) -> str:
    """The first check that refuses; fails when evidence is accepted."""
    with pytest.raises(Rejected) as caught:
        verify(evidence, plain(), at=rows()[row].at, binding=UNBOUND, reference_values={})
    return caught.value.check


def positions(size: int, count: int, seed: str) -> Iterator[int]:
    """All positions in a soak, a fixed sample otherwise."""
    if SOAK or count >= size:
        yield from range(size)
    else:
        yield from sorted(random.Random(seed).sample(range(size), count))


@pytest.mark.parametrize("row", accepted())
def test_every_signed_byte(row: str) -> None:
    evidence = rows()[row].evidence()
    for position in positions(SIGNED_SIZE, 24, row):
        flipped = bytearray(evidence.report)
        flipped[position] ^= 1 << position % 8
        check = refused(row, replace(evidence, report=bytes(flipped)))
        assert check.startswith(("snp.report.", "snp.signature", "snp.signer")), (position, check)


@pytest.mark.parametrize("row", accepted())
def test_every_byte_of_the_signature(row: str) -> None:
    evidence = rows()[row].evidence()
    for position in positions(REPORT_SIZE - SIGNED_SIZE, 12, row):
        flipped = bytearray(evidence.report)
        flipped[SIGNED_SIZE + position] ^= 1
        check = refused(row, replace(evidence, report=bytes(flipped)))
        assert check in {"snp.signature", "snp.signature.range", "snp.report.reserved"}


@pytest.mark.parametrize("row", accepted())
def test_truncated_and_extended(row: str) -> None:
    evidence = rows()[row].evidence()
    for report in (b"", evidence.report[:-1], evidence.report + b"\0", evidence.report * 2):
        assert refused(row, replace(evidence, report=report)) == "snp.report.size"
    for certificate in (b"", evidence.vcek[:-1], evidence.vcek + b"\0", evidence.vcek * 2):
        assert refused(row, replace(evidence, vcek=certificate)) == "snp.certificates.malformed"


@pytest.mark.parametrize("row", accepted())
def test_every_byte_of_the_certificates(row: str) -> None:
    evidence = rows()[row].evidence()
    ask, ark = evidence.chain
    for index, der in enumerate((evidence.vcek, ask, ark)):
        for position in positions(len(der), 8, f"{row}{index}"):
            flipped = bytearray(der)
            flipped[position] ^= 1 << position % 8
            parts = [evidence.vcek, ask, ark]
            parts[index] = bytes(flipped)
            check = refused(row, replace(evidence, vcek=parts[0], chain=(parts[1], parts[2])))
            assert check.startswith(("snp.certificates.", "snp.chain.", "snp.root")), (index, position, check)


@pytest.mark.parametrize("row", accepted())
def test_certificates_of_others(row: str) -> None:
    evidence = rows()[row].evidence()
    own = rows()[row].expected
    for product in PRODUCTS:
        ask, ark, asvk = authorities(product)
        assert refused(row, replace(evidence, chain=(asvk, ark))) == "snp.chain.key"
        assert refused(row, replace(evidence, chain=(ark, ask))) == "snp.root"
        if product != own["product"]:
            assert refused(row, replace(evidence, chain=(ask, ark))) == "snp.chain.key"
            assert refused(row, replace(evidence, chain=(evidence.chain[0], ark))) == "snp.chain.ask"
    for name in accepted():
        if rows()[name].expected["chip_id"] != own["chip_id"]:
            expected = (
                "snp.signature" if rows()[name].expected["product"] == own["product"] else "snp.chain.key"
            )
            assert refused(row, replace(evidence, vcek=rows()[name].vcek)) == expected
    for wrong in (*evidence.chain, evidence.report):
        assert refused(row, replace(evidence, vcek=wrong)).startswith("snp.certificates.")


@pytest.mark.parametrize("row", accepted())
def test_noise_never_escapes_as_another_error(row: str) -> None:
    """Random edits anywhere: refused, or no change at all."""
    generator = random.Random(row)
    evidence = rows()[row].evidence()
    for _ in range(400 if SOAK else 12):
        der = bytearray(evidence.vcek)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(der))
            der[at : at + generator.randint(0, 3)] = generator.randbytes(generator.randint(0, 3))
        if bytes(der) != evidence.vcek:
            assert refused(row, replace(evidence, vcek=bytes(der))).startswith("snp.")
