"""The choice not to bind evidence, spelled out so that it cannot happen by leaving something away."""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["UNBOUND", "Unbound"]


class Unbound(Enum):
    """The type of `UNBOUND`."""

    UNBOUND = "not bound to any session"


UNBOUND: Final = Unbound.UNBOUND
"""Given instead of an expected value: the result says so (``bound`` is False), and no session accepts it."""
