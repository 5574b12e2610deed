"""``wasmkeep policy init``: a policy from evidence that its user trusts, which pins what that shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags
from wasmkeep.cli.evidence_verify import moment

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from wasmkeep.cli.console import Console
    from wasmkeep.cli.evidence_complete import Completed
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.evidence.result import AttestationResult

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="EVIDENCE",
        help="evidence of SEV-SNP, TDX or SGX that you trust, with the files that vouch for it; or folders "
        "of these; - for standard input",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the policy there, a new file; default: standard output"
    )
    parser.add_argument(
        "--endorsements", metavar="FOLDER|URL", help="more certificates, lists and collateral, or a service"
    )
    parser.add_argument("--simulated", metavar="sha256:…", help="accept this simulated machine's root")
    parser.add_argument(
        "--at", type=moment, metavar="TIME", help="judge as of this time (ISO 8601, UTC); default: now"
    )
    parser.epilog = (
        "The evidence must be genuine, in date and free of debugging first; of any TCB status but Revoked.\n"
        "What belongs to one session (report data, host data) is not pinned."
    )
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """0 where a policy was made, accepting all of the evidence. Raises Rejected for what is not genuine."""
    from datetime import UTC, datetime

    from wasmkeep.cli import policies
    from wasmkeep.cli.evidence_verify import show_lost
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.evidence.policy_writing import document

    at = options.at or datetime.now(UTC)
    trusting = _trusting(options.simulated)
    policies.warn_of_age(trusting, console)
    given = _evidence(options)
    results = [_judged(completed, trusting, at) for completed in given]
    text = document(_pinned(results), heading=_heading(results))
    policy = Policy.from_toml(text, name=options.output or "the policy made")
    for completed in given:
        show_lost(_judged(completed, policy, at), console)  # what was made accepts what it was made from
    if options.output is not None:
        _write(options.output, text)
        console.note(f"wrote {options.output}: `wasmkeep policy check {options.output}` explains it")
    _answer(options, policy, text)
    return 0


def _trusting(simulated: str | None) -> Policy:
    """The plain policy, and any TCB status but Revoked: whether that is good enough is the user's word."""
    from dataclasses import replace

    from wasmkeep.evidence.dcap.policy import TCB_STATUSES
    from wasmkeep.evidence.plain import plain

    policy = plain()
    policy = replace(
        policy,
        tdx=replace(policy.tdx, tcb_statuses=TCB_STATUSES),
        sgx=replace(policy.sgx, tcb_statuses=TCB_STATUSES),
    )
    return policy if simulated is None else policy.with_simulated(simulated)


def _evidence(options: argparse.Namespace) -> list[Completed]:
    from wasmkeep.cli.endorsements_places import is_service
    from wasmkeep.cli.evidence_complete import complete
    from wasmkeep.cli.evidence_files import read_files
    from wasmkeep.errors import InputError

    where = options.endorsements
    files = read_files(options.files, None if where is None or is_service(where) else where)
    if not files.subjects:
        raise InputError(
            "evidence.none",
            "certificates alone say nothing that a policy could pin",
            required="evidence of SEV-SNP, TDX or SGX",
        )
    return [complete(subject, files, where) for subject in files.subjects]


def _judged(completed: Completed, policy: Policy, at: datetime) -> AttestationResult:
    from wasmkeep.evidence import UNBOUND, verify

    return verify(
        completed.evidence,
        policy,
        at=at,
        binding=UNBOUND,
        reference_values={},
        crl_retrieved=completed.crl_retrieved,
    )


def _pinned(results: list[AttestationResult]) -> Policy:
    from wasmkeep.errors import InputError
    from wasmkeep.evidence.policy_pins import pinned

    try:
        return pinned(results, name="made")
    except ValueError as error:
        raise InputError("policy.init", str(error)) from error


def _heading(results: list[AttestationResult]) -> list[str]:
    """What the policy was made from, for whoever reads the file."""
    from wasmkeep.evidence.platforms import PLATFORM_NAMES

    return [
        "A policy that pins what this evidence shows, made by `wasmkeep policy init`:",
        *(
            f"  {PLATFORM_NAMES[result.tee]}, {result.product}, judged as of {result.at:%Y-%m-%d %H:%M} UTC, "
            f"sha256:{result.evidence_digest.hex()}"
            for result in results
        ),
        "What it does not say is as strict as by default. Report data and host data belong to a session.",
        "Remove `chips` or `platforms` to accept other machines of the same kind.",
    ]


def _write(path: str, text: str) -> None:
    """A new file: a policy that somebody wrote is never replaced. Raises OutputError."""
    from wasmkeep.errors import OutputError

    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or "a name that is not one"
        raise OutputError("output.file", f"cannot write the policy {path}", found=found) from error


def _answer(options: argparse.Namespace, policy: Policy, text: str) -> None:
    from wasmkeep.cli.console import answer

    if options.json:
        import json

        answer(json.dumps({"identifier": policy.identifier, "policy": text, "file": options.output}))
    elif options.output is None:
        answer(text.rstrip("\n"))
