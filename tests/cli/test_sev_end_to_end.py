"""SEV and SEV-ES as a user types them: what is said, what is stored, where it goes, and what is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import EXAMPLES, MACHINE, User, require_images

ADD = EXAMPLES / "add.wat"
TEES = ("sev-es", "sev")
NAMES = {"sev-es": "AMD SEV-ES", "sev": "AMD SEV"}
Words = list[str | Path]
ENTRY = {
    "sev-es": "entry point and initial registers of the vCPU are measured",
    "sev": "a plain SEV image makes no claim about its entry point",
}


def add(user: User, cpu: str, *flags: str | Path) -> subprocess.CompletedProcess[bytes]:
    words = ["run", "--simulated", "--machine", MACHINE, "--cpu", cpu, *flags, ADD, "--", "3", "4"]
    return user.run(*words)


@pytest.mark.parametrize("tee", TEES)
def test_three_and_four_is_seven(user: User, cpu: str, tee: str) -> None:
    done = add(user, cpu, "--tee", tee)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (0, b"7\n"), said
    for fact in (
        f"{NAMES[tee]} · Genoa · simulated",
        "PDH → PEK → CEK → ASK → ARK and OCA → PEK, root ",
        "= the keep image you have (wasmkeep 0.1.0",
        "SEV firmware 1.55.40",
        f"guest policy {0x1800_000F if tee == 'sev-es' else 0x1800_000B:#x}",
        "no debug, no key sharing, no migration",
        ENTRY[tee],
        "bound to your key and to a nonce of 32 bytes",
        "no memory integrity",
        "keep add.receipt.session: without it nobody can verify this receipt",
    ):
        assert fact in said, fact
    assert ("sees the keep's registers at every exit" in said) == (tee == "sev")
    assert said.count("WARNING") == (5 if tee == "sev" else 3)
    for name in ("add.receipt", "add.receipt.salts", "add.receipt.session"):
        assert (user.home / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("tee", TEES)
def test_warnings_are_never_silenced_and_machines_get_the_same_facts(user: User, cpu: str, tee: str) -> None:
    quiet = add(user, cpu, "--tee", tee, "--quiet").stderr.decode()
    assert quiet.count("WARNING") == (5 if tee == "sev" else 3)
    said = [json.loads(line) for line in add(user, cpu, "--tee", tee, "--json").stderr.splitlines()]
    evidence = next(event for event in said if event["event"] == "evidence")
    assert evidence["verifiable_by"] == "tenant"
    assert evidence["entry_point"] == ("measured" if tee == "sev-es" else "no claim")
    assert evidence["sev_firmware"] == "1.55.40"
    assert len(evidence["measurement"]) == 96
    lost = {event["what"] for event in said if event["event"] == "protection-lost"}
    assert "no-memory-integrity" in lost
    assert ("registers-visible" in lost) == (tee == "sev")


def test_the_session_beside_the_receipt_decides_who_can_verify_it(user: User, cpu: str) -> None:
    done = add(user, cpu, "--tee", "sev-es", "--json", "--receipt", "r")
    verify = json.loads(done.stderr.decode().splitlines()[-1])["verify"].split()[1:]
    assert verify[:2] == ["receipt", "verify"]
    mine = user.run(*verify, "--program", ADD)
    assert mine.returncode == 0, mine.stderr.decode()
    assert mine.stdout.startswith(b"valid: r")
    assert b"verifiable-by   tenant: it cannot be shown to others" in mine.stdout
    assert b"SEV has no revocation list" in mine.stdout
    claims = json.loads(user.run(*verify, "--json").stdout)
    assert (claims["verified"], claims["verifiable_by"]) == (True, "tenant")

    # Somebody else has the receipt alone.
    session = (user.home / "r.session").rename(user.home / "kept")
    others = user.run(*verify)
    assert others.returncode == 80
    assert others.stdout == b""
    assert b"cannot be shown to others" in others.stderr
    assert b"valid:" not in others.stderr
    assert json.loads(user.run(*verify, "--json").stderr.splitlines()[-1])["check"] == "receipt.tenant-only"

    # The tenant keeps it elsewhere, or readable for everybody.
    assert user.run(*verify, "--session", "kept").returncode == 0
    session.chmod(0o644)
    assert b"others may read kept" in user.run(*verify, "--session", "kept").stderr
    assert user.run(*verify, "--session", "absent").returncode == 66
    (user.home / "damaged").write_text("{}")
    assert user.run(*verify, "--session", "damaged").returncode == 76

    shown = json.loads(user.run("receipt", "show", "r", "--json").stdout)
    assert shown["verifiable_by"] == "tenant"
    assert {lost["what"] for lost in shown["protection_lost"]} >= {"no-memory-integrity"}
    assert b"not protected" in user.run("receipt", "show", "r").stdout

    # Naming the platform is the verifier's own decision, too.
    unnamed = [word for word in verify if word not in ("--tee", "sev-es")]
    refused = user.run(*unnamed, "--session", "kept")
    assert refused.returncode == 77
    assert b"platform.denied" in refused.stderr
    assert user.run(*verify, "--crl", "kept").returncode == 64


def test_a_later_receipt_of_snp_leaves_no_old_session_beside_it(user: User, cpu: str) -> None:
    add(user, cpu, "--tee", "sev", "--receipt", "r")
    assert (user.home / "r.session").exists()
    assert add(user, cpu, "--receipt", "r").returncode == 0
    assert not (user.home / "r.session").exists()


@pytest.mark.parametrize("platform", ["snp", *TEES])
def test_one_line_of_a_policy_chooses_the_platform(user: User, cpu: str, platform: str) -> None:
    (user.home / "policy.toml").write_text(f'platforms = ["{platform}"]\n')
    done = add(user, cpu, "--policy", "policy.toml", "--json")
    assert (done.returncode, done.stdout) == (0, b"7\n")
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["tee"] for event in said if event["event"] == "platform"] == [platform]


def test_a_flag_chooses_among_what_a_policy_names_and_adds_nothing(user: User, cpu: str) -> None:
    (user.home / "policy.toml").write_text('platforms = ["snp", "sev-es"]\n')
    assert add(user, cpu, "--policy", "policy.toml", "--tee", "sev-es").returncode == 0
    refused = add(user, cpu, "--policy", "policy.toml", "--tee", "sev")
    assert refused.returncode == 67
    assert b"does not name the platform sev" in refused.stderr


@contextmanager
def hosts(user: User, *kinds: str) -> Iterator[list[dict[str, object]]]:
    """One daemon for each ``--simulated`` value; what each said, merged."""
    require_images()
    processes, said = [], []
    try:
        for kind in kinds:
            words = ["host", "serve", "--simulated", kind, "--machine", MACHINE, "--listen", "127.0.0.1:0"]
            processes.append(user.popen(*words, "--json"))
        for process in processes:
            facts: dict[str, object] = {}
            assert process.stderr is not None
            while facts.get("event") != "listening":
                line = process.stderr.readline()
                assert line, facts
                facts |= json.loads(line)
            said.append(facts)
        yield said
    finally:
        for process in processes:
            process.terminate()
            process.communicate(timeout=60)


def test_to_the_next_platform_and_the_next_host(user: User) -> None:
    (user.home / "policy.toml").write_text('platforms = ["snp", "sev-es"]\n')
    with hosts(user, "sev", "sev-es") as (one, other):
        words: Words = ["deploy", ADD, "--policy", "policy.toml", "--simulated", str(other["root"])]
        there = ["--host", "http://127.0.0.1:9", "--host", str(one["url"]), "--host", str(other["url"])]
        done = user.run(*words, *there, "--", "3", "4")
        said = done.stderr.decode()
        assert (done.returncode, done.stdout) == (0, b"7\n"), said
        passed = [line for line in said.splitlines() if line.startswith("  passed over")]
        assert len(passed) == 4
        assert "http://127.0.0.1:9" in passed[0]
        assert f"AMD SEV-SNP at {one['url']}: the host does not have it" in passed[1]
        assert f"AMD SEV-ES at {one['url']}" in passed[2]
        assert f"AMD SEV-SNP at {other['url']}" in passed[3]

        machines = user.run(*words, *there, "--json", "--", "3", "4").stderr.splitlines()
        moved = [json.loads(line) for line in machines]
        assert [event["event"] for event in moved if "passed-over" in event["event"]] == [
            "host-passed-over",
            "passed-over",
            "passed-over",
            "passed-over",
        ]

        nowhere = user.run(
            "deploy", ADD, "--tee", "snp", "--simulated", str(other["root"]), *there, "--", "1"
        )
        assert nowhere.returncode == 69
        assert user.run(*words, *there[:2], "--", "1").returncode == 68

        listed = json.loads(user.run("platform", "--host", str(one["url"]), "--json").stdout)["tees"]
        assert [(tee["kind"], tee["slots_used"]) for tee in listed] == [("sev", 0)]
        assert "AMD SEV · Genoa" in user.run("platform", "--host", str(one["url"])).stdout.decode()


def test_tokens_for_several_hosts(user: User) -> None:
    with hosts(user, "sev", "sev-es") as (one, other):
        for number, host in enumerate((one, other)):
            (user.home / f"token{number}").write_text(str(host["token"]))
            (user.home / f"token{number}").chmod(0o600)
        words: Words = ["deploy", ADD, "--tee", "sev-es", "--simulated", str(other["root"]), "--quiet"]
        there = ["--host", str(one["url"]), "--host", str(other["url"])]
        each = ["--token-file", "token0", "--token-file", "token1"]
        assert user.run(*words, *there, *each, "--", "1").returncode == 0
        assert user.run(*words, *there, *each[2:], *each[:2], "--", "1").returncode == 71
        assert user.run(*words, *there, *each, "--token-file", "token1", "--", "1").returncode == 64
        shared = user.run(*words, *there, *each[:2], "--", "1")
        assert (shared.returncode, b"one token does not fit several hosts" in shared.stderr) == (64, True)


@pytest.mark.parametrize("product", ["naples", "rome"])
def test_generations_without_snp_are_denied_until_a_policy_names_them(user: User, product: str) -> None:
    with hosts(user, f"sev-es,sev={product}") as (host,):
        words: Words = ["deploy", ADD, "--host", str(host["url"]), "--simulated", str(host["root"])]
        refused = user.run(*words, "--tee", "sev-es", "--", "3", "4")
        assert (refused.returncode, refused.stdout) == (77, b"")
        assert b"sev.generation" in refused.stderr
        text = f'platforms = ["sev-es"]\n[sev]\ngenerations = ["{product.capitalize()}"]\n'
        (user.home / "policy.toml").write_text(text)
        accepted = user.run(*words, "--policy", "policy.toml", "--", "3", "4")
        said = accepted.stderr.decode()
        assert (accepted.returncode, accepted.stdout) == (0, b"7\n"), said
        assert f"AMD SEV-ES · {product.capitalize()} · simulated" in said
        assert "extractable" in said


@pytest.mark.parametrize(
    "value", ["tdx", "sev=bulldozer", "snp=rome", "snp,sev=naples", "sev,sev", "", "snp,", "sev-es="]
)
def test_there_is_no_such_machine(user: User, value: str) -> None:
    done = user.run("host", "serve", "--simulated", value)
    assert done.returncode == 64
    assert b"there is no such machine" in done.stderr
