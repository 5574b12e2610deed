"""Two verifiers of one quote: where they do not see the same, neither is followed; where they can differ by
accident, many platforms show that they do not."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.evidence.dcap_forge import AT, Json, Machine, isv_level, level, module, sgx, tdx, tdx_10
from wasmkeep.evidence import UNBOUND, Rejected, verify
from wasmkeep.evidence.dcap import agreement, collateral, qvl, tcb
from wasmkeep.evidence.dcap.pck import read_identity
from wasmkeep.evidence.dcap.qvl import Opinion
from wasmkeep.evidence.dcap.status import Status
from wasmkeep.evidence.tdx.report import TdReport

STATUSES = [status.value for status in Status if not status.startswith("TDRelaunch")]
PARTS = ["UpToDate", "OutOfDate", "Revoked"]
_REVOKED = "TCB status is invalid: Revoked"


def assert_same(machine: Machine) -> None:
    """dcap-qvl and this verifier reach the same status, by the same levels, or refuse both."""
    quote, found = machine.parsed_quote(), collateral.parse(machine.collateral())
    report = quote.body if isinstance(quote.body, TdReport) else None
    pck = read_identity(machine.sgx_extension())
    svn = quote.quoting_enclave.report.isv_svn
    levels = tcb.reached(pck, found.tcb_info, found.qe_identity, svn, report)
    ours = tcb.converged(levels, pck, found.tcb_info, report)
    theirs = qvl.ask(machine.quote(), machine.collateral(), AT, machine.certificate("root"))
    if theirs.claims:
        assert agreement.differing_claims(theirs.claims, pck, found, ours) == []
    elif ours is not None and levels.current:
        assert (ours.status, theirs.refused) == (Status.Revoked, _REVOKED)


@pytest.mark.parametrize(("platform", "enclave"), [*itertools.product(STATUSES, PARTS)])
def test_statuses_of_an_enclaves_platform(platform: str, enclave: str) -> None:
    levels = (level(platform, 5, "INTEL-SA-1"),)
    assert_same(sgx(levels=levels, qe_levels=(isv_level(enclave, 7, "INTEL-SA-2", "INTEL-SA-1"),)))


@pytest.mark.parametrize(("platform", "part"), [*itertools.product(STATUSES, PARTS)])
def test_statuses_of_a_trust_domains_platform(platform: str, part: str) -> None:
    levels = (level(platform, 5, "INTEL-SA-1", tdx=(5, 0, 3)),)
    modules = (module("TDX_01", isv_level(part, 6, "INTEL-SA-3")),)
    for enclave in PARTS:
        enclaves = (isv_level(enclave, 7, "INTEL-SA-2"),)
        assert_same(tdx_10(levels=levels, modules=modules, qe_levels=enclaves))


@pytest.mark.parametrize("seed", range(40))
def test_any_platform(seed: int) -> None:
    assert_same(some_machine(random.Random(seed)))


def some_machine(chance: random.Random) -> Machine:
    """Levels near what the platform has, highest first, as Intel lists them."""

    def advisories(names: str) -> list[str]:
        return chance.sample([*names], chance.randint(0, len(names)))

    def parts(count: int, names: str) -> list[Json]:
        svns = sorted(chance.sample(range(1, 8), count), reverse=True)
        return [isv_level(chance.choice([*PARTS, "UpToDate"]), svn, *advisories(names)) for svn in svns]

    def svns() -> bytes:
        return bytes((chance.randint(3, 7), chance.choice([0, 1, 1, 2]), chance.randint(1, 4))) + bytes(13)

    levels = [
        level(
            chance.choice(STATUSES),
            chance.randint(3, 5),
            *advisories("AB"),
            tdx=(chance.randint(3, 6), 0, chance.randint(1, 3)),
            pce=chance.choice([12, 13]),
        )
        for _ in range(chance.randint(1, 3))
    ]
    machine = tdx(
        levels=tuple(levels),
        modules=tuple(module(f"TDX_0{major}", *parts(2, "AC")) for major in (1, 2)),
        qe_levels=tuple(parts(2, "D")),
    )
    return machine.with_body(tee_tcb_svn=svns(), tee_tcb_svn2=svns())


def refused_by(machine: Machine) -> tuple[str, ...]:
    with pytest.raises(Rejected) as refused:
        verify(machine.evidence(), machine.policy(), at=AT, binding=UNBOUND, reference_values={})
    return refused.value.checks


def asked(change: Callable[[Opinion], Opinion], monkeypatch: pytest.MonkeyPatch) -> None:
    real = qvl.ask
    monkeypatch.setattr(qvl, "ask", lambda *arguments: change(real(*arguments)))


CLAIMS: dict[str, Callable[[Any], object]] = {
    "tcb.status": lambda claims: claims["tcb"].update(status="OutOfDate"),
    "tcb.advisory_ids": lambda claims: claims["tcb"].update(advisory_ids=["INTEL-SA-1"]),
    "tcb.eval_data_number": lambda claims: claims["tcb"].update(eval_data_number=19),
    "platform.pcesvn": lambda claims: claims["platform"]["tcb_level"]["tcb"].update(pcesvn=1),
    "platform.smt_enabled": lambda claims: claims["platform"]["pck"].update(smt_enabled="True"),
    "qe.isvsvn": lambda claims: claims["qe"]["tcb_level"]["tcb"].update(isvsvn=1),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_that_differ_are_refused(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(opinion: Opinion) -> Opinion:
        CLAIMS[claim](opinion.claims)
        return opinion

    asked(change, monkeypatch)
    with pytest.raises(Rejected) as refused:
        verify(tdx().evidence(), tdx().policy(), at=AT, binding=UNBOUND, reference_values={})
    assert refused.value.checks == ("dcap.disagreement",)
    assert refused.value.findings[0].found == claim


@pytest.mark.parametrize("machine", [tdx(), sgx()], ids=["tdx", "sgx"])
def test_fields_that_differ_are_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = qvl.read

    def other(quote: bytes, wanted: Mapping[str, Any]) -> dict[str, object] | None:
        return {**(real(quote, wanted) or {}), "report.report_data": bytes(64)}

    monkeypatch.setattr(qvl, "read", other)
    assert refused_by(machine) == ("dcap.disagreement",)
    monkeypatch.setattr(qvl, "read", lambda quote, wanted: None)
    assert refused_by(machine) == ("dcap.disagreement",)


@pytest.mark.parametrize(
    "words",
    [
        "Debug mode is enabled",
        "SEPT_VE_DISABLE is not enabled",
        "Invalid MR service TD",
        "Reserved bits in TD attributes are set",
        "No matching TCB level found",
        _REVOKED,
        "QE MRSIGNER mismatch",
        "TDX module identity check",
        "Fmspc mismatch",
        "something that a later release says",
    ],
)
def test_a_refusal_of_dcap_qvls_that_nothing_here_confirms_is_one(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(lambda _: Opinion(words, {}), monkeypatch)
    assert refused_by(tdx()) == refused_by(sgx()) == ("dcap.refused",)


def test_acceptance_of_dcap_qvls_is_never_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for signatures; what is seen here refuses all the same."""
    claims = qvl.ask(tdx().quote(), tdx().collateral(), AT, tdx().certificate("root")).claims
    monkeypatch.setattr(qvl, "ask", lambda *_: Opinion("", claims))
    low = tdx(svn=4)
    assert {"dcap.tcb.level", "dcap.disagreement"} == set(refused_by(low))
    assert "dcap.revoked" in refused_by(tdx(revoked=frozenset({"pck"})))
    assert "dcap.qe" in refused_by(tdx(qe=replace(tdx().qe, isv_prod_id=9)))


def test_dcap_qvl_is_loaded_for_intels_quotes_only() -> None:
    code = "import sys; from wasmkeep.evidence import verify; sys.exit('dcap_qvl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
