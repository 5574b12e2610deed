"""``wasmkeep evidence ear``: verify a signed attestation result, and say what it claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli import flags
from wasmkeep.cli.evidence_verify import moment, nonce

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.ear_token import VerifiedEar

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("file", metavar="FILE", help="the token, JWT or CWT; - for standard input")
    parser.add_argument(
        "--key", required=True, metavar="FILE", help="the public key (PEM) of the verifier that you believe"
    )
    parser.add_argument(
        "--at", type=moment, metavar="TIME", help="judge as of this time (ISO 8601, UTC); default: now"
    )
    parser.add_argument("--max-age", type=flags.seconds, metavar="SECONDS", help="refuse an older one")
    parser.add_argument("--nonce", type=nonce, metavar="HEX", help="refuse one that does not answer this")
    parser.epilog = (
        "The signature is its verifier's: what the token says is as true as that verifier is honest."
    )
    flags.add_output_flags(parser)


def execute(options: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 - answers go to stdout
    """0 where the token is that key's and in date; Rejected is raised where it is not."""
    from datetime import UTC, datetime, timedelta

    from wasmkeep.cli.console import answer
    from wasmkeep.cli.evidence_files import read_each
    from wasmkeep.evidence.ear_keys import load_verifying_key
    from wasmkeep.evidence.ear_token import verify

    key = load_verifying_key(flags.read_file(options.key, "the key"))
    [(name, token)] = read_each([options.file])
    max_age = None if options.max_age is None else timedelta(seconds=options.max_age)
    at = options.at or datetime.now(UTC)
    found = verify(token, key, at=at, max_age=max_age, nonce=options.nonce)
    if options.json:
        import json

        facts = {"file": name, "verified": True, "key": found.key_id, "status": found.status}
        answer(json.dumps({**facts, "format": str(found.form), "claims": found.claims}))
    else:
        answer(_page(name, found))
    return 0


def _page(name: str, found: VerifiedEar) -> str:
    from wasmkeep.cli.text import escape

    lines = [f"verified: {name}, {found.form.upper()} signed by {found.key_id}"]
    verifier = found.claims["ear_verifier_id"]
    if isinstance(verifier, dict):
        lines.append(f"  {'verifier':<12}{verifier['developer']} {verifier['build']}")
    lines.append(f"  {'issued':<12}{_time(found.issued)}")
    lines.append(f"  {'expires':<12}{'never' if found.expires is None else _time(found.expires)}")
    submods = found.claims["submods"]
    for label, appraisal in submods.items() if isinstance(submods, dict) else ():
        lines.append(f"  {label:<12}{appraisal['ear_status']}")
        vector = appraisal["ear_trustworthiness_vector"]
        lines += [f"  {'':<12}{claim:<19}{value}" for claim, value in vector.items()]
        policies = appraisal.get("ear_appraisal_policy_ids")
        if isinstance(policies, list):
            lines += [f"  {'':<12}{'policy':<19}{one}" for one in policies]
        for group in ("ear_attester_claims", "ear_verifier_claims"):
            claims = appraisal.get(group)
            if isinstance(claims, dict):
                lines += [f"  {'':<12}{claim}: {value}" for claim, value in claims.items()]
    return "\n".join(escape(line) for line in lines)


def _time(seconds: int) -> str:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"
