"""Every accepted real SEV-SNP report, mutated: nothing is accepted, and nothing but `Rejected` is raised."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.evidence.mutations import bounded, der_edits, flipped, inserted_extensions, positions, refusal
from tests.evidence.soak import SOAK
from tests.evidence.vectors import PRODUCTS, accepted, authorities, needs_vectors, plain, rows
from wasmkeep.evidence import UNBOUND, ChainMemory, SnpEvidence, verify
from wasmkeep.evidence.snp import signatures, table
from wasmkeep.evidence.snp.report import REPORT_SIZE, SIGNED_SIZE, SigningKey

pytestmark = needs_vectors

_KEY_INFO = 0x48
_COMPONENT = 72


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    with bounded():
        yield


def refused(row: str, evidence: SnpEvidence, memory: ChainMemory | None = None) -> str:
    """The first check that refuses; fails when evidence is accepted."""
    at = rows()[row].at
    return refusal(
        lambda: verify(
            evidence, plain(), at=at, binding=UNBOUND, reference_values={}, memory=memory or ChainMemory()
        )
    )[0]


@pytest.mark.parametrize("row", accepted())
def test_every_signed_byte(row: str) -> None:
    """All 672, also for a caller who keeps what it checked of the chain."""
    evidence, memory = rows()[row].evidence(), ChainMemory()
    for position in range(SIGNED_SIZE):
        spoilt = replace(evidence, report=flipped(evidence.report, position))
        check = refused(row, spoilt, memory)
        assert check.startswith(("snp.report.", "snp.signature", "snp.signer", "snp.chain.")), (
            position,
            check,
        )


@pytest.mark.parametrize("row", accepted())
def test_every_byte_of_the_signature(row: str) -> None:
    evidence, memory = rows()[row].evidence(), ChainMemory()
    for position in range(SIGNED_SIZE, REPORT_SIZE):
        check = refused(row, replace(evidence, report=flipped(evidence.report, position)), memory)
        assert check in {"snp.signature", "snp.signature.range", "snp.report.reserved"}


@pytest.mark.parametrize("row", accepted())
def test_signatures_out_of_range(row: str) -> None:
    """r and s are numbers from 1 to n − 1, and have one encoding each."""
    evidence = rows()[row].evidence()
    at = (SIGNED_SIZE, SIGNED_SIZE + _COMPONENT)
    own = [int.from_bytes(evidence.report[start : start + _COMPONENT], "little") for start in at]
    largest = (1 << 8 * _COMPONENT) - 1
    for index, start in enumerate(at):
        order = signatures.ORDER
        for value in (0, order, order + 1, own[index] + order, (1 << 384) - 1, 1 << 384, largest):
            report = bytearray(evidence.report)
            report[start : start + _COMPONENT] = value.to_bytes(_COMPONENT, "little")
            assert refused(row, replace(evidence, report=bytes(report))) == "snp.signature.range"
    zeros = evidence.report[:SIGNED_SIZE] + bytes(REPORT_SIZE - SIGNED_SIZE)
    assert refused(row, replace(evidence, report=zeros)) == "snp.signature.range"
    exchanged = bytearray(evidence.report)
    exchanged[SIGNED_SIZE : SIGNED_SIZE + 2 * _COMPONENT] = (
        evidence.report[at[1] : at[1] + _COMPONENT] + evidence.report[at[0] : at[0] + _COMPONENT]
    )
    assert refused(row, replace(evidence, report=bytes(exchanged))) == "snp.signature"


@pytest.mark.parametrize("row", accepted())
def test_truncated_and_extended(row: str) -> None:
    evidence = rows()[row].evidence()
    for report in (
        b"",
        evidence.report[:-1],
        evidence.report[:SIGNED_SIZE],
        evidence.report + b"\0",
        b"\0" + evidence.report,
        evidence.report * 2,
        evidence.report * 5000,
    ):
        assert refused(row, replace(evidence, report=report)) == "snp.report.size"
    own = evidence.vcek
    for certificate in (b"", own[:-1], own[:4], own + b"\0", b"\0" + own, own * 2, own * 5000):
        assert refused(row, replace(evidence, vcek=certificate)) == "snp.certificates.malformed"
    ask, ark = evidence.chain
    for chain in ((), (ask,), (ask, ark, ark), (ark, ask, ask, ark)):
        assert refused(row, replace(evidence, chain=chain)) == "snp.chain.length"


@pytest.mark.parametrize("row", accepted())
def test_every_byte_of_the_certificates(row: str) -> None:
    evidence = rows()[row].evidence()
    ask, ark = evidence.chain
    for index, der in enumerate((evidence.vcek, ask, ark)):
        for position in positions(len(der), 40, f"{row}{index}"):
            parts = [evidence.vcek, ask, ark]
            parts[index] = flipped(der, position)
            check = refused(row, replace(evidence, vcek=parts[0], chain=(parts[1], parts[2])))
            assert check.startswith(("snp.certificates.", "snp.chain.", "snp.root")), (index, position, check)


@pytest.mark.parametrize("row", accepted())
def test_malformed_der(row: str) -> None:
    """Nodes of each certificate's tree twice, gone, with other lengths and tags."""
    evidence = rows()[row].evidence()
    ask, ark = evidence.chain
    for index, der in enumerate((evidence.vcek, ask, ark)):
        edits = [*der_edits(der, 40, f"{row}{index}"), *inserted_extensions(der)]
        for name, edited in edits:
            parts = [evidence.vcek, ask, ark]
            parts[index] = edited
            check = refused(row, replace(evidence, vcek=parts[0], chain=(parts[1], parts[2])))
            assert check.startswith(("snp.certificates.", "snp.chain.", "snp.root")), (index, name, check)


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
def test_a_vcek_given_as_a_vlek(row: str) -> None:
    """The report renamed, the chain of a VLEK, the table's entry of one: each refused."""
    evidence = rows()[row].evidence()
    _, ark, asvk = authorities(rows()[row].expected["product"])
    report = bytearray(evidence.report)
    report[_KEY_INFO] |= SigningKey.VLEK << 2
    renamed = replace(evidence, report=bytes(report))
    assert refused(row, renamed) == "snp.signer.certificate"
    assert refused(row, replace(renamed, chain=(asvk, ark))) == "snp.chain.key"
    assert refused(row, replace(evidence, chain=(asvk, ark))) == "snp.chain.key"
    entry = table.decode(table.encode(table.CertificateTable(vlek=evidence.vcek))).vlek
    assert refused(row, replace(renamed, vcek=entry or b"")) == "snp.signer.certificate"


