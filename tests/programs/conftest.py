"""Programs run on each kind of machine that this computer has, as in the conformance tests."""

from __future__ import annotations

from tests.conformance.conftest import kind

__all__ = ["kind"]
