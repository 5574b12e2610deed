"""``wasmkeep evidence verify``: judge evidence offline, at a moment, against a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.binding import Unbound
    from wasmkeep.evidence.result import AttestationResult

__all__ = ["configure", "execute", "moment", "show_lost"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="collections (JSON); or reports, with the files that vouch for them",
    )
    parser.add_argument("--endorsements", metavar="FOLDER", help="more certificates and revocation lists")
    parser.add_argument(
        "--policy", metavar="FILE", help="what evidence must show (TOML); default: the strict one"
    )
    parser.add_argument("--simulated", metavar="sha256:…", help="accept this simulated machine's root")
    parser.add_argument(
        "--at", type=moment, metavar="TIME", help="judge as of this time (ISO 8601, UTC); default: now"
    )
    parser.add_argument(
        "--report-data", type=_report_data, metavar="HEX", help="the 64 bytes it must be bound to"
    )
    parser.epilog = "Without --report-data the verdict says of no session; it is then printed as not bound."
    flags.add_output_flags(parser)


def moment(text: str) -> datetime:
    """A time in ISO 8601; a date alone is its midnight, no zone means UTC."""
    import argparse
    from datetime import UTC, datetime

    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 2025-06-01 or 2025-06-01T12:00Z"
        ) from None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def _report_data(text: str) -> bytes:
    import argparse

    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 64:
        raise argparse.ArgumentTypeError("128 hexadecimal digits are needed")
    return value


def execute(options: argparse.Namespace, console: Console) -> int:
    """0 where all evidence is accepted; the first that is not raises Rejected."""
    from datetime import UTC, datetime

    from wasmkeep.cli import policies, references
    from wasmkeep.cli.console import answer
    from wasmkeep.cli.evidence_files import read_files
    from wasmkeep.evidence import NO_LISTS_SEEN, UNBOUND, verify
    from wasmkeep.tenant.state import TenantState

    options.tee = None
    policy = policies.policy_for(options, simulated=options.simulated)
    files = read_files(options.files, options.endorsements)
    # As of a moment in the past, a list that came later says nothing.
    newest = TenantState().newest_crls() if options.at is None else NO_LISTS_SEEN
    binding: bytes | Unbound = UNBOUND if options.report_data is None else options.report_data
    for name, evidence in files.evidence():
        result = verify(
            evidence,
            policy,
            at=options.at or datetime.now(UTC),
            binding=binding,
            reference_values=references.for_policy(policy),
            crl_not_older_than=newest,
        )
        show_lost(result, console)
        if options.json:
            import json

            answer(json.dumps({"file": name, **result.claims()}))
        else:
            answer(_page(name, result))
    return 0


def show_lost(result: AttestationResult, console: Console) -> None:
    """Print what the policy allowed that a strict one refuses; the banner of a simulated machine among it."""
    from wasmkeep.cli.screens import simulated_banner, warning

    if result.simulated:
        console.show(simulated_banner(where="that"))
    for lost in result.lost_protections:
        if lost.what != "simulated":
            console.show(warning(lost.what, lost.text))


def _page(name: str, result: AttestationResult) -> str:
    from wasmkeep.cli.screens import TEE_NAMES
    from wasmkeep.cli.text import digest, escape

    rows = (
        (
            "platform",
            f"{TEE_NAMES.get(result.tee, result.tee)} · {result.product}" + " · SIMULATED" * result.simulated,
        ),
        ("chain", f"{' → '.join(result.chain)}, root {digest(result.root_spki)} ({result.root_name})"),
        ("revocation", result.revocation),
        ("firmware", f"TCB {result.tcb}"),
        ("chip", result.chip),
        ("image", f"launch digest {result.launch_digest.hex()} = {result.reference or 'not compared'}"),
        ("policy", f"{result.policy_name}: {', '.join(result.policy_checks)}"),
        ("binding", "bound to the report data given" if result.bound else "not bound to any session"),
        ("judged at", result.at.isoformat(timespec="seconds")),
    )
    return "\n".join([escape(f"accepted: {name}"), *(escape(f"  {label:<12}{text}") for label, text in rows)])
