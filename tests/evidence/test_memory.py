"""A memory of chains spares work and changes no verdict: only what verified is in it, under all its bytes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.evidence import forge as make
from tests.evidence.forge import AT, HOST_DATA, REFERENCES, REPORT_DATA, Forge
from tests.evidence.vectors import needs_vectors, plain, rows
from wasmkeep.evidence import UNBOUND, AttestationResult, ChainMemory, Rejected, SnpEvidence, verify
from wasmkeep.evidence.policy import Policy, SnpPolicy
from wasmkeep.evidence.snp import chain
from wasmkeep.evidence.snp.memory import MAX_ENTRIES
from wasmkeep.evidence.snp.report import Report, parse, standing_part

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


@needs_vectors
def test_a_chain_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    count, memory = counted(monkeypatch), ChainMemory()
    judge(GENOA, memory)
    assert count[0] == 3
    judge(GENOA, memory)
    assert count[0] == 3
    judge(MILAN, memory)
    assert count[0] == 6


@needs_vectors
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


@needs_vectors
def test_other_roots_are_another_question() -> None:
    memory = ChainMemory()
    judge(GENOA, memory)
    pinned = replace(plain(), simulated="sha256:" + "ab" * 32)
    with pytest.raises(Rejected) as refused:
        judge(GENOA, memory, policy=pinned)
    assert refused.value.checks == ("snp.root",)


@needs_vectors
def test_another_chips_report_finds_no_help_in_it() -> None:
    memory = ChainMemory()
    judge(GENOA, memory)
    foreign = replace(rows()[GENOA].evidence(), report=rows()["snp/genoa-v5-model-a0"].evidence().report)
    with pytest.raises(Rejected):
        judge(GENOA, memory, foreign)


@needs_vectors
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


@needs_vectors
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


SIGNED = tuple(
    name for name, value in make.report()._asdict().items() if value is not None and "signature_" not in name
)
"""Fields of a version 3 report."""
SESSION = {"report_data", "measurement", "host_data", "report_id", "report_id_ma"}


def altered(field: str) -> Report:
    """A report with one field's lowest bit flipped."""
    value = getattr(make.report(), field)
    flipped = bytes([value[0] ^ 1]) + value[1:] if isinstance(value, bytes) else value ^ 1
    return make.version_2() if field == "version" else make.report(**{field: flipped})


def verdict(forge: Forge, evidence: SnpEvidence, policy: Policy, memory: ChainMemory | None) -> object:
    """The result, or the findings."""
    session = {"binding": REPORT_DATA, "host_data": HOST_DATA, "reference_values": REFERENCES}
    try:
        return verify(evidence, policy, at=AT, memory=memory, **session)  # type: ignore[arg-type]  # named
    except Rejected as rejected:
        return rejected.findings


@pytest.mark.parametrize("field", SIGNED)
def test_what_one_report_earned_helps_no_other(forge: Forge, field: str) -> None:
    memory, policy = ChainMemory(), forge.policy()
    evidence = forge.evidence(altered(field))
    assert isinstance(verdict(forge, forge.evidence(), policy, memory), AttestationResult)
    for _ in range(2):
        assert verdict(forge, evidence, policy, memory) == verdict(forge, evidence, policy, None)


def test_another_policy_is_another_question(forge: Forge) -> None:
    memory, evidence = ChainMemory(), forge.evidence()
    assert isinstance(verdict(forge, evidence, forge.policy(), memory), AttestationResult)
    strict = forge.policy(snp=SnpPolicy(minimum_guest_svn=1))
    assert verdict(forge, evidence, strict, memory) == verdict(forge, evidence, strict, None)
    assert not isinstance(verdict(forge, evidence, strict, memory), AttestationResult)


@pytest.mark.parametrize("field", SIGNED)
def test_keeps_on_one_platform_differ_in_their_session_only(field: str) -> None:
    base, other = make.report().encode(), altered(field).encode()
    assert (standing_part(base) == standing_part(other)) == (field in SESSION)
    assert (parse(base).standing() == parse(other).standing()) == (field in SESSION)
