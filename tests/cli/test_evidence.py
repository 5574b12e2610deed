"""Evidence offline: genuine reports with genuine certificates, judged and explained."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.x509 import load_der_x509_crl

from tests.cli.conftest import User, require_images
from wasmkeep.evidence.pem import decode_certificates

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


@pytest.fixture
def distribution_service() -> Iterator[str]:
    """A service shaped like AMD's, with genuine documents of Genoa."""
    blocks = re.findall(
        r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n",
        (ROOTS / "genoa-ask-ark-asvk.pem").read_text(),
        re.DOTALL,
    )
    (vcek,) = decode_certificates((GENOA / "vcek.pem").read_text())
    chip = (GENOA / "report.bin").read_bytes()[0x1A0:0x1E0].hex()
    documents = {
        "/vcek/v1/Genoa/cert_chain": "".join(blocks[:2]).encode(),
        "/vcek/v1/Genoa/crl": (VECTORS / "genoa-revoked-ask" / "ark-genoa.crl.der").read_bytes(),
        f"/vcek/v1/Genoa/{chip}": vcek,
    }

    class Service(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = documents.get(self.path.partition("?")[0])
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_endorsements_are_fetched_and_then_judge_offline(user: User, distribution_service: str) -> None:
    report = GENOA / "report.bin"
    done = user.run("endorsements", "fetch", report, "--to", "endorsements", "--from", distribution_service)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr.decode().count("not checked") == 3
    lax = policy(user, f'runtime = ["{MEASUREMENT}"]\n[revocation]\nmax_age_days = 3660\n')
    words = ["--endorsements", "endorsements", "--policy", lax, "--at"]
    crl = load_der_x509_crl((VECTORS / "genoa-revoked-ask" / "ark-genoa.crl.der").read_bytes())
    in_date = user.run("evidence", "verify", report, *words, "2026-06-01")
    assert crl.next_update_utc is not None
    if crl.last_update_utc.isoformat() < "2026-06-01" < crl.next_update_utc.isoformat():
        assert in_date.returncode == 0, in_date.stderr.decode()
    else:
        assert in_date.returncode == 77
        assert "snp.crl" in in_date.stderr.decode()


def test_fetching_what_the_service_lacks_is_said(user: User, distribution_service: str) -> None:
    words = ["endorsements", "fetch", "--to", "e", "--from", distribution_service]
    assert user.run(*words, "--product", "turin").returncode == 71
    assert user.run(*words).returncode == 64
    assert user.run(*words[:-1], "http://192.0.2.1").returncode in (64, 67)
