"""Verdicts on evidence as ``wasmkeep evidence verify`` prints them: accepted on standard output, a refusal on
standard error as everywhere; with ``--json`` both on standard output, one object each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli.console import answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.errors import Rejected
    from wasmkeep.evidence.result import AttestationResult

__all__ = ["Verdicts"]

_TEE_NAMES = {"tdx": "Intel TDX", "sgx": "Intel SGX"}
_FIELDS = ("check", "kind", "message", "found", "required", "section", "meaning", "advice")


class Verdicts:
    """Prints each verdict as it comes; ``exit_code`` is 77 once something was rejected. With ``several`` a
    refusal is said with its name on standard output too."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        self.exit_code = 0
        self.several = False
        self._console = console
        self._as_json = as_json

    def accepted(self, name: str, result: AttestationResult) -> None:
        """Print a result: its facts for people, its claims for programs."""
        if self._as_json:
            self._print({"file": name, "verdict": "accepted", **result.claims()})
        else:
            answer(_page(name, result))

    def platform(self, facts: Mapping[str, str]) -> None:
        """Print what a genuine SEV platform's certificates say."""
        if self._as_json:
            self._print({"certificates": "sev", "verdict": "accepted", "bound": False, **facts})
        else:
            answer(_table("genuine: a SEV platform's certificates", tuple(facts.items())))

    def rejected(self, name: str, rejected: Rejected) -> None:
        """Print every check that failed."""
        if self._as_json:
            findings = [
                {field: str(getattr(finding, field)) for field in _FIELDS} for finding in rejected.findings
            ]
            self._print({"file": name, "verdict": "rejected", "findings": findings})
        elif self.several:
            answer(_table(f"rejected: {name}", ()))
        self.exit_code = self._console.error(rejected)

    def _print(self, facts: Mapping[str, object]) -> None:
        import json

        answer(json.dumps(facts))


def _page(name: str, result: AttestationResult) -> str:
    from wasmkeep.cli.screens import TEE_NAMES
    from wasmkeep.cli.text import digest

    tee = TEE_NAMES.get(result.tee) or _TEE_NAMES.get(result.tee, result.tee)
    firmware = f"SEV API and build {result.tcb}" if result.sev is not None else f"TCB {result.tcb}"
    rows = (
        ("platform", f"{tee} · {result.product}" + " · SIMULATED" * result.simulated),
        ("chain", f"{' → '.join(result.chain)}, root {digest(result.root_spki)} ({result.root_name})"),
        ("revocation", result.revocation),
        ("firmware", firmware),
        ("chip", result.chip),
        ("image", f"launch digest {result.launch_digest.hex()} = {result.reference or 'not compared'}"),
        *_registers(result),
        ("policy", f"{result.policy_name}: {', '.join(result.policy_checks)}"),
        ("binding", "bound to the report data given" if result.bound else "not bound to any session"),
        ("judged at", result.at.isoformat(timespec="seconds")),
    )
    return _table(f"accepted: {name}", rows)


def _registers(result: AttestationResult) -> tuple[tuple[str, str], ...]:
    """What an Intel platform measured beside the launch digest."""
    if result.tdx is not None:
        return tuple((f"RTMR{at}", value.hex()) for at, value in enumerate(result.tdx.report.rtmrs))
    if result.sgx is not None:
        report = result.sgx.report
        words = f"{report.mrsigner.hex()}, product {report.isv_prod_id}, SVN {report.isv_svn}"
        return (("signer", words),)
    return ()


def _table(heading: str, rows: tuple[tuple[str, str], ...]) -> str:
    from wasmkeep.cli.text import escape

    return "\n".join([escape(heading), *(escape(f"  {label:<12}{text}") for label, text in rows)])
