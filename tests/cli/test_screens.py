"""The screen of a deployment: the facts of each event, on paper and for machines."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import cast

import pytest

from wasmkeep.cli.console import Console
from wasmkeep.cli.screens import DeploymentScreen, closing
from wasmkeep.evidence.policy import Policy, SnpPolicy
from wasmkeep.evidence.result import AttestationResult, LostProtection
from wasmkeep.evidence.sev.facts import SevFacts
from wasmkeep.evidence.snp.bits import GuestPolicyBit
from wasmkeep.tenant import events


class Result:
    """The part of an attestation result that screens read."""

    tee = "snp"
    product = "genoa"
    simulated = False
    root_spki = bytes(range(32))
    root_name = "AMD ARK Genoa"
    chain = ("VCEK", "ASK", "ARK")
    revocation = "CRL fresh"
    launch_digest = bytes([0x9B]) * 48
    reference: str | None = "wasmkeep 0.1.0"
    policy_name = "default"
    policy_id = "sha256:00"
    policy_checks = ("no debug", "any chip of this generation")
    chip = "any chip of this generation"
    tcb = "9.0.23.72"
    bound = True
    policy = Policy.default()
    lost_protections: tuple[LostProtection, ...] = ()
    sev: SevFacts | None = None


def verified(**changes: object) -> events.EvidenceVerified:
    result = Result()
    for name, value in changes.items():
        setattr(result, name, value)
    return events.EvidenceVerified(cast(AttestationResult, result), 111_000, 32, 2_000_000)


STARTED = events.KeepStarted("http://h", "snp", "genoa", "snp", 64 << 20, 1_000_000)
DELIVERED = events.Delivered("examples/add.wat", 214, 2, 0, 0, 0, 4096, 1_000_000)
LAUNCHED = events.Launched(b"\x3f" * 32, "wasmtime 50.0.1", b"\x9b" * 48, 64 << 20, b"\x01" * 32, 500_000)
FINISHED = events.Finished(0, None, b"receipt", b"salts", 2, 0, 65536, 100_000, 6_000_000)


def screen(*seen: events.Event, json: bool = False, quiet: bool = False, banner_shown: bool = False) -> str:
    stream = io.StringIO()
    shown = DeploymentScreen(Console(stream, json=json, quiet=quiet), banner_shown=banner_shown)
    for event in seen:
        shown(event)
    shown.close()
    return stream.getvalue()


def test_the_screen_of_a_deployment() -> None:
    text = screen(STARTED, verified(), DELIVERED, LAUNCHED)
    assert [" ".join(line.split()) for line in text.splitlines()] == [
        "platform AMD SEV-SNP · Genoa 1.0 ms",
        "evidence VCEK → ASK → ARK, root 000102…1e1f (AMD ARK Genoa), CRL fresh",
        "launch digest 9b9b9b…9b9b = the keep image you have (wasmkeep 0.1.0, 111 KB)",
        "policy default: no debug, any chip of this generation",
        "bound to your key and to a nonce of 32 bytes 2.0 ms",
        "delivered examples/add.wat 214 B, 2 arguments, 0 files · sealed to the keep 1.0 ms",
        "launched the keep proved back program 3f3f3f…3f3f = what you compiled 0.5 ms",
    ]


def test_simulated_is_said_because_of_the_verdict_and_only_once() -> None:
    text = screen(verified(simulated=True), verified(simulated=True))
    assert text.index("SIMULATED") < text.index("platform")
    assert text.count("SIMULATED") == 1
    assert "Genoa · simulated" in text
    assert "SIMULATED" not in screen(verified(simulated=True), banner_shown=True)
    assert "imulated" not in screen(STARTED, verified(), DELIVERED, LAUNCHED)


def test_quiet_leaves_the_banner_and_lost_protections() -> None:
    lost = [
        events.ProtectionLost("simulated", ("x",)),
        events.ProtectionLost("any", ("any image is accepted",)),
    ]
    text = screen(STARTED, verified(simulated=True), *lost, DELIVERED, LAUNCHED, quiet=True)
    assert [line.split()[0] for line in text.splitlines() if line[2] != " "] == ["SIMULATED", "WARNING"]
    assert "any image is accepted" in text


def test_what_the_policy_lifts_is_said_once_also_where_the_evidence_did_not_need_it() -> None:
    lax = SnpPolicy(guest_allow=GuestPolicyBit.DEBUG | GuestPolicyBit.CXL_ALLOW, minimum_abi=(1, 50))
    lost = LostProtection("minimum-abi-lowered", "as the result says it")
    event = verified(policy=Policy(name="lax.toml", snp=lax), lost_protections=(lost,))
    seen = (event, events.ProtectionLost(lost.what, (lost.text,)))
    for quiet in (False, True):
        text = screen(*seen, quiet=quiet)
        assert text.count("WARNING") == 3
        assert "the policy lax.toml accepts keeps whose memory the host may read" in text
        assert text.count("as the result says it") == 1
    said = [json.loads(line) for line in screen(*seen, json=True).splitlines()]
    used = {line["what"]: line["used"] for line in said if line["event"] == "protection-lost"}
    assert used == {"debug-allowed": False, "cxl-allowed": False, "minimum-abi-lowered": True}


def test_a_digest_of_the_policy_is_not_called_your_image() -> None:
    event = replace(verified(reference="9b"), image_size=0)
    assert "= a launch digest you accept\n" in screen(event)
    assert "(the policy accepts any)" in screen(verified(reference=None))


def test_an_unbound_result_is_never_called_bound() -> None:
    assert "not bound to any session" in screen(verified(bound=False))


def test_a_trap_has_its_name_and_backtrace_even_under_quiet() -> None:
    trap = events.Trapped("out of bounds memory access", "at 0x10000", ("main", "start"))
    for quiet in (False, True):
        assert [line.strip() for line in screen(trap, quiet=quiet).splitlines()] == [
            "trap        out of bounds memory access: at 0x10000",
            "at main",
            "at start",
        ]


def test_a_cached_program_is_not_worth_a_line() -> None:
    cached = events.CompileFinished("a.wasm", 10, "t", 20, b"\x01" * 32, cached=True, elapsed_ns=5)
    assert screen(cached) == ""
    assert "a.wasm 10 B → 20 B for t" in screen(replace(cached, cached=False))
    assert json.loads(screen(cached, json=True))["cached"] is True


def test_the_last_lines_say_whose_exit_it_was_and_how_to_verify_it() -> None:
    block = closing(FINISHED, "add.receipt", "wasmkeep receipt verify add.receipt")
    assert block.label == "exit 0"
    assert block.lines == (
        "receipt add.receipt, verified",
        "verify it again: wasmkeep receipt verify add.receipt",
    )
    assert block.facts["whose"] == "program"
    trapped = replace(FINISHED, exit_code=None, trap="unreachable")
    assert closing(trapped, "x", "y").label == "trapped"


EVENTS: tuple[events.Event, ...] = (
    STARTED,
    events.SettingOverridden("limits.memory", "1", "2"),
    events.KindPassedOver("snp", "the host does not have it"),
    events.HostPassedOver("https://host.example", "the host cannot be reached"),
    events.CompileFinished("a.wasm", 10, "t", 20, b"\x01" * 32, cached=False, elapsed_ns=5),
    verified(),
    DELIVERED,
    LAUNCHED,
    events.Trapped("unreachable", "", ()),
    events.ProtectionLost("x", ("y",)),
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_is_one_json_object_a_line(event: events.Event) -> None:
    for line in screen(event, json=True).splitlines():
        assert isinstance(json.loads(line)["event"], str)


def test_evidence_for_machines_has_the_facts_of_the_screen() -> None:
    said = json.loads(screen(verified(), json=True).splitlines()[-1])
    assert said["event"] == "evidence"
    assert said["root"] == "sha256:" + bytes(range(32)).hex()
    assert said["launch_digest"] == "9b" * 48
    assert said["bound"] is True
    assert said["simulated"] is False
