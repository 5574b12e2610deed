"""Tokens: shown once, stored as digests, in files that are this user's alone."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.host.daemon import daemon, run
from wasmkeep.errors import InputError, SystemFailure, UsageError
from wasmkeep.host.tokens import Tokens, TokenStore, new_token, owner_of, runtime_token_path


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path / "host" / "tokens.json")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_has_256_random_bits() -> None:
    token = new_token()
    assert token.startswith("wk_")
    assert len(token) == 46
    assert token != new_token()


def test_the_file_holds_no_token_and_is_the_users_alone(store: TokenStore) -> None:
    token = store.create("laptop")
    content = store.path.read_text()
    assert token not in content
    assert token[3:] not in content
    assert owner_of(token) in content
    assert mode(store.path) == 0o600
    assert mode(store.path.parent) == 0o700
    assert [record.name for record in store.list()] == ["laptop"]


def test_what_is_created_opens_and_what_is_revoked_does_not(store: TokenStore) -> None:
    tokens = Tokens(store)
    token = store.create("laptop")
    other = store.create("desk")
    assert tokens.owner(token) == owner_of(token)
    store.revoke("laptop")
    assert tokens.owner(token) is None
    assert not tokens.is_valid(owner_of(token))
    assert tokens.owner(other) == owner_of(other)


@pytest.mark.parametrize(
    "presented", ["", "wk_", "x" * 46, "wk_" + "A" * 42, "wk_" + "A" * 44, "wk_" + "A" * 43 + "\n"]
)
def test_what_has_not_the_form_of_a_token_is_none(store: TokenStore, presented: str) -> None:
    assert Tokens(store, own=new_token()).owner(presented) is None


def test_a_name_is_used_once(store: TokenStore) -> None:
    store.create("laptop")
    with pytest.raises(UsageError) as refused:
        store.create("laptop")
    assert "revoke" in refused.value.remedy


@pytest.mark.parametrize("name", ["", "Laptop", "a b", "-a", "a" * 65, "a\n", "../a", "é"])
def test_what_is_no_name_is_refused(store: TokenStore, name: str) -> None:
    with pytest.raises(UsageError):
        store.create(name)
    assert not store.path.exists()


def test_revoking_what_is_not_there_is_said(store: TokenStore) -> None:
    with pytest.raises(UsageError):
        store.revoke("laptop")


def test_many_at_once_lose_nothing(store: TokenStore) -> None:
    names = [f"token-{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.create, names))
    assert sorted(record.name for record in store.list()) == sorted(names)


@pytest.mark.parametrize("permission", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_is_not_trusted(store: TokenStore, permission: int) -> None:
    store.create("laptop")
    store.path.chmod(permission)
    with pytest.raises(SystemFailure) as refused:
        store.list()
    assert refused.value.remedy


def test_a_link_is_not_followed(store: TokenStore, tmp_path: Path) -> None:
    store.create("laptop")
    store.path.rename(tmp_path / "elsewhere")
    store.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SystemFailure):
        store.list()


def test_a_folder_that_others_may_write_is_refused(store: TokenStore) -> None:
    store.path.parent.mkdir(mode=0o700)
    store.path.parent.chmod(0o777)
    with pytest.raises(SystemFailure):
        store.create("laptop")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        json.dumps([{"name": "a", "sha256": "00", "created": ""}]).encode(),
        json.dumps([{"name": "a", "sha256": "0" * 64}]).encode(),
        json.dumps([{"name": "a", "sha256": "0" * 64, "created": 1}]).encode(),
        json.dumps([{"name": "a", "sha256": "0" * 64, "created": "", "x": ""}]).encode(),
    ],
)
def test_a_damaged_file_is_named_and_opens_nothing(store: TokenStore, content: bytes) -> None:
    token = store.create("laptop")
    store.path.write_bytes(content)
    if content == b"{}":
        assert Tokens(store).owner(token) is None
        return
    with pytest.raises(InputError) as refused:
        Tokens(store).owner(token)
    assert refused.value.check == "host.token.file"


def test_the_daemons_own_token_is_left_for_its_user_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)

    async def scenario() -> None:
        async with daemon(leave_token=True) as host:
            path = host.running.token_file
            assert path == runtime_token_path(host.running.port)
            assert path.read_text() == host.running.token + "\n"
            assert mode(path) == 0o600
            assert mode(path.parent) == 0o700
            assert host.running.token not in repr(host.running)
        assert not path.exists()

    run(scenario())


def test_a_runtime_folder_that_others_may_write_gets_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    (tmp_path / "wasmkeep").mkdir()
    (tmp_path / "wasmkeep").chmod(0o777)

    async def scenario() -> None:
        with pytest.raises(SystemFailure):
            async with daemon(leave_token=True):
                pass

    run(scenario())
