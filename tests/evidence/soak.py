"""How long property tests look: shortly by default, long under ``WASMKEEP_SOAK=1``."""

from __future__ import annotations

import os

from hypothesis import settings

SOAK = os.environ.get("WASMKEEP_SOAK") == "1"
SETTINGS = settings(max_examples=5000 if SOAK else 60, deadline=None, database=None)
