"""The runner itself: every shared row, every simulated one, and that whatever is wrong fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.evidence import simulated_rows
from tests.evidence.vectors import FOLDER, needs_vectors
from tests.vectors_conformance.index import UnusableIndex, VectorRow, load
from tests.vectors_conformance.runner import judge, run
from wasmkeep.evidence.plain import plain

Json = dict[str, Any]  # Any: JSON

_UNKNOWN_FACTS = {
    "sev/launch-digest#es-1vcpu": 1,
    "sev/launch-digest#sev-kernel-cmdline": 1,
}


def shared() -> list[VectorRow]:
    """The rows beside the repository; none where they are absent."""
    return load(FOLDER) if (FOLDER / "index.json").exists() else []


@needs_vectors
@pytest.mark.parametrize("row", shared(), ids=lambda row: row.name)
def test_every_row_is_as_expected(row: VectorRow) -> None:
    """All facts compared, but for those that need a firmware image or a platform that is not supported."""
    outcome = judge(row, plain())
    assert outcome.problems == []
    if row.technology in ("nitro", "cca"):
        assert outcome.compared
    else:
        assert len(outcome.notes) == _UNKNOWN_FACTS.get(row.name, 0), outcome.notes


@needs_vectors
def test_the_command_ends_with_the_count() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.vectors_conformance", str(FOLDER)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    count = len(shared())
    assert result.stdout.splitlines()[-1] == f"{count} of {count} as expected"
    assert result.returncode == 0


def test_simulated_rows_are_as_expected(tmp_path: Path) -> None:
    """Turin reports and VLEKs, which the shared vectors lack, in the same form and under the same policy."""
    pin = simulated_rows.write(tmp_path)
    lines: list[str] = []
    assert run(tmp_path, lines.append, policy=replace(plain(), simulated=pin)), lines
    assert lines == [f"{len(simulated_rows.NAMES)} of {len(simulated_rows.NAMES)} as expected"]


def copied(tmp_path: Path, name: str) -> tuple[Path, Json]:
    """A folder with one shared row in it; the index's entry may be altered before it is written."""
    for entry in json.loads((FOLDER / "index.json").read_text()):
        if entry["row"] == name:
            for file in entry["files"]:
                (tmp_path / file["file"]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(FOLDER / file["file"], tmp_path / file["file"])
            return tmp_path, dict(entry)
    raise LookupError(name)


def outcome_of(folder: Path, entry: Json) -> tuple[bool, list[str]]:
    (folder / "index.json").write_text(json.dumps([entry]))
    lines: list[str] = []
    return run(folder, lines.append, beside=(FOLDER,)), lines


def with_fact(name: str, value: object) -> Callable[[Json], None]:
    def alter(entry: Json) -> None:
        assert entry["expected"][name] != value
        entry["expected"][name] = value

    return alter


_SNP, _TDX, _DEBUG = "snp/milan-v3-vcek", "tdx/v4-uptodate", "snp/milan-v2-debug"
ALTERATIONS = {
    "a measurement": (_SNP, with_fact("measurement", "00" * 48)),
    "a TCB": (_SNP, with_fact("reported_tcb", {"bl": 4, "tee": 0, "snp": 24, "ucode": 218})),
    "a flag": (_SNP, with_fact("policy_smt", False)),
    "a date": (_SNP, with_fact("vek_validity", ["2026-02-05 01:04:33+00:00", "2033-02-05 01:04:34+00:00"])),
    "a signature": (_SNP, with_fact("report_signature_valid", False)),
    "a verdict": (_SNP, with_fact("policy_verdict", "reject: debug allowed")),
    "an acceptance": (_DEBUG, with_fact("policy_verdict", "accept")),
    "a reason": (_DEBUG, with_fact("policy_verdict", "reject: intermediate revoked")),
    "a moment": (_SNP, with_fact("verify_at", "2036-03-07T01:04:33Z")),
    "a TCB level": (_TDX, with_fact("platform_tcb_level", "OutOfDate")),
    "a status": (_TDX, with_fact("status", "OutOfDate")),
    "an allowance": (_TDX, with_fact("policy_verdict", "accept only if policy allows OutOfDate")),
    "a later verdict": (_TDX, with_fact("verdict_at_2026-11-23", "accept")),
    "a list": (
        "snp/genoa-revoked-ask",
        with_fact("policy_verdict", "accept (as a certificate chain)"),
    ),
    "a chain": ("sev/milan-chain", with_fact("cek_signs_pek", False)),
    "a digest": ("sev/launch-digest#sev-no-kernel", with_fact("launch_digest", "11" * 32)),
    "an SNP digest": ("snp/launch-digest#snp-gce", with_fact("launch_digest", "11" * 48)),
    "a session": ("sev/session#all-zero-keys", with_fact("policy_mac", "11" * 32)),
}


@needs_vectors
@pytest.mark.parametrize("what", ALTERATIONS)
def test_a_wrong_expectation_fails(what: str, tmp_path: Path) -> None:
    name, alter = ALTERATIONS[what]
    folder, entry = copied(tmp_path, name)
    assert outcome_of(folder, entry)[0]
    alter(entry)
    good, lines = outcome_of(folder, entry)
    assert not good
    assert lines[0].startswith(f"FAIL {name}: ")
    assert lines[-1] == "0 of 1 as expected"


@needs_vectors
@pytest.mark.parametrize("name", [_SNP, _TDX, "sev/naples-chain", "nitro/production-2025"])
def test_other_bytes_fail(name: str, tmp_path: Path) -> None:
    """By the index's digest; and where it has none, by what the bytes say."""
    folder, entry = copied(tmp_path, name)
    path = folder / entry["files"][0]["file"]
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert not outcome_of(folder, entry)[0]
    for file in entry["files"]:
        del file["sha256"]
    if entry["technology"] != "nitro":  # refused by name, whatever its signature says
        assert not outcome_of(folder, entry)[0]


@needs_vectors
def test_a_missing_file_fails(tmp_path: Path) -> None:
    folder, entry = copied(tmp_path, _SNP)
    (folder / entry["files"][0]["file"]).unlink()
    assert not outcome_of(folder, entry)[0]


@needs_vectors
def test_a_row_without_a_verdict_has_its_facts_compared(tmp_path: Path) -> None:
    folder, entry = copied(tmp_path, _SNP)
    del entry["expected"]["policy_verdict"]
    assert outcome_of(folder, entry)[0]
    entry["expected"]["guest_svn"] = 77
    assert not outcome_of(folder, entry)[0]


@needs_vectors
def test_a_fact_that_nothing_computes_is_said(tmp_path: Path) -> None:
    folder, entry = copied(tmp_path, _SNP)
    entry["expected"]["colour"] = "blue"
    good, lines = outcome_of(folder, entry)
    assert good
    assert any("not checkable: colour" in line for line in lines)


@needs_vectors
def test_an_extended_report_is_read(tmp_path: Path) -> None:
    """Report and certificates in one file, as an extended guest request gives them."""
    from tests.vectors_conformance.material import collect
    from wasmkeep.evidence.snp import table

    row = next(row for row in shared() if row.name == _SNP)
    material = collect(row)
    assert material.report is not None
    parts = table.CertificateTable(
        vcek=material.endorsement.der, ask=material.intermediate.der, ark=material.root.der
    )
    folder, entry = copied(tmp_path, _SNP)
    (folder / "snp" / "extended.bin").write_bytes(material.report + table.encode(parts))
    entry["files"] = [{"file": "snp/extended.bin"}]
    del entry["expected"]["reissued_vcek_same_public_key"]
    assert outcome_of(folder, entry) == (True, ["1 of 1 as expected"])


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", '[{"row": "a"}]', "[" * 100])
def test_no_index_is_said(text: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableIndex):
        load(tmp_path)
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(UnusableIndex):
        load(tmp_path)


def test_files_outside_of_the_vectors_are_not_read(tmp_path: Path) -> None:
    row = {"row": "snp/a", "technology": "snp", "files": [{"file": "../secret"}], "expected": {}}
    (tmp_path / "index.json").write_text(json.dumps([row]))
    with pytest.raises(UnusableIndex, match="outside"):
        load(tmp_path)
