"""The screen of a deployment: each line comes from the event of the step that established it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli.console import Block
from wasmkeep.cli.policies import warn_of_exceptions
from wasmkeep.cli.progress import Progress
from wasmkeep.cli.text import digest, plural, short, size
from wasmkeep.tenant import events

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.result import AttestationResult

__all__ = [
    "TEE_NAMES",
    "DeploymentScreen",
    "closing",
    "cpu_note",
    "host_passed_over",
    "simulated_banner",
    "warning",
]

TEE_NAMES = {"snp": "AMD SEV-SNP", "sev-es": "AMD SEV-ES", "sev": "AMD SEV"}


def simulated_banner(lines: tuple[str, ...] = (), *, where: str = "this") -> Block:
    """What must be read before anything else about a simulated machine; ``lines`` are added to it.

    ``where`` is ``this`` for the computer of whoever reads it, ``that`` for another.
    """
    text = (
        f"{where} machine has no TEE: keys and evidence come from a simulator.",
        f"Nothing {'here' if where == 'this' else 'there'} is protected from the owner of {where} computer.",
        *lines,
    )
    return Block("simulated", "SIMULATED", text, {"simulated": True, "notes": list(lines)}, loud=True)


def cpu_note(cpu: str, reason: str) -> str:
    """What runs the keep, in a sentence for the banner."""
    if cpu == "kvm":
        return "The keep runs in a real virtual machine (/dev/kvm)."
    because = f": {reason}" if reason else ""
    return f"The keep runs as a sandboxed process, more slowly{because}."


def warning(what: str, *lines: str, used: bool = True) -> Block:
    """A protection that is off or weaker than usual: never silenced.

    ``used`` is False where a policy would allow it and no evidence made use of that.
    """
    facts = {"what": what, "lines": list(lines), "used": used}
    return Block("protection-lost", "WARNING", lines, facts, loud=True)


def host_passed_over(host: str, reason: str) -> Block:
    """A host that was preferred and cannot be used: the next one is tried."""
    text = f"{host}: {reason}"
    return Block("host-passed-over", "passed over", (text,), {"host": host, "reason": reason})


class DeploymentScreen:
    """A watcher of deployment events that prints them. One per deployment."""

    def __init__(self, console: Console, *, banner_shown: bool = False) -> None:
        self.console = console
        self._banner_shown = banner_shown
        self._progress: Progress | None = None
        self._started: events.KeepStarted | None = None
        self.finished: events.Finished | None = None
        self._screens: dict[type, Callable[[Any], None]] = {
            events.SettingOverridden: self._setting_overridden,
            events.CompileStarted: self._compile_started,
            events.CompileFinished: self._compile_finished,
            events.KindPassedOver: self._kind_passed_over,
            events.HostPassedOver: self._host_passed_over,
            events.KeepStarted: self._keep_started,
            events.EvidenceVerified: self._evidence_verified,
            events.Delivered: self._delivered,
            events.Launched: self._launched,
            events.Trapped: self._trapped,
            events.Finished: self._finished,
            events.ProtectionLost: self._protection_lost,
        }

    def __call__(self, event: events.Event) -> None:
        """Show one event."""
        self._end_progress()
        self._screens[type(event)](event)

    def close(self) -> None:
        """Take away what moves, whatever happened."""
        self._end_progress()

    def _end_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _setting_overridden(self, event: events.SettingOverridden) -> None:
        facts = {"key": event.key, "was": event.was, "now": event.now}
        text = f"{event.key} of Keep.toml: {event.was} → {event.now}"
        self.console.show(Block("overridden", "overridden", (text,), facts))

    def _compile_started(self, event: events.CompileStarted) -> None:
        text = f"{event.program} {size(event.size)}, this once: the result is kept in your cache folder"
        self._progress = Progress(self.console, "compiling", "compiling", text)

    def _compile_finished(self, event: events.CompileFinished) -> None:
        facts = {
            "program": event.program,
            "target": event.target,
            "program_digest": event.program_digest,
            "code_size": event.code_size,
            "cached": event.cached,
        }
        if event.cached and not self.console.json:
            return
        text = f"{event.program} {size(event.size)} → {size(event.code_size)} for {event.target}"
        self.console.show(Block("compiled", "compiled", (text,), facts, elapsed_ns=event.elapsed_ns))

    def _kind_passed_over(self, event: events.KindPassedOver) -> None:
        name = TEE_NAMES.get(event.tee, event.tee)
        where = f" at {event.host}" if event.host else ""
        facts = {"tee": event.tee, "host": event.host, "reason": event.reason}
        self.console.show(Block("passed-over", "passed over", (f"{name}{where}: {event.reason}",), facts))

    def _host_passed_over(self, event: events.HostPassedOver) -> None:
        self.console.show(host_passed_over(event.host, event.reason))

    def _keep_started(self, event: events.KeepStarted) -> None:
        self._started = event
        if self.console.json:
            facts = {"host": event.host, "tee": event.tee, "memory": event.memory, "hint": True}
            self.console.show(Block("keep-started", "keep", (), facts, elapsed_ns=event.elapsed_ns))

    def _evidence_verified(self, event: events.EvidenceVerified) -> None:
        result = event.result
        if result.simulated and not self._banner_shown:
            self._banner_shown = True
            self.console.show(simulated_banner(where="that"))
        name = TEE_NAMES.get(result.tee, result.tee)
        platform = f"{name} · {result.product.capitalize()}" + (" · simulated" if result.simulated else "")
        facts = {"tee": result.tee, "product": result.product, "simulated": result.simulated}
        made_ns = self._started.elapsed_ns if self._started else None
        self.console.show(Block("platform", "platform", (platform,), facts, elapsed_ns=made_ns))
        self.console.show(_evidence_block(event))
        said = frozenset(lost.what for lost in result.lost_protections)
        warn_of_exceptions(result.policy, self.console, said=said)

    def _delivered(self, event: events.Delivered) -> None:
        parts = [
            f"{event.program} {size(event.program_size)}",
            plural(event.arguments, "argument"),
            plural(event.files, "file") + (f" ({size(event.file_bytes)})" if event.files else ""),
        ]
        if event.environment:
            parts.append(plural(event.environment, "environment variable"))
        text = f"{', '.join(parts)} · sealed to the keep"
        facts = {
            "program": event.program,
            "program_size": event.program_size,
            "arguments": event.arguments,
            "environment": event.environment,
            "files": event.files,
            "file_bytes": event.file_bytes,
            "sealed_bytes": event.sealed_bytes,
        }
        self.console.show(Block("delivered", "delivered", (text,), facts, elapsed_ns=event.elapsed_ns))

    def _launched(self, event: events.Launched) -> None:
        text = f"the keep proved back program {short(event.program_digest)} = what you compiled"
        facts = {
            "program_digest": event.program_digest,
            "target": event.target,
            "measurement": event.measurement,
            "memory_limit": event.memory_limit,
            "session": event.session_id,
        }
        self.console.show(Block("launched", "launched", (text,), facts, elapsed_ns=event.elapsed_ns))

    def _trapped(self, event: events.Trapped) -> None:
        first = event.name + (f": {event.detail}" if event.detail else "")
        frames = tuple(f"at {frame}" for frame in event.backtrace)
        facts = {"trap": event.name, "detail": event.detail, "backtrace": list(event.backtrace)}
        self.console.show(Block("trap", "trap", (first, *frames), facts, loud=True))

    def _finished(self, event: events.Finished) -> None:
        self.finished = event

    def _protection_lost(self, event: events.ProtectionLost) -> None:
        if event.what != "simulated":  # that is the banner, which came first
            self.console.show(warning(event.what, *event.lines))


def _evidence_block(event: events.EvidenceVerified) -> Block:
    result = event.result
    whose = "the keep image you have" if event.image_size else "a launch digest you accept"
    image = f" ({result.reference}, {size(event.image_size)})" if event.image_size else ""
    reference = f" = {whose}{image}" if result.reference is not None else " (the policy accepts any)"
    root = f"root {short(result.root_spki)} ({result.root_name})"
    owner = " and OCA → PEK" if result.sev is not None else ""
    lines = (
        f"{' → '.join(result.chain)}{owner}, {root}, {result.revocation}",
        f"launch digest {short(result.launch_digest)}{reference}",
        *_launch_lines(result),
        f"policy {result.policy_name}: {', '.join(result.policy_checks)}",
        f"bound to your key and to a nonce of {event.nonce_size} bytes"
        if result.bound
        else "not bound to any session",
    )
    facts = {
        "chain": list(result.chain),
        "root": digest(result.root_spki),
        "root_name": result.root_name,
        "simulated": result.simulated,
        "revocation": result.revocation,
        "launch_digest": result.launch_digest,
        "reference": result.reference,
        "policy": result.policy_name,
        "policy_id": result.policy_id,
        "policy_checks": list(result.policy_checks),
        "chip": result.chip,
        "tcb": result.tcb,
        "bound": result.bound,
        "nonce_size": event.nonce_size,
        **_launch_facts(result),
    }
    return Block("evidence", "evidence", lines, facts, elapsed_ns=event.elapsed_ns)


def _launch_lines(result: AttestationResult) -> tuple[str, ...]:
    """What a pre-attested launch has to say beyond its digest."""
    if result.sev is None:
        return ()
    policy = result.sev.launch.policy.encode()
    entry = {
        "sev-es": "entry point and initial registers of the vCPU are measured",
        "sev": "a plain SEV image makes no claim about its entry point",
    }[result.sev.kind]
    measured = f"launch measurement under your own key, SEV firmware {result.sev.firmware}"
    return (f"{measured}, guest policy {policy:#x}; it convinces nobody else", entry)


def _launch_facts(result: AttestationResult) -> dict[str, object]:
    if result.sev is None:
        return {}
    return {
        "sev_firmware": result.sev.firmware,
        "guest_policy": result.sev.launch.policy.encode(),
        "measurement": result.sev.launch.measurement.encode(),
        "entry_point": "measured" if result.sev.kind == "sev-es" else "no claim",
        "verifiable_by": "tenant",
    }


def closing(finished: events.Finished, receipt: str, verify: str) -> Block:
    """The last lines: whose exit code it is, where the receipt is, and the command that verifies it."""
    trapped = finished.trap is not None
    label = "trapped" if trapped else f"exit {finished.exit_code}"
    lines: tuple[str, ...] = (f"receipt {receipt}, verified", f"verify it again: {verify}")
    if finished.stored_session:
        lines += (f"keep {receipt}.session: without it nobody can verify this receipt, you included",)
    facts = {
        "exit_code": finished.exit_code,
        "trap": finished.trap,
        "whose": "program",
        "receipt": receipt,
        "verify": verify,
        "stdout_size": finished.stdout_size,
        "stderr_size": finished.stderr_size,
        "peak_memory": finished.peak_memory,
        "program_ns": finished.program_ns,
    }
    return Block("finished", label, lines, facts, elapsed_ns=finished.elapsed_ns, elapsed_words=" in all")