@pytest.mark.parametrize("row", accepted())
def test_revocation_lists_of_others_and_broken_ones(row: str) -> None:
    evidence = rows()[row].evidence()
    product = rows()[row].expected["product"]
    others = {"Milan": "snp/genoa-revoked-ask", "Genoa": "snp/milan-v2-abi-1.51-crl"}
    own = {"Milan": "snp/milan-v2-abi-1.51-crl", "Genoa": "snp/genoa-revoked-ask"}
    wrong, right = rows()[others[product]].crl, rows()[own[product]].crl
    assert wrong is not None
    assert right is not None
    assert refused(row, replace(evidence, crl=wrong)) == "snp.crl.issuer"
    for position in positions(len(right), 40, row):
        assert refused(row, replace(evidence, crl=flipped(right, position))).startswith("snp.crl.")
    for name, edited in der_edits(right, 30, row):
        assert refused(row, replace(evidence, crl=edited)).startswith("snp.crl."), name


@pytest.mark.parametrize("row", accepted())
def test_noise_never_escapes_as_another_error(row: str) -> None:
    """Random edits anywhere: refused, or no change at all."""
    generator = random.Random(row)
    evidence = rows()[row].evidence()
    for _ in range(400 if SOAK else 40):
        der = bytearray(evidence.vcek)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(der))
            der[at : at + generator.randint(0, 3)] = generator.randbytes(generator.randint(0, 3))
        if bytes(der) != evidence.vcek:
            assert refused(row, replace(evidence, vcek=bytes(der))).startswith("snp.")
