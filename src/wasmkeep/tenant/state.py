"""What a tenant remembers between deployments: the newest revocation list seen of each root.

A host may carry an authentic list that is older than one this tenant has already seen, to hide a
revocation. So the issue date of the newest list that verified is kept, by the root's SPKI digest, in
``crl-seen.json`` (mode 0600) in the user's state folder, and an older list is refused later.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from wasmkeep.errors import ConfigurationError, SystemFailure
from wasmkeep.whole_file import write_whole

MAX_STATE_SIZE = 1 << 20
_FILE = "crl-seen.json"


def state_folder() -> Path:
    """The user's state folder of wasmkeep (``$XDG_STATE_HOME/wasmkeep``)."""
    return Path(platformdirs.user_state_dir("wasmkeep"))


class TenantState:
    """The memory of one user, in ``folder`` (made with mode 0700 where absent)."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder if folder is not None else state_folder() / "tenant"
        self._path = self._folder / _FILE

    def newest_crls(self) -> dict[str, datetime]:
        """When the newest list seen of each root was issued, by the root's pin (``sha256:…``)."""
        return self._load()

    def saw_crl(self, root: str, issued: datetime) -> None:
        """Remember a list that verified, of the root with this pin; an older one changes nothing."""
        known = self._load().get(root)
        if known is not None and known >= issued:
            return
        with self._locked():
            seen = self._load()
            if root not in seen or seen[root] < issued:
                seen[root] = issued
                self._store(seen)

    def _load(self) -> dict[str, datetime]:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_STATE_SIZE + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._failure(error) from error
        try:
            if len(data) > MAX_STATE_SIZE:
                raise ValueError("too large")
            times = {str(root): datetime.fromisoformat(when) for root, when in json.loads(data).items()}
            if any(when.tzinfo is None for when in times.values()):
                raise ValueError("no time zone")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigurationError(
                "state.malformed",
                "the memory of revocation lists is damaged",
                found=f"{self._path} is not what wasmkeep wrote",
                required="a JSON object of root digests and times",
                meaning="an older revocation list could no longer be told from a newer one",
                remedy=f"restore it, or remove {self._path} to start anew",
            ) from error
        return times

    def _store(self, seen: dict[str, datetime]) -> None:
        text = json.dumps({root: when.astimezone(UTC).isoformat() for root, when in sorted(seen.items())})
        try:
            write_whole(self._path, text.encode())
        except OSError as error:
            raise self._failure(error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failure(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _failure(self, error: OSError) -> SystemFailure:
        return SystemFailure(
            "state.unusable",
            "the tenant's state folder cannot be used",
            found=f"{self._folder}: {error.strerror}",
            required="a folder that this user can write",
            remedy="set XDG_STATE_HOME to one",
        )
