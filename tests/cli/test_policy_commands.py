"""``wasmkeep policy check`` and ``policy init``, and the warning of defaults that are old."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import User
from tests.evidence.vectors import FOLDER, needs_vectors
from wasmkeep.evidence import policy_age
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.policy_age import WARN_AFTER, aged_defaults
from wasmkeep.evidence.policy_toml import TABLES
from wasmkeep.evidence.snp.defaults import DATE

EVERYTHING = 'platforms = ["snp", "tdx", "sgx", "sev-es", "sev"]\n'
EVIDENCE = {
    # name → (paths under the vectors, a moment at which all of it is in date)
    "TDX 1.0": (("tdx/v4-uptodate",), "2025-07-04T10:16:31Z"),
    "TDX 1.5 of a status that is not UpToDate": (("tdx/v5-relaunch-advised",), "2026-03-31T22:20:07Z"),
    "SGX": (("sgx/v3-outofdate-processor-ca",), "2025-06-11T19:08:46Z"),
    "SNP, Genoa": (("snp/genoa-v3-vcek", "snp/ca-roots"), "2026-03-07T02:05:07Z"),
    "SNP, a denied generation and an old report": (
        ("snp/milan-v2-vcek", "snp/ca-roots"),
        "2023-05-03T19:23:43Z",
    ),
    "SNP with its revocation list": (("snp/milan-v2-abi-1.51-crl", "snp/ca-roots"), "2022-10-29T12:48:56Z"),
}


def policy(user: User, text: str) -> str:
    (user.home / "policy.toml").write_text(text)
    return "policy.toml"


def test_check_explains_every_rule_of_the_platforms_named(user: User) -> None:
    done = user.run("policy", "check", policy(user, EVERYTHING + "[snp]\nmaximum_vmpl = 1\n"))
    assert done.returncode == 0
    page = done.stdout.decode()
    explained = set(re.findall(r"\[([a-z0-9_.A-Z-]+)\]$", page, re.MULTILINE))
    keys = {table.dotted(key) for table in TABLES for key in table.keys}
    minima = {key for key in keys if key.startswith("snp.minimum_tcb.")}
    assert explained == keys - minima | {f"snp.minimum_tcb.{line}" for line in ("Genoa", "Bergamo", "Turin")}
    assert "  * the report may have been made at VMPL 0 to 1" in page
    assert "    no debug mode.  [tdx.debug]" in page


def test_check_says_nothing_of_platforms_that_are_not_named(user: User) -> None:
    said = json.loads(user.run("policy", "check", "--json", policy(user, 'platforms = ["tdx"]')).stdout)
    keys = {rule["key"].partition(".")[0] for rule in said["rules"]}
    assert "tdx" in keys
    assert keys.isdisjoint({"snp", "sgx", "sev", "revocation"})
    assert [rule["key"] for rule in said["rules"] if rule["changed"]] == ["platforms"]
    assert said["identifier"] == Policy.from_toml('platforms = ["tdx"]', name="").identifier


def test_check_of_the_plain_policy_says_what_it_gives_up(user: User) -> None:
    done = user.run("policy", "check", "plain")
    assert done.returncode == 0
    assert "WHATEVER WAS LAUNCHED IS ACCEPTED" in done.stdout.decode()
    warned = done.stderr.decode()
    for words in ("any keep image", "does not ask for a revocation list", "Milan", "lowers the minimum TCB"):
        assert words in warned
    assert "debug" not in warned


@needs_vectors
@pytest.mark.parametrize("what", EVIDENCE)
def test_a_policy_made_from_evidence_accepts_it(user: User, what: str) -> None:
    names, at = EVIDENCE[what]
    row, *more = (FOLDER / name for name in names)
    words = [row, *(word for folder in more for word in ("--endorsements", folder)), "--at", at]
    done = user.run("policy", "init", *words, "-o", "made.toml")
    assert done.returncode == 0, done.stderr.decode()
    done = user.run("evidence", "verify", *words, "--policy", "made.toml")
    assert done.returncode == 0, done.stderr.decode()
    assert b"accepted" in done.stdout
    assert user.run("policy", "check", "made.toml").returncode == 0
    other = FOLDER / "tdx" / "v5-uptodate"
    refused = user.run("evidence", "verify", other, "--at", "2026-02-25T00:45:50Z", "--policy", "made.toml")
    assert refused.returncode == 77


@needs_vectors
def test_init_prints_and_never_replaces(user: User) -> None:
    row, at = FOLDER / "tdx" / "v4-uptodate", "2025-07-04T10:16:31Z"
    printed = user.run("policy", "init", row, "--at", at)
    assert Policy.from_toml(printed.stdout.decode(), name="printed").platforms == ("tdx",)
    said = json.loads(user.run("policy", "init", row, "--at", at, "--json").stdout)
    assert said["policy"] == printed.stdout.decode()
    mine = user.home / policy(user, "# mine\n")
    done = user.run("policy", "init", row, "--at", at, "-o", "policy.toml")
    assert done.returncode not in (0, 77)
    assert mine.read_text() == "# mine\n"


@needs_vectors
def test_init_wants_genuine_evidence(user: User) -> None:
    for row, at, check in (
        ("tdx/v4-debug", "2026-03-31T22:25:04Z", "tdx.attributes.debug"),
        ("sgx/v3-debug", "2025-08-30T05:09:06Z", "sgx.attributes.debug"),
        ("tdx/v5-no-tcb-level", "2026-03-05T10:50:03Z", "dcap.tcb.level"),
        ("tdx/v4-uptodate", "2026-11-23", "dcap.collateral.expired"),
    ):
        done = user.run("policy", "init", FOLDER / row, "--at", at)
        assert done.returncode == 77
        assert check in done.stderr.decode()
        assert not done.stdout


@needs_vectors
def test_init_wants_evidence(user: User) -> None:
    for given in (FOLDER / "snp" / "ca-roots", FOLDER / "sev" / "milan-chain", "absent"):
        done = user.run("policy", "init", given)
        assert done.returncode == 66, given
        assert not done.stdout


def test_defaults_are_fresh_for_180_days() -> None:
    everything = plain().platforms
    assert not list(aged_defaults(everything, DATE))
    assert not list(aged_defaults(everything, DATE + WARN_AFTER))
    assert WARN_AFTER.days == 180
    late = DATE + WARN_AFTER + timedelta(days=1)
    assert [text.split()[4] for text in aged_defaults(everything, late)] == ["AMD", "Intel"]
    assert len(list(aged_defaults(("sgx",), late))) == 1
    assert "181 days" in next(aged_defaults(("snp",), late))


@pytest.fixture
def old_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this release were long ago."""
    monkeypatch.setattr(policy_age, "WARN_AFTER", timedelta(days=-100_000))


