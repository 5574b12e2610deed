"""Evidence offline: genuine reports with genuine certificates, judged and explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import User, require_images

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "snp"
GENOA = VECTORS / "genoa-v3-vcek"
ROOTS = VECTORS / "ca-roots"
MEASUREMENT = (
    "5feee30d6d7e1a29f403d70a4198237ddfb13051a2d6976439487c609388ed7f98189887920ab2fa0096903a0c23fca1"
)


@pytest.fixture(autouse=True)
def vectors() -> None:
    require_images()
    if not VECTORS.is_dir():
        pytest.skip("the evidence vectors are not here")


def policy(user: User, text: str) -> str:
    (user.home / "policy.toml").write_text(text)
    return "policy.toml"


LAX = f'runtime = ["{MEASUREMENT}"]\n[revocation]\nrequired = false\n'


def test_a_genuine_report_is_explained_field_by_field(user: User) -> None:
    done = user.run("evidence", "show", GENOA / "report.bin")
    said = done.stdout.decode()
    assert done.returncode == 0
    assert said.startswith("AMD SEV-SNP attestation report, version 3, Genoa")
    assert "nothing here was verified" in said.splitlines()[0]
    assert f"measurement           {MEASUREMENT}  launch digest" in said
    assert "debug NOT allowed · migration NOT allowed" in said
    fields = json.loads(user.run("evidence", "show", "--json", GENOA / "report.bin").stdout)
    assert fields["verified"] is False
    assert {"group": "guest", "name": "VMPL", "value": "0", "meaning": ""} in fields["fields"]


def test_a_genuine_report_is_accepted_by_a_policy_that_names_its_digest(user: User) -> None:
    words = ["--endorsements", str(ROOTS), "--policy", policy(user, LAX), "--at", "2026-06-01"]
    done = user.run("evidence", "verify", *sorted(GENOA.iterdir()), *words)
    said = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert said.startswith("accepted: ")
    assert "not bound to any session" in said
    assert "AMD ARK Genoa" in said
    assert "2026-06-01T00:00:00+00:00" in said
    assert "WARNING" in done.stderr.decode()  # no revocation list
    claims = json.loads(user.run("evidence", "verify", *sorted(GENOA.iterdir()), *words, "--json").stdout)
    assert claims["submods"]["snp"]["ear_status"] == "warning"


def test_the_default_policy_says_every_check_that_failed(user: User) -> None:
    done = user.run("evidence", "verify", *sorted(GENOA.iterdir()), "--endorsements", ROOTS)
    said = done.stderr.decode().splitlines()
    assert done.returncode == 77
    assert said[0].startswith("refused: ")
    assert {line.split()[0] for line in said[1:]} == {"snp.crl.missing", "snp.measurement"}


def test_binding_to_other_report_data_is_refused(user: User) -> None:
    words = ["--endorsements", str(ROOTS), "--policy", policy(user, LAX), "--at", "2026-06-01"]
    done = user.run("evidence", "verify", *sorted(GENOA.iterdir()), *words, "--report-data", "ab" * 64)
    assert done.returncode == 77
    assert b"report" in done.stderr


def test_a_missing_certificate_is_a_refusal(user: User) -> None:
    done = user.run("evidence", "verify", GENOA / "report.bin")
    assert done.returncode == 77
    assert b"the VCEK that signed it is not among the files" in done.stderr


def test_an_altered_report_is_refused(user: User) -> None:
    report = bytearray((GENOA / "report.bin").read_bytes())
    report[0x90] ^= 1
    (user.home / "report.bin").write_bytes(report)
    others = [GENOA / "vcek.pem", GENOA / "ask.pem"]
    done = user.run("evidence", "verify", "report.bin", *others, "--endorsements", ROOTS)
    assert done.returncode == 77
    assert b"signature" in done.stderr


def test_policy_check_says_what_a_policy_accepts_and_lifts(user: User) -> None:
    done = user.run("policy", "check", policy(user, LAX))
    assert done.returncode == 0
    assert MEASUREMENT in done.stdout.decode()
    assert "does not ask for a revocation list" in done.stderr.decode()
    said = json.loads(user.run("policy", "check", "--json", "policy.toml").stdout)
    assert said["simulated"] is None
    assert user.run("policy", "check", policy(user, "platform = 1")).returncode == 67
