"""Real evidence beside the repository, read in place; tests that need it are skipped where it is absent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from wasmkeep.evidence import SnpEvidence
from wasmkeep.evidence.pem import decode_certificates
from wasmkeep.evidence.plain import plain as plain
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.evidence.snp.report import REPORT_SIZE

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "vectors"
PRODUCTS = ("Milan", "Genoa", "Turin")
_AZURE_REPORT_OFFSET = 32

needs_vectors = pytest.mark.skipif(
    not (FOLDER / "index.json").exists(), reason="real evidence (../shared/vectors) is not here"
)


@dataclass(frozen=True)
class Row:
    """One row of the index: its files by name, and the facts to expect."""

    name: str
    files: dict[str, Path]
    expected: dict[str, Any]  # Any: JSON

    def read(self, file: str) -> bytes:
        return self.files[file].read_bytes()

    @property
    def report(self) -> bytes | None:
        """The 1184 bytes, out of Azure's wrapping where there is one."""
        if "report.bin" in self.files:
            return self.read("report.bin")
        if "hcl-report.bin" in self.files:
            wrapped = self.read("hcl-report.bin")
            return wrapped[_AZURE_REPORT_OFFSET : _AZURE_REPORT_OFFSET + REPORT_SIZE]
        return None

    @property
    def vcek(self) -> bytes:
        file = next(file for file in self.files if file.startswith("vcek") and "reissued" not in file)
        return certificates(self.files[file])[0]

    @property
    def crl(self) -> bytes | None:
        file = next((file for file in self.files if file.endswith(".crl.der")), None)
        return self.read(file) if file else None

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.expected["verify_at"])

    def evidence(self) -> SnpEvidence:
        report = self.report
        assert report is not None
        ask, ark, _ = authorities(self.expected["product"])
        return SnpEvidence(report, self.vcek, (ask, ark), self.crl)


def certificates(path: Path) -> tuple[bytes, ...]:
    """The DER certificates in a DER or PEM file."""
    data = path.read_bytes()
    return decode_certificates(data.decode("ascii")) if path.suffix == ".pem" else (data,)


@cache
def authorities(product: str) -> tuple[bytes, bytes, bytes]:
    """(ASK, ARK, ASVK) of a product, DER."""
    ask, ark, asvk = certificates(FOLDER / f"snp/ca-roots/{product.lower()}-ask-ark-asvk.pem")
    return ask, ark, asvk


SEV_CHAINS = ("naples", "milan")
SEV_PARTS = ("ark", "ask", "cek", "pek", "oca", "pdh")


@cache
def sev_chain(name: str) -> PlatformCertificates:
    """A real SEV platform's certificates."""
    folder = FOLDER / f"sev/{name}-chain"
    return PlatformCertificates(*((folder / f"{part}.cert").read_bytes() for part in SEV_PARTS))


@cache
def sev_expected() -> dict[str, dict[str, Any]]:  # Any: JSON
    """What is expected of each SEV row of the index, by its name; empty where the vectors are absent."""
    index = FOLDER / "index.json"
    if not index.exists():
        return {}
    return {
        row["row"].removeprefix("sev/"): row["expected"]
        for row in json.loads(index.read_text())
        if row["technology"] == "sev"
    }


def sev_vectors(name: str) -> dict[str, dict[str, Any]]:  # Any: JSON
    """The entries of one file of SEV vectors, by id; empty where they are absent."""
    path = FOLDER / f"sev/{name}/vectors.json"
    if not path.exists():
        return {}
    return {entry["id"]: entry for entry in json.loads(path.read_text())["vectors"]}


@cache
def rows() -> dict[str, Row]:
    """All rows of SEV-SNP, by name; empty where the vectors are absent."""
    index = FOLDER / "index.json"
    if not index.exists():
        return {}
    return {
        row["row"]: Row(
            row["row"],
            {Path(file["file"]).name: FOLDER / file["file"] for file in row["files"]},
            row["expected"],
        )
        for row in json.loads(index.read_text())
        if row["technology"] == "snp"
    }


def with_reports() -> list[str]:
    """Names of the rows that hold a report."""
    return [name for name, row in rows().items() if row.report is not None]


def accepted() -> list[str]:
    """Names of the rows whose report a plain policy accepts."""
    return [name for name in with_reports() if rows()[name].expected["policy_verdict"] == "accept"]
