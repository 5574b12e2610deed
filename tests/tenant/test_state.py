"""The memory of revocation lists: only ever newer, private, and refused when damaged."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wasmkeep.errors import ConfigurationError, SystemFailure
from wasmkeep.tenant.state import TenantState

ROOT = "sha256:" + "00" * 32
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_newest_list_is_remembered(tmp_path: Path) -> None:
    state = TenantState(tmp_path / "state")
    assert state.newest_crls() == {}
    state.saw_crl(ROOT, WHEN)
    state.saw_crl(ROOT, WHEN - timedelta(days=1))
    assert TenantState(tmp_path / "state").newest_crls()[ROOT] == WHEN
    state.saw_crl(ROOT, WHEN + timedelta(days=1))
    assert state.newest_crls()[ROOT] == WHEN + timedelta(days=1)


def test_files_are_private(tmp_path: Path) -> None:
    TenantState(tmp_path / "state").saw_crl(ROOT, WHEN)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    for file in (tmp_path / "state").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(file.name for file in (tmp_path / "state").iterdir()) == ["crl-seen.json", "lock"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": "2026-01-01"}', b"[" * 100_000])
def test_a_damaged_memory_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "crl-seen.json").write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        TenantState(tmp_path).newest_crls()
    assert refused.value.check == "state.malformed"


def test_many_at_once_keep_the_newest(tmp_path: Path) -> None:
    def saw(day: int) -> None:
        TenantState(tmp_path).saw_crl(ROOT, WHEN + timedelta(days=day))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(saw, range(40)))
    assert TenantState(tmp_path).newest_crls()[ROOT] == WHEN + timedelta(days=39)


def test_an_unusable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemFailure) as refused:
        TenantState(tmp_path / "file" / "state").saw_crl(ROOT, WHEN)
    assert refused.value.check == "state.unusable"
