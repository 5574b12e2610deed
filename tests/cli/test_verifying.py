"""What the offline commands hand to the verifier: which reference values, and which lists were seen."""

from __future__ import annotations

import io
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wasmkeep import evidence
from wasmkeep.cli import evidence_complete, evidence_files, evidence_verify, receipt_verify, references
from wasmkeep.cli.console import Console
from wasmkeep.cli.evidence_files import Subject
from wasmkeep.errors import WasmkeepError
from wasmkeep.evidence import NO_LISTS_SEEN, Policy
from wasmkeep.evidence.kinds import EvidenceKind
from wasmkeep.tenant import receipts
from wasmkeep.tenant.state import TenantState

SEEN = {"sha256:" + "ab" * 32: datetime(2026, 6, 1, tzinfo=UTC)}
DIGEST = "cd" * 48


class _Asked(WasmkeepError):
    """Ends a command once the verifier has been asked."""


@pytest.fixture(autouse=True)
def _seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TenantState, "newest_crls", lambda _: SEEN)


def test_the_policy_of_today_is_compared_with_its_own_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def accept(file: object, policy: Policy, values: object, **others: object) -> None:
        asked.update(policy=policy, values=values, **others)

    monkeypatch.setattr(receipts, "require_accepted_now", accept)
    monkeypatch.setattr(references, "for_policy", lambda policy: {b"of": policy.name})
    (tmp_path / "now.toml").write_text(f'runtime = ["{DIGEST}"]\n')
    (tmp_path / "list.crl").write_bytes(b"list")
    now = str(tmp_path / "now.toml")
    options = Namespace(crl=str(tmp_path / "list.crl"), policy_now=now, simulated=None)
    file: Any = SimpleNamespace(tenant_only=False)
    receipt_verify._check_now(options, file, Policy.default(), None)
    assert asked["policy"].name == now
    assert asked["values"] == {b"of": now}
    assert asked["crl_not_older_than"] == SEEN


@pytest.mark.parametrize(("at", "newest"), [(None, SEEN), (datetime(2025, 1, 1, tzinfo=UTC), NO_LISTS_SEEN)])
def test_an_older_list_than_one_seen_is_told_to_the_verifier(
    monkeypatch: pytest.MonkeyPatch, at: datetime | None, newest: object
) -> None:
    asked: dict[str, Any] = {}

    def verify(_: object, __: object, **arguments: object) -> None:
        asked.update(arguments)
        raise _Asked("asked", "asked")

    monkeypatch.setattr(evidence, "verify", verify)
    monkeypatch.setattr(references, "for_policy", lambda _: {})
    files = evidence_files.Files(subjects=[Subject("name", EvidenceKind.SNP_REPORT, b"")])
    monkeypatch.setattr(evidence_files, "read_files", lambda *_: files)
    completed = SimpleNamespace(evidence=None, crl_retrieved=None)
    monkeypatch.setattr(evidence_complete, "complete", lambda *_: completed)
    options = Namespace(
        files=["x"],
        endorsements=None,
        policy=None,
        simulated=None,
        at=at,
        report_data=None,
        challenged_at=None,
        json=False,
        ear=None,
        ear_key=None,
    )
    with pytest.raises(_Asked):
        evidence_verify.execute(options, Console(io.StringIO()))
    assert asked["crl_not_older_than"] == newest
