"""Reports of Turin and of clouds' keys, mutated as the real ones are: nothing is accepted, and nothing but
`Rejected` is raised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.evidence.mutations import bounded, der_edits, flipped, inserted_extensions, positions, refusal
from tests.evidence.simulated_rows import ACCEPTED, row
from wasmkeep.evidence import UNBOUND, ChainMemory, Rejected, SnpEvidence, verify
from wasmkeep.evidence.snp import table
from wasmkeep.evidence.snp.certificates import load_endorsement
from wasmkeep.evidence.snp.report import REPORT_SIZE, SIGNED_SIZE

ROWS = ("turin-v5-vcek", "turin-v5-vlek", "genoa-v5-vlek", "milan-v2-vlek")
OF_REPORT = ("snp.report.", "snp.signature", "snp.signer", "snp.chain.")
OF_CHAIN = ("snp.certificates.", "snp.chain.", "snp.root")


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    with bounded():
        yield


def refused(name: str, evidence: SnpEvidence, memory: ChainMemory | None = None) -> str:
    """The first check that refuses; fails when evidence is accepted."""
    made = row(name)
    return refusal(
        lambda: verify(
            evidence,
            made.policy(),
            at=made.at,
            binding=UNBOUND,
            reference_values={},
            memory=memory or ChainMemory(),
        )
    )[0]


@pytest.mark.parametrize("name", ROWS)
def test_every_byte_of_the_report(name: str) -> None:
    evidence, memory = row(name).evidence(), ChainMemory()
    for position in range(REPORT_SIZE):
        spoilt = replace(evidence, report=flipped(evidence.report, position))
        check = refused(name, spoilt, memory)
        expected = OF_REPORT if position < SIGNED_SIZE else ("snp.signature", "snp.report.reserved")
        assert check.startswith(expected), (position, check)


@pytest.mark.parametrize("name", ROWS)
def test_every_certificate(name: str) -> None:
    evidence = row(name).evidence()
    parts = (evidence.vcek, *evidence.chain)
    for index, der in enumerate(parts):
        label = f"{name}{index}"
        edits = [(str(at), flipped(der, at)) for at in positions(len(der), 40, label)]
        edits += [*der_edits(der, 40, label), *inserted_extensions(der)]
        for edit, edited in edits:
            key, ask, ark = (edited if place == index else part for place, part in enumerate(parts))
            check = refused(name, replace(evidence, vcek=key, chain=(ask, ark)))
            assert check.startswith(OF_CHAIN), (index, edit, check)


@pytest.mark.parametrize("name", ROWS)
def test_certificates_of_other_rows(name: str) -> None:
    """A cloud has one key for a TCB, whichever chip it is loaded into: those are not another's."""
    evidence = row(name).evidence()
    own = load_endorsement(evidence.vcek, "own").key
    for other in ACCEPTED:
        key, chain = row(other).certificate, row(other).chain
        if load_endorsement(key, "other").key != own:
            assert refused(name, replace(evidence, vcek=key)).startswith(("snp.chain.key", "snp.signature"))
            whole = replace(evidence, vcek=key, chain=chain)
            assert refused(name, whole).startswith(("snp.signature", "snp.signer.certificate"))
        if chain[0] != evidence.chain[0] and row(other).is_vlek != row(name).is_vlek:
            assert refused(name, replace(evidence, chain=chain)) == "snp.chain.key"


@pytest.mark.parametrize("name", ROWS)
def test_every_byte_of_the_table_in_front_of_the_certificates(name: str) -> None:
    """A changed table is refused, or lacks a certificate, or has one that does not verify."""
    made = row(name)
    data = made.extended()[REPORT_SIZE:]
    for position in range(24 * 5):
        try:
            found = table.decode(flipped(data, position))
        except Rejected:
            continue
        own = found.vlek if made.is_vlek else found.vcek
        whole = (own, found.ask, found.ark, found.crl)
        assert whole != (made.certificate, *made.chain, made.crl)
