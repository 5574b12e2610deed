"""``wasmkeep receipt verify``: valid when it ran? about this program? acceptable now?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.evidence.sev.evidence import SevKeys
    from wasmkeep.protocol.statements import Receipt
    from wasmkeep.tenant.receipts import ReceiptFile, VerifiedReceipt

__all__ = ["configure", "execute"]

_MAX_CRL_SIZE = 1 << 20  # bytes
_MAX_FIELD_SIZE = 1 << 30


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("file", metavar="FILE", help="the receipt")
    parser.add_argument("--program", metavar="PROGRAM", help="compile this program again and compare")
    then = parser.add_argument_group("at the time of the run")
    then.add_argument(
        "--policy", metavar="FILE", help="what evidence had to show (TOML); default: the strict one"
    )
    then.add_argument(
        "--tee", choices=flags.TEE_KINDS, metavar="KIND", help="snp, sev-es or sev; default: snp"
    )
    then.add_argument("--simulated", metavar="sha256:…", help="accept this simulated machine's root")
    then.add_argument(
        "--session",
        metavar="FILE",
        help="what the tenant stored to verify a SEV or SEV-ES receipt; default: RECEIPT.session",
    )
    now = parser.add_argument_group("as of now")
    now.add_argument(
        "--crl", metavar="FILE", help="today's revocation list (DER): refuse what was revoked since"
    )
    now.add_argument(
        "--policy-now",
        metavar="FILE",
        help="today's policy: refuse what is denied since; needs --crl, but for SEV and SEV-ES",
    )
    disclosed = parser.add_argument_group("disclosed fields")
    disclosed.add_argument("--salts", metavar="FILE", help="the salts that the tenant disclosed")
    disclosed.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="the keep had exactly this in arguments, stdout, …; NAME is a name of the salts",
    )
    parser.epilog = (
        "Exit code 76: not valid. 77: the evidence was refused. 79: valid then, revoked or denied since.\n"
        "80: a SEV or SEV-ES receipt without its stored session, which cannot be shown to others."
    )
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    """0 where everything that was asked for holds."""
    from wasmkeep.cli import policies, references
    from wasmkeep.errors import UsageError
    from wasmkeep.tenant import receipts

    if bool(options.field) != bool(options.salts):
        raise UsageError("usage", "--field and --salts need each other")
    policy = policies.policy_for(options, console, simulated=options.simulated)
    file = receipts.decode(flags.read_file(options.file, "the receipt", limit=receipts.MAX_RECEIPT_SIZE))
    _require_list_for_today(options, file)
    keys = _stored_keys(options, file, console)
    verified = receipts.verify(file, policy, references.for_policy(policy), keys=keys)
    checked = ["valid at the time of the run, as claimed by the tenant"]
    checked += _check_program(options.program, verified.receipt)
    checked += _check_fields(options, verified)
    checked += _check_now(options, file, policy, keys)
    _answer(options, console, file, verified, checked)
    return 0


def _require_list_for_today(options: argparse.Namespace, file: ReceiptFile) -> None:
    from wasmkeep.errors import UsageError

    if file.tenant_only and options.crl:
        raise UsageError(
            "usage",
            "SEV has no revocation list",
            found="--crl",
            required="--policy-now alone, today's policy",
        )
    if options.policy_now and not options.crl and not file.tenant_only:
        raise UsageError("usage", "--policy-now needs --crl", required="today's revocation list")


def _stored_keys(options: argparse.Namespace, file: ReceiptFile, console: Console) -> SevKeys | None:
    """What the tenant stored beside the receipt, where it needs that and it is there."""
    import os
    from pathlib import Path

    from wasmkeep.cli.receipt_place import session_beside
    from wasmkeep.cli.screens import warning
    from wasmkeep.tenant import stored_session

    path = options.session or str(session_beside(Path(options.file)))
    if not file.tenant_only or (options.session is None and not os.path.exists(path)):
        return None
    data = flags.read_file(path, "the stored session", limit=stored_session.MAX_SIZE)
    if os.stat(path).st_mode & 0o077:
        text = f"others may read {path}: whoever has it can make evidence like this receipt's; `chmod 600` it"
        console.show(warning("stored-session", text))
    return stored_session.decode(data, file.binding.session_id)


def _check_program(program: str | None, receipt: Receipt) -> list[str]:
    if program is None:
        return []
    from pathlib import Path

    from wasmkeep.tenant.compile import compile_program, level_of_target
    from wasmkeep.tenant.receipts import require_program
    from wasmkeep.tenant.source import read_source

    level = level_of_target(receipt.launch.target)
    compiled = compile_program(read_source(Path(program)).wasm, level=level)
    require_program(receipt, compiled.digest)
    return [f"the program is {program}, compiled again for {receipt.launch.target}"]


def _check_fields(options: argparse.Namespace, verified: VerifiedReceipt) -> list[str]:
    if not options.field:
        return []
    from wasmkeep.errors import UsageError
    from wasmkeep.protocol.binding import Field
    from wasmkeep.tenant import receipts

    text = flags.read_file(options.salts, "the salts", limit=receipts.MAX_RECEIPT_SIZE)
    salts = receipts.decode_disclosures(text, verified.session_id)
    checked = []
    for item in options.field:
        name, equals, path = item.partition("=")
        if not equals or name not in {str(field) for field in Field}:
            names = ", ".join(str(field) for field in Field)
            raise UsageError(
                "usage.field", f"--field {item}: not understood", required=f"NAME=FILE, NAME one of {names}"
            )
        field = Field(name)
        if field not in salts:
            raise UsageError("usage.field", f"{options.salts} does not disclose the salt of {name}")
        data = flags.read_file(path, f"the {name}", limit=_MAX_FIELD_SIZE)
        receipts.require_disclosed(verified.receipt, field, salts[field], data)
        checked.append(f"{name} was exactly {path}")
    return checked


def _check_now(
    options: argparse.Namespace, file: ReceiptFile, policy: Policy, keys: SevKeys | None
) -> list[str]:
    if not _now_asked(options):
        return []
    from datetime import UTC, datetime

    from wasmkeep.cli import policies, references
    from wasmkeep.tenant import receipts
    from wasmkeep.tenant.state import TenantState

    today = policies.load(options.policy_now) if options.policy_now else policy
    if options.simulated is not None:
        today = today.with_simulated(options.simulated)
    receipts.require_accepted_now(
        file,
        today,
        references.for_policy(today),
        crl=None if options.crl is None else _read_list(options.crl),
        at=datetime.now(UTC),
        crl_not_older_than=TenantState().newest_crls(),
        keys=keys,
    )
    return [f"accepted now as well, by today's {'policy' if file.tenant_only else 'revocation list'}"]


def _now_asked(options: argparse.Namespace) -> bool:
    return options.crl is not None or options.policy_now is not None


def _read_list(path: str) -> bytes:
    return flags.read_file(path, "the revocation list", limit=_MAX_CRL_SIZE)


def _answer(
    options: argparse.Namespace,
    console: Console,
    file: ReceiptFile,
    verified: VerifiedReceipt,
    checked: list[str],
) -> None:
    from wasmkeep.cli.console import answer
    from wasmkeep.cli.evidence_verify import show_lost
    from wasmkeep.cli.receipt_words import describe, mark, page

    show_lost(verified.result, console)
    facts = describe(verified.receipt, verified.session_id) | mark(file)
    if options.json:
        import json

        now = _now_asked(options)
        said = {"file": options.file, "verified": True, "checked": checked, "checked_now": now, **facts}
        answer(json.dumps({**said, "attestation": verified.result.claims()}))
        return
    lines = [page(f"valid: {options.file}", facts)]
    lines += [f"  {'checked' if number == 0 else '':<16}{line}" for number, line in enumerate(checked)]
    if file.tenant_only:
        lines.append(f"  {'not checked':<16}whether anything was revoked since: SEV has no revocation list")
    elif options.crl is None:
        lines.append(f"  {'not checked':<16}whether anything was revoked since; --crl FILE does")
    answer("\n".join(lines))
