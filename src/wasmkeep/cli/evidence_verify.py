"""``wasmkeep evidence verify``: judge evidence offline, at a moment, against a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from wasmkeep.cli.console import Console
    from wasmkeep.cli.evidence_files import Files, Subject
    from wasmkeep.cli.evidence_signing import Signer
    from wasmkeep.cli.evidence_verdicts import Verdicts
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.evidence.result import AttestationResult, LostProtection

__all__ = ["configure", "execute", "moment", "show_lost"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="reports, extended reports, quotes, collections (JSON or CBOR), with the files that vouch for "
        "them; or the certificates of a SEV platform; or folders of these; - for standard input",
    )
    parser.add_argument(
        "--endorsements",
        metavar="FOLDER|URL",
        help="a folder of more certificates, lists and collateral, or the service that gives them, or "
        "`online` for the services that you set, else the vendors' own",
    )
    parser.add_argument(
        "--policy",
        metavar="FILE",
        help="what evidence must show (TOML), or `plain`: genuine, in date, no debug; "
        "default: the strict one",
    )
    parser.add_argument("--simulated", metavar="sha256:…", help="accept this simulated machine's root")
    parser.add_argument(
        "--at", type=moment, metavar="TIME", help="judge as of this time (ISO 8601, UTC); default: now"
    )
    parser.add_argument(
        "--report-data", type=_report_data, metavar="HEX", help="the 64 bytes it must be bound to"
    )
    parser.add_argument(
        "--challenged-at",
        type=moment,
        metavar="TIME",
        help="when the challenge in the report data was made, for a policy that limits the age of evidence",
    )
    signed = parser.add_argument_group("the result, signed")
    signed.add_argument("--ear", metavar="FILE", help="write the result there as a signed token (EAR)")
    signed.add_argument("--ear-key", metavar="FILE", help="your private key (PEM): P-256, P-384 or Ed25519")
    signed.add_argument("--ear-format", choices=("jwt", "cwt"), default="jwt", help="default: jwt")
    signed.add_argument(
        "--ear-nonce", type=nonce, metavar="HEX", help="what the relying party asked for: 8 to 64 bytes"
    )
    signed.add_argument(
        "--ear-lifetime", type=flags.seconds, metavar="SECONDS", help="when it expires; default: never"
    )
    parser.epilog = (
        "Without --report-data the verdict says of no session; it is then printed as not bound.\n"
        "Exit code 0: all of it was accepted. 77: something was rejected. 66: a file cannot be used."
    )
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


def nonce(text: str) -> bytes:
    """8 to 64 bytes in hexadecimal digits."""
    import argparse

    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if not 8 <= len(value) <= 64:
        raise argparse.ArgumentTypeError("16 to 128 hexadecimal digits are needed")
    return value


def execute(options: argparse.Namespace, console: Console) -> int:
    """0 where all evidence is accepted, 77 where some is not; all of it is judged."""
    from wasmkeep.cli import evidence_verdicts, policies
    from wasmkeep.cli.endorsements_places import is_service
    from wasmkeep.cli.evidence_files import read_files
    from wasmkeep.errors import UsageError
    from wasmkeep.evidence.errors import Rejected

    options.tee = None
    signer = _signer(options)
    policy = policies.policy_for(options, console, simulated=options.simulated)
    where = options.endorsements
    verdicts = evidence_verdicts.Verdicts(console, as_json=options.json)
    try:
        files = read_files(options.files, None if where is None or is_service(where) else where)
    except Rejected as rejected:
        verdicts.rejected(", ".join(options.files), rejected)
        return verdicts.exit_code
    if signer is not None and len(files.subjects) != 1:
        raise UsageError(
            "usage", "one token holds one result", found=f"{len(files.subjects)} pieces", required="one"
        )
    verdicts.several = len(files.subjects) > 1
    for name in files.passed_over:
        console.note(f"passed over: {name}, nothing that evidence is made of")
    if files.material.sev:
        try:
            _verify_platform(files, policy, verdicts, console)
        except Rejected as rejected:
            verdicts.rejected("the platform's certificates", rejected)
    for subject in files.subjects:
        try:
            result = _judged(subject, files, policy, options)
        except Rejected as rejected:
            verdicts.rejected(subject.name, rejected)
            continue
        if options.at is None:
            _remember(result, console)
        show_lost(result, console)
        verdicts.accepted(subject.name, result)
        if signer is not None:
            signer.write(result, console)
    return verdicts.exit_code


def _signer(options: argparse.Namespace) -> Signer | None:
    """Whom the flags ask to sign; the key is read before anything is judged. Raises UsageError, InputError,
    ConfigurationError."""
    from wasmkeep.errors import UsageError

    if (options.ear is None) != (options.ear_key is None):
        raise UsageError("usage", "a signed result needs a place and a key", required="--ear and --ear-key")
    if options.ear is None:
        return None
    from wasmkeep.cli.evidence_signing import Signer

    return Signer.of(options)


def _judged(subject: Subject, files: Files, policy: Policy, options: argparse.Namespace) -> AttestationResult:
    """One subject's result. Raises Rejected, and what services of endorsements raise."""
    from datetime import UTC, datetime

    from wasmkeep.cli import references
    from wasmkeep.cli.evidence_complete import complete
    from wasmkeep.evidence import NO_LISTS_SEEN, UNBOUND, verify
    from wasmkeep.tenant.state import TenantState

    completed = complete(subject, files, options.endorsements)
    return verify(
        completed.evidence,
        policy,
        at=options.at or datetime.now(UTC),
        binding=UNBOUND if options.report_data is None else options.report_data,
        reference_values=references.for_policy(policy),
        # As of a moment in the past, a list that came later says nothing.
        crl_not_older_than=TenantState().newest_crls() if options.at is None else NO_LISTS_SEEN,
        crl_retrieved=completed.crl_retrieved,
        challenged_at=options.challenged_at,
    )


def _remember(result: AttestationResult, console: Console) -> None:
    """The newest revocation lists that this user has seen: older ones are refused from now on."""
    from wasmkeep.errors import SystemFailure
    from wasmkeep.tenant.state import TenantState

    state = TenantState()
    try:
        for issuer, issued in result.lists_issued.items():
            state.saw_crl(issuer, issued)
    except SystemFailure as failure:
        console.note(f"the dates of revocation lists are not remembered: {failure.found}")


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


def _verify_platform(files: Files, policy: Policy, verdicts: Verdicts, console: Console) -> None:
    """A bare SEV chain: whose platform it is, and how little that says. Raises Rejected."""
    from wasmkeep.evidence.assembly import assemble_sev
    from wasmkeep.evidence.sev import checks, lost
    from wasmkeep.evidence.sev.evidence import KINDS

    certificates = assemble_sev(files.material)
    if certificates is None:
        return
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
    verdicts.platform(facts)
