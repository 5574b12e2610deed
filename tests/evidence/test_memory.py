"""A memory of chains spares work and changes no verdict: only what verified is in it, under all its bytes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.evidence.vectors import needs_vectors, plain, rows
from wasmkeep.evidence import UNBOUND, ChainMemory, Rejected, SnpEvidence, verify
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.snp import chain
from wasmkeep.evidence.snp.memory import MAX_ENTRIES

pytestmark = needs_vectors
GENOA, MILAN = "snp/genoa-v3-vcek", "snp/milan-v3-vcek"


def judge(
    name: str, memory: ChainMemory, evidence: SnpEvidence | None = None, policy: Policy | None = None
) -> None:
    row = rows()[name]
    verify(
        evidence or row.evidence(),
        policy or plain(),
        at=row.at,
        binding=UNBOUND,
        reference_values={},
        memory=memory,
    )


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many RSA signatures were checked."""
    count = [0]
    original = chain._signed_by

    def counting(*arguments: object) -> bool:
        count[0] += 1
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(chain, "_signed_by", counting)
    return count


def test_a_chain_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    count, memory = counted(monkeypatch), ChainMemory()
    judge(GENOA, memory)
    assert count[0] == 3
    judge(GENOA, memory)
    assert count[0] == 3
    judge(MILAN, memory)
    assert count[0] == 6


@pytest.mark.parametrize("part", ["vcek", "ask", "ark"])
def test_a_certificate_with_one_other_byte_is_not_remembered(part: str) -> None:
    memory = ChainMemory()
    judge(GENOA, memory)
    evidence = rows()[GENOA].evidence()
    ask, ark = evidence.chain

    def spoilt(certificate: bytes) -> bytes:
        return certificate[:-1] + bytes([certificate[-1] ^ 1])

    altered = {
        "vcek": replace(evidence, vcek=spoilt(evidence.vcek)),
        "ask": replace(evidence, chain=(spoilt(ask), ark)),
        "ark": replace(evidence, chain=(ask, spoilt(ark))),
    }[part]
    for _ in range(2):
        with pytest.raises(Rejected):
            judge(GENOA, memory, altered)


def test_other_roots_are_another_question() -> None:
    memory = ChainMemory()
    judge(GENOA, memory)
    pinned = replace(plain(), simulated="sha256:" + "ab" * 32)
    with pytest.raises(Rejected) as refused:
        judge(GENOA, memory, policy=pinned)
    assert refused.value.checks == ("snp.root",)


def test_another_chips_report_finds_no_help_in_it() -> None:
    memory = ChainMemory()
    judge(GENOA, memory)
    foreign = replace(rows()[GENOA].evidence(), report=rows()["snp/genoa-v5-model-a0"].evidence().report)
    with pytest.raises(Rejected):
        judge(GENOA, memory, foreign)


def test_dates_are_judged_anew() -> None:
    memory, row = ChainMemory(), rows()[GENOA]
    judge(GENOA, memory)
    with pytest.raises(Rejected) as refused:
        verify(
            row.evidence(),
            plain(),
            at=row.at + timedelta(days=8 * 365),
            binding=UNBOUND,
            reference_values={},
            memory=memory,
        )
    assert "snp.chain.expired" in refused.value.checks


def test_it_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = ChainMemory()
    judge(GENOA, memory)
    count = counted(monkeypatch)
    for number in range(MAX_ENTRIES):
        pinned = replace(plain(), name=str(number))
        evidence = rows()[MILAN].evidence()
        memory.key(replace(evidence, vcek=bytes([number])), "VCEK", pinned.roots, lambda: memory)  # type: ignore[arg-type, return-value]
    judge(GENOA, memory)
    assert count[0] == 3
