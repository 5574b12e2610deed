"""The example in ``docs/python-api.md``, run as it stands there, on real evidence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.evidence.vectors import FOLDER, needs_vectors, rows

DOCUMENT = Path(__file__).parents[2] / "docs" / "python-api.md"
NOW = "datetime.now(UTC)"
ROW = "snp/genoa-v3-vcek"


def example() -> str:
    text = DOCUMENT.read_text(encoding="utf-8").partition("## Verify evidence")[2]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "evidence").mkdir()
    for path in (*(FOLDER / ROW).iterdir(), FOLDER / "snp/ca-roots/genoa-ask-ark-asvk.pem"):
        (tmp_path / "evidence" / path.name).write_bytes(path.read_bytes())
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return tmp_path


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    """The example, at the moment that the vectors were in date."""
    assert NOW in example()
    program = example().replace(NOW, f"datetime.fromisoformat({rows()[ROW].expected['verify_at']!r})")
    (folder / "example.py").write_text(program)
    words = [sys.executable, "-W", "error", "example.py"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@needs_vectors
def test_the_example_verifies_a_real_report_and_signs_the_result(folder: Path) -> None:
    done = run(folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("snp Genoa ")
    assert lines[0].endswith("AMD ARK Genoa")
    assert lines[1] == rows()[ROW].report[0x90:0xC0].hex()  # type: ignore[index]  # this row has one
    assert "note: the policy accepts whatever was launched" in lines
    assert lines[-1] == "warning"


@needs_vectors
def test_the_example_prints_what_failed(folder: Path) -> None:
    report = bytearray((folder / "evidence/report.bin").read_bytes())
    report[0x50] ^= 1
    (folder / "evidence/report.bin").write_bytes(report)
    done = run(folder)
    assert done.returncode == 77
    assert done.stdout.startswith("snp.signature (untrusted): ")
    assert "AMD 56860" in done.stdout
    assert "Traceback" not in done.stderr


@needs_vectors
def test_the_example_says_which_certificate_is_missing(folder: Path) -> None:
    (folder / "evidence/vcek.pem").unlink()
    done = run(folder)
    assert done.returncode == 77
    assert done.stdout.startswith("snp.chain.missing (untrusted): ")
