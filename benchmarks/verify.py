"""`verify`: verdicts per second on one core, beside the raw cost of the same signatures in OpenSSL.

Evidence is the tests' own, of AMD's and Intel's profiles under roots of its own. Time is the processor's, of
this one thread, so that a neighbour counts as little as can be; everything is measured in turns.

- ``snp``: one chip's reports, the chain known (a warm `ChainMemory`), beside the report's signature alone;
- ``snp cold``: nothing known, beside the report's signature and the chain's;
- ``tdx``, ``sgx``: a quote with its collateral, beside all their signatures, and beside dcap-qvl alone;
- ``parse``: reports read;
- ``import``: the package, which loads its names when they are first used; ``import all``: everything that
  `verify` needs. In new processes, beside x509's.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Final

import dcap_qvl  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.evidence import dcap_forge, forge

from benchmarks.results import Result, median
from benchmarks.signatures import Signatures, of_quote, of_report, of_report_and_chain
from benchmarks.timing import Subject, interleaved
from wasmkeep.evidence import ChainMemory, SgxEvidence, TdxEvidence, verify
from wasmkeep.evidence.snp.report import parse

__all__ = ["measure"]

_PARSE_GOAL: Final = 50_000.0  # reports a second
_IMPORT_GOAL: Final = 120.0  # milliseconds, or:
_IMPORT_MARGIN: Final = 20.0  # above the import of x509
_REPEATED: Final = 4
_MILLISECONDS: Final = 1000.0
_PACKAGE: Final = "import wasmkeep.evidence"
_ALL: Final = "from wasmkeep.evidence import verify"
_PEER: Final = "from cryptography import x509"


async def measure(*, rounds: int = 80, processes: int = 21) -> list[Result]:
    """Each round makes some verdicts of every kind."""
    subjects = {**_snp_subjects(), **_quote_subjects("tdx"), **_quote_subjects("sgx")}
    gc.collect()
    samples = await interleaved(subjects, rounds=rounds, warm_up=3)
    rates = {name: _MILLISECONDS / median(taken) for name, taken in samples.items()}
    results = [
        _rate("snp", rates, "snp", "snp raw", "raw P-384 of the report"),
        _rate("snp cold", rates, "snp cold", "snp cold raw", "raw signatures, chain and list too"),
    ]
    for kind in ("tdx", "sgx"):
        results += [
            _rate(kind, rates, kind, f"{kind} raw", "raw signatures, collateral's too"),
            _rate(f"{kind} dcap-qvl", rates, kind, f"{kind} dcap-qvl", "dcap-qvl alone"),
        ]
    parsed = rates["parse"]
    results.append(Result("verify", "parse", parsed, "/s", "50,000 reports a second", parsed / _PARSE_GOAL))
    return [*results, *await _imports(processes)]


def _rate(metric: str, rates: dict[str, float], ours: str, peer: str, reference: str) -> Result:
    named = f"{reference}: {rates[peer]:,.0f}/s"
    return Result("verify", metric, rates[ours], "/s", named, rates[ours] / rates[peer])


def _each(work: Callable[[], object], times: int) -> Subject:
    """Milliseconds of this thread's processor time for each of the ``times`` that ``work`` does it: least of
    a few calls, as what else the machine does only adds. The first one only warms caches up, since what ran
    before did something else."""

    async def run() -> float:
        work()
        return min(_taken(work) for _ in range(_REPEATED)) / times

    return run


def _taken(work: Callable[[], object]) -> float:
    began = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - began) / 1e6


def _snp_subjects() -> dict[str, Subject]:
    """Every verdict is on another report of the chip's, as sessions are."""
    ark, ask = (rsa.generate_private_key(65537, 4096) for _ in range(2))
    maker = forge.Forge(ark, ask, ec.generate_private_key(ec.SECP384R1()))
    policy, memory = maker.policy(), ChainMemory()
    evidence = [maker.evidence(forge.report(report_data=number.to_bytes(64, "big"))) for number in range(8)]

    def judge(memory: ChainMemory | None) -> None:
        for number, one in enumerate(evidence):
            verify(
                one,
                policy,
                at=forge.AT,
                binding=number.to_bytes(64, "big"),
                host_data=forge.HOST_DATA,
                reference_values=forge.REFERENCES,
                memory=memory,
            )

    raw = Signatures(tuple(check for one in evidence for check in of_report(one).checks))
    raw_cold = Signatures(tuple(check for one in evidence for check in of_report_and_chain(one).checks))
    each = len(evidence)
    return {
        "snp": _each(lambda: judge(memory), each),
        "snp raw": _each(raw.check, each),
        "snp cold": _each(lambda: judge(None), each),
        "snp cold raw": _each(raw_cold.check, each),
        "parse": _each(lambda: [parse(one.report) for one in evidence], each),
    }


def _quote_subjects(kind: str) -> dict[str, Subject]:
    machine = dcap_forge.tdx() if kind == "tdx" else dcap_forge.sgx()
    evidence, policy = machine.evidence(), machine.policy()
    report_data = machine.body.report_data
    raw = of_quote(evidence)

    def judge() -> None:
        verify(evidence, policy, at=dcap_forge.AT, binding=report_data, reference_values={})

    return {
        kind: _each(judge, 1),
        f"{kind} raw": _each(raw.check, 1),
        f"{kind} dcap-qvl": _each(_alone(evidence, machine.certificate("root")), 1),
    }


def _alone(evidence: TdxEvidence | SgxEvidence, root: bytes) -> Callable[[], object]:
    """dcap-qvl's verdict, its own objects made beforehand."""
    given = evidence.collateral
    if given is None:
        raise ValueError("a quote is verified with its collateral")
    collateral = dcap_qvl.QuoteCollateralV3(*(getattr(given, entry.name) for entry in fields(given)))
    seconds = int(dcap_forge.AT.timestamp())
    verifier, policy = dcap_qvl.QuoteVerifier(root), dcap_qvl.QuotePolicy.claims_only(seconds)
    return lambda: verifier.verify_with_policy(evidence.quote, collateral, seconds, policy)


async def _imports(processes: int) -> list[Result]:
    """Ours beside x509's, in turns; each in a process that imported nothing before."""

    def importing(statement: str) -> Subject:
        async def run() -> float:
            return _imported(statement)

        return run

    subjects = {statement: importing(statement) for statement in (_PACKAGE, _ALL, _PEER)}
    samples = await interleaved(subjects, rounds=processes, warm_up=2)
    package, everything, peer = (median(samples[statement]) for statement in (_PACKAGE, _ALL, _PEER))
    allowed = max(_IMPORT_GOAL, peer + _IMPORT_MARGIN)
    reference = f"{allowed:.0f} ms: the larger of 120 ms, and x509 ({peer:.0f} ms) and 20"
    return [
        Result("verify", "import", package, "ms", reference, package / allowed),
        Result("verify", "import all", everything, "ms", f"x509: {peer:.0f} ms", everything / peer),
    ]


def _imported(statement: str) -> float:
    """Milliseconds of processor time."""
    program = f"import time; b = time.process_time(); {statement}; print(time.process_time() - b)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return float(done.stdout) * _MILLISECONDS
