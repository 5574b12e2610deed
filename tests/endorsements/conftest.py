"""Keys of a chain of the tests' own, once a session."""

from __future__ import annotations

from tests.evidence.conftest import forge

__all__ = ["forge"]
