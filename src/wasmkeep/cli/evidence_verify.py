"""``wasmkeep evidence verify``: judge evidence offline, at a moment, against a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.binding import Unbound
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.evidence.result import AttestationResult, LostProtection
    from wasmkeep.evidence.sev.chain import PlatformCertificates

__all__ = ["configure", "execute", "moment", "show_lost"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="collections (JSON); reports, with the files that vouch for them; or the certificates of a SEV "
        "platform; or folders of these",
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
    certificates = files.platform()
    if certificates is not None:
        _verify_platform(certificates, policy, options, console)
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
    _show_lost(result.lost_protections, console)


def _show_lost(losses: tuple[LostProtection, ...], console: Console) -> None:
    from wasmkeep.cli.screens import simulated_banner, warning

    for lost in losses:
        if lost.what == "simulated":
            console.show(simulated_banner(where="that"))
        else:
            console.show(warning(lost.what, lost.text))


def _verify_platform(
    certificates: PlatformCertificates, policy: Policy, options: argparse.Namespace, console: Console
) -> None:
    """A bare SEV chain: whose platform it is, and how little that says. Raises Rejected."""
    from wasmkeep.cli.console import answer
    from wasmkeep.evidence.sev import checks, lost
    from wasmkeep.evidence.sev.evidence import KINDS

    kind = next((kind for kind in KINDS if kind in policy.platforms), KINDS[0])
    platform = checks.judge_platform(kind, certificates, policy)
    _show_lost(tuple(lost.of_the_root(platform, policy.sev)), console)
    facts = {
        "platform": f"AMD SEV · {platform.generation}" + " · SIMULATED" * platform.root.simulated,
        "chain": f"PDH → PEK → CEK → ASK → ARK, PEK → OCA; root {platform.root.pin} ({platform.root.name})",
        "firmware": f"SEV API {'.'.join(map(str, platform.api_version))} when the PDH was made",
        "chip": f"key {platform.cek_digest.hex()}",
        "owner": f"key {platform.oca_digest.hex()}"
        + ("" if policy.sev.owners else " (the policy accepts any owner)"),
        "revocation": "SEV's certificates have neither dates nor a revocation list",
        "proves": "that what is sealed to this PDH opens in a genuine secure processor, of that owner's",
        "not proved": "what runs there, under which policy, or that anything does: a launch proves that, "
        "to its own tenant",
        "binding": "not bound to anything",
    }
    if options.json:
        import json

        answer(json.dumps({"certificates": "sev", "bound": False, **facts}))
    else:
        answer(_table("genuine: a SEV platform's certificates", tuple(facts.items())))


def _page(name: str, result: AttestationResult) -> str:
    from wasmkeep.cli.screens import TEE_NAMES
    from wasmkeep.cli.text import digest

    firmware = f"TCB {result.tcb}" if result.snp is not None else f"SEV API and build {result.tcb}"
    rows = (
        (
            "platform",
            f"{TEE_NAMES.get(result.tee, result.tee)} · {result.product}" + " · SIMULATED" * result.simulated,
        ),
        ("chain", f"{' → '.join(result.chain)}, root {digest(result.root_spki)} ({result.root_name})"),
        ("revocation", result.revocation),
        ("firmware", firmware),
        ("chip", result.chip),
        ("image", f"launch digest {result.launch_digest.hex()} = {result.reference or 'not compared'}"),
        ("policy", f"{result.policy_name}: {', '.join(result.policy_checks)}"),
        ("binding", "bound to the report data given" if result.bound else "not bound to any session"),
        ("judged at", result.at.isoformat(timespec="seconds")),
    )
    return _table(f"accepted: {name}", rows)


def _table(heading: str, rows: tuple[tuple[str, str], ...]) -> str:
    from wasmkeep.cli.text import escape

    return "\n".join([escape(heading), *(escape(f"  {label:<12}{text}") for label, text in rows)])
