"""Real quotes with their collateral, and the facts that the index states about them."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from pathlib import Path

from tests.evidence.vectors import FOLDER, Row
from wasmkeep.evidence import Collateral, SgxEvidence, TdxEvidence
from wasmkeep.evidence.dcap import collateral_json

__all__ = ["collateral_of", "evidence_of", "rows"]


@cache
def rows() -> dict[str, Row]:
    """All rows of TDX and SGX, by name; empty where the vectors are absent."""
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
        if row["technology"] in ("tdx", "sgx")
    }


def collateral_of(row: Row) -> Collateral:
    return collateral_json.decode(row.read("collateral.json"))


def evidence_of(row: Row) -> TdxEvidence | SgxEvidence:
    kind = TdxEvidence if row.name.startswith("tdx/") else SgxEvidence
    return kind(row.read("quote.bin"), collateral_of(row))


def at(text: str) -> datetime:
    """A time as the index writes it."""
    return datetime.fromisoformat(text)