@pytest.mark.usefixtures("old_defaults")
def test_commands_warn_of_old_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from wasmkeep.cli.__main__ import main

    file = tmp_path / "policy.toml"
    file.write_text("")
    for words in (
        ["policy", "check", str(file), "--quiet"],
        ["evidence", "verify", str(tmp_path), "--policy", str(file)],
        ["policy", "init", str(tmp_path)],
        ["receipt", "verify", str(file), "--policy", str(file)],
        ["deploy", str(file), "--host", "http://127.0.0.1:1", "--policy", str(file)],
        ["run", str(file), "--simulated", "--policy", str(file)],
    ):
        main(words)
        assert "this release's defaults for AMD are of" in capsys.readouterr().err, words


def test_a_policy_of_platforms_without_keeps_deploys_nothing(user: User) -> None:
    (user.home / "nothing.wat").write_text('(module (func (export "_start")))')
    words = ["nothing.wat", "--policy", policy(user, 'platforms = ["tdx", "sgx"]')]
    done = user.run("run", "--simulated", *words)
    assert done.returncode == 67
    assert b"there is no keep for tdx or sgx in this release" in done.stderr


@needs_vectors
def test_the_age_of_evidence_is_that_of_its_challenge(user: User) -> None:
    row, at = FOLDER / "tdx" / "v4-uptodate", "2025-07-04T10:16:31Z"
    made = user.run("policy", "init", row, "--at", at).stdout.decode()
    aged = policy(user, made + "\n[evidence]\nmax_age_seconds = 60\n")
    fields = json.loads(user.run("evidence", "show", "--json", row / "quote.bin").stdout)["fields"]
    value = next(field["value"] for field in fields if field["name"] == "report data")
    words = ["evidence", "verify", row, "--at", at, "--policy", aged, "--report-data", value]
    for when, code in (("2025-07-04T10:16:00Z", 0), ("2025-07-04T10:15:00Z", 77)):
        done = user.run(*words, "--challenged-at", when)
        assert done.returncode == code, done.stderr.decode()
    done = user.run(*words)
    assert done.returncode == 77
    assert b"evidence.age" in done.stderr
