"""Tokens by which a host knows its tenants: made of 32 random bytes, shown once, stored as SHA-256 only.

A token is long and random, so a plain digest cannot be searched. Whoever presents one is known afterwards
by that digest (the *owner* of keeps), never by the token. A token decides who may use this host, and
nothing else: no tenant's protection rests on it.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from wasmkeep.errors import InputError, SystemFailure, UsageError
from wasmkeep.host.private_files import make_private_folder, read_private, write_private

__all__ = [
    "TokenRecord",
    "TokenStore",
    "Tokens",
    "new_token",
    "owner_of",
    "runtime_token_path",
    "token_store_path",
]

_FORM = re.compile(r"wk_[A-Za-z0-9_-]{43}\Z")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_MAX_TOKENS = 1000
_MAX_FILE_BYTES = 512 * 1024


def new_token() -> str:
    """``wk_`` and 32 random bytes in base64url."""
    return "wk_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def owner_of(token: str) -> str:
    """The SHA-256 of a token, in hexadecimal: all that is kept of it."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_store_path() -> Path:
    """Where this user's host keeps the digests of its tokens."""
    return Path(platformdirs.user_state_dir("wasmkeep")) / "host" / "tokens.json"


def runtime_token_path(port: int) -> Path:
    """Where the daemon on loopback ``port`` leaves a token for its own user's commands."""
    return Path(platformdirs.user_runtime_dir("wasmkeep")) / f"host-{port}.token"


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as it is stored. ``created`` is UTC, ISO 8601."""

    name: str
    sha256: str
    created: str


class TokenStore:
    """The file of tokens, shared by the daemon and ``wasmkeep host token``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, name: str, *, now: datetime | None = None) -> str:
        """Make a token and return it, the only time it shows. Raises ``UsageError`` for a name in use."""
        if not _NAME.match(name):
            raise UsageError(
                "host.token.name",
                "that is not a name for a token",
                found=repr(name[:64]),
                required="1 to 64 of a-z, 0-9, dot, dash, underscore; the first a letter or digit",
            )
        token = new_token()
        created = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        with self._locked():
            records = self.list()
            if any(record.name == name for record in records):
                raise UsageError(
                    "host.token.name",
                    f"there is a token of the name {name} already",
                    remedy=f"choose another name, or `wasmkeep host token revoke {name}` first",
                )
            if len(records) >= _MAX_TOKENS:
                raise UsageError(
                    "host.token.count", "there are too many tokens", required=f"at most {_MAX_TOKENS}"
                )
            self._write((*records, TokenRecord(name, owner_of(token), created)))
        return token

    def revoke(self, name: str) -> None:
        """Forget a token; a running daemon ends its keeps. Raises ``UsageError`` where there is none."""
        with self._locked():
            records = self.list()
            left = tuple(record for record in records if record.name != name)
            if len(left) == len(records):
                raise UsageError(
                    "host.token.name",
                    "there is no token of that name",
                    found=repr(name[:64]),
                    remedy="`wasmkeep host token list` shows them",
                )
            self._write(left)

    def list(self) -> tuple[TokenRecord, ...]:
        """Every token, oldest first. Raises ``InputError`` where the file is damaged."""
        try:
            body = read_private(self.path, _MAX_FILE_BYTES)
        except FileNotFoundError:
            return ()
        return _parse(self.path, body)

    def version(self) -> tuple[int, int, int]:
        """Changes whenever the file is replaced."""
        try:
            found = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def _write(self, records: tuple[TokenRecord, ...]) -> None:
        write_private(self.path, json.dumps([asdict(record) for record in records], indent=1).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_private_folder(self.path.parent)
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SystemFailure(
                "host.token.lock", f"{lock} cannot be used", found=error.strerror or type(error).__name__
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _parse(path: Path, body: bytes) -> tuple[TokenRecord, ...]:
    try:
        entries = json.loads(body)
        records = tuple(TokenRecord(**entry) for entry in entries)
        if all(_is_record(record) for record in records):
            return records
    except (ValueError, TypeError, RecursionError):
        pass
    raise InputError(
        "host.token.file",
        f"{path} is damaged",
        found="something else than a list of tokens",
        remedy="remove it and create the tokens again",
    )


def _is_record(record: TokenRecord) -> bool:
    texts = (record.name, record.sha256, record.created)
    return all(isinstance(text, str) for text in texts) and bool(
        _NAME.match(record.name) and _DIGEST.match(record.sha256)
    )


class Tokens:
    """The tokens a running daemon accepts: those in the store, and one of its own while it runs."""

    def __init__(self, store: TokenStore | None, *, own: str | None = None) -> None:
        self._store = store
        self._own = () if own is None else (owner_of(own),)
        self._version: tuple[int, int, int] | None = None
        self._digests: tuple[str, ...] = self._own

    def owner(self, presented: str) -> str | None:
        """Who presents this token, or None. The comparison takes the same time wherever it differs."""
        if not _FORM.match(presented):
            return None
        self._reload()
        digest = owner_of(presented)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return digest if any(matches) else None

    def is_valid(self, owner: str) -> bool:
        """Whether the token that was ``owner``'s has not been revoked since."""
        self._reload()
        return owner in self._digests

    def _reload(self) -> None:
        if self._store is None:
            return
        version = self._store.version()
        if version != self._version:
            stored = tuple(record.sha256 for record in self._store.list())
            self._digests = self._own + stored
            self._version = version
