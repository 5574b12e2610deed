"""What a revocation list said of the certificates that vouch for evidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

__all__ = ["Revocation", "RevocationStatus"]


class RevocationStatus(StrEnum):
    FRESH = "fresh"
    """A list of the root's, in date; nothing that vouches for the evidence is on it."""
    ABSENT = "no list, and the policy does not require one"
    STALE = "a list out of date, and the policy does not require one"


@dataclass(frozen=True)
class Revocation:
    """``issued``, ``next_update`` and ``number`` are None without a list."""

    status: RevocationStatus
    issued: datetime | None = None
    next_update: datetime | None = None
    number: int | None = None

    @cached_property
    def words(self) -> str:
        """For people."""
        if self.status is RevocationStatus.FRESH and self.next_update is not None:
            return f"CRL fresh, until {self.next_update.date()}"
        return self.status.value
