"""Evidence under a cloud's key (VLEK) through the command line, with what a simulated machine publishes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_evidence_kinds import Run, run
from tests.evidence.simulated_rows import SimulatedRow, row, write
from tests.evidence.test_endorsement import GOOGLES_ENTRY, VLEK, laid_out
from wasmkeep.evidence.pem import encode_certificate

__all__ = ["run"]  # a fixture


def published(folder: Path, made: SimulatedRow, *, key: bool) -> Path:
    """A folder as a machine's ``kds/``: the chain and list of either kind, and certificates of SEV."""
    write(folder, only=(made.name,))
    for kind in ("vcek", "vlek"):
        place = folder / kind / "v1" / made.product
        place.mkdir(parents=True)
        (place / "crl").write_bytes(made.crl)
    chain = folder / "vlek" / "v1" / made.product / "cert_chain"
    chain.write_text("".join(encode_certificate(der) for der in made.chain))
    if key:
        (chain.parent / "key.der").write_bytes(made.certificate)
    else:
        (folder / "snp" / made.name / "vlek.der").unlink()
    return folder


def judged(made: SimulatedRow) -> tuple[str, ...]:
    return ("--policy", "plain", "--simulated", made.pin, "--at", str(made.expected["verify_at"]))


@pytest.mark.parametrize("name", ["turin-v5-vlek", "genoa-v3-vlek-vmpl-1", "milan-v2-vlek"])
def test_a_machines_folder_completes_a_report(run: Run, tmp_path: Path, name: str) -> None:
    made = row(name)
    report = tmp_path / "a.report"
    report.write_bytes(made.report)
    said = run("verify", report, "--endorsements", published(tmp_path / "kds", made, key=True), *judged(made))
    assert said.code == 0, said.err
    assert "VLEK → ASVK → ARK" in said.out


def test_a_hosts_table_with_entries_of_its_own(run: Run, tmp_path: Path) -> None:
    """The key's certificate comes with the report, as AMD gives it to the cloud alone; the rest elsewhere."""
    made = row("genoa-v5-vlek")
    own = laid_out((GOOGLES_ENTRY, b"an endorsement of firmware"), (VLEK, made.certificate))
    kds = published(tmp_path / "kds", made, key=False)
    said = run("verify", "-", "--endorsements", kds, *judged(made), stdin=made.report + own)
    assert said.code == 0, said.err
    bare = run("verify", "-", "--endorsements", kds, *judged(made), stdin=made.report)
    assert bare.code == 77
    assert "check: snp.chain.missing" in bare.err


def test_certificates_of_sev_beside_the_others_are_not_judged(run: Run, tmp_path: Path) -> None:
    from tests.machines import machine

    cloud = machine("--vlek", "CN=cc.cloud.example", "--mask-chip-id", name="tests-cloud")
    made = row("genoa-v5-vlek")
    kds = published(tmp_path / "kds", made, key=True)
    for path in (cloud.kds / "sev").iterdir():
        (kds / path.name).write_bytes(path.read_bytes())
    report = tmp_path / "a.report"
    report.write_bytes(made.report)
    said = run("verify", report, "--endorsements", kds, *judged(made))
    assert said.code == 0, said.err
