"""A receipt in words: the same facts for people and for machines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from wasmkeep.cli.text import duration, escape, size
from wasmkeep.evidence.sev.evidence import KINDS
from wasmkeep.evidence.sev.lost import inherent
from wasmkeep.protocol.statements import Exited, Trapped

if TYPE_CHECKING:
    from wasmkeep.protocol.statements import Receipt
    from wasmkeep.tenant.receipts import ReceiptFile

__all__ = ["describe", "mark", "page"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LABEL_WIDTH = 16


def describe(receipt: Receipt, session_id: bytes) -> dict[str, object]:
    """The facts of a receipt. Digests are hexadecimal, sizes bytes, times ns or ISO 8601."""
    launch, outcome = receipt.launch, receipt.outcome
    return {
        "session": session_id.hex(),
        "tee": launch.tee,
        "launch_digest": launch.measurement.hex(),
        "program_digest": launch.program_digest.hex(),
        "target": launch.target,
        "exit_code": outcome.code if isinstance(outcome, Exited) else None,
        "trap_vector": outcome.vector if isinstance(outcome, Trapped) else None,
        "started": _moment(launch.started_ns),
        "elapsed_ns": receipt.elapsed_ns,
        "memory_limit": launch.memory_limit,
        "peak_memory": receipt.peak_memory,
        "exits": receipt.exits,
        "stdin_size": receipt.stdin.length,
        "stdout_size": receipt.stdout.length,
        "stderr_size": receipt.stderr.length,
        "tenant_key_digest": launch.tenant_key_digest.hex(),
        "salted_digests": {
            "configuration": launch.configuration_digest.hex(),
            "arguments": launch.arguments_digest.hex(),
            "environment": launch.environment_digest.hex(),
            "files": launch.files_digest.hex(),
            "stdin": receipt.stdin.digest.hex(),
            "stdout": receipt.stdout.digest.hex(),
            "stderr": receipt.stderr.digest.hex(),
        },
    }


def mark(file: ReceiptFile) -> dict[str, object]:
    """Who can verify it, and what such a TEE does not protect from: by the kind of its evidence. A file that
    is not verified may have lost its own marks.
    """
    for kind in KINDS:
        if kind == file.tee:
            lost = [{"what": loss.what, "text": loss.text} for loss in inherent(kind)]
            return {"verifiable_by": "tenant", "protection_lost": lost}
    return {}


def page(heading: str, facts: dict[str, object]) -> str:
    """The facts for people, one a line."""
    outcome = f"exit {facts['exit_code']}"
    if facts["exit_code"] is None:
        outcome = f"trap, vector {facts['trap_vector']}"
    rows = [
        ("outcome", outcome),
        ("program", f"digest {facts['program_digest']} for {facts['target']}"),
        ("image", f"{_measured(facts['launch_digest'])} ({facts['tee']})"),
        ("started", f"{facts['started']}, as claimed by the tenant"),
        (
            "took",
            f"{duration(_number(facts['elapsed_ns']))} by the keep's clock, {facts['exits']} exits",
        ),
        ("memory", f"{size(_number(facts['peak_memory']))} of {size(_number(facts['memory_limit']))}"),
        ("streams", ", ".join(f"{name} {facts[name + '_size']} B" for name in ("stdin", "stdout", "stderr"))),
        ("session", str(facts["session"])),
        ("tenant key", f"sha256:{facts['tenant_key_digest']}"),
    ]
    if "verifiable_by" in facts:
        rows.append(("verifiable-by", f"{facts['verifiable_by']}: it cannot be shown to others"))
    lost = facts.get("protection_lost")
    for number, loss in enumerate(lost if isinstance(lost, list) else ()):
        rows.append(("not protected" if number == 0 else "", f"{loss['what']}: {loss['text']}"))
    digests = facts["salted_digests"]
    if isinstance(digests, dict):
        rows += [(f"{name}", f"salted digest {value}") for name, value in digests.items()]
    return "\n".join([escape(heading), *(escape(f"  {label:<{_LABEL_WIDTH}}{text}") for label, text in rows)])


def _measured(launch_digest: object) -> str:
    return f"launch digest {launch_digest}" if launch_digest else "named by the evidence, not by the keep"


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _moment(nanoseconds: int) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=nanoseconds // 1000)).isoformat(timespec="seconds")
    except OverflowError:
        return f"{nanoseconds} ns after 1970"
