"""Tests never touch the user's own folders: caches, states and machines live under ``build/``."""

from __future__ import annotations

import os
from pathlib import Path

_HOME = Path(__file__).resolve().parent.parent / "build" / "test-home"

# Kept between runs: a simulated machine's root keys take seconds to make, a large module half a minute.
for _name in ("CACHE", "STATE"):
    os.environ[f"XDG_{_name}_HOME"] = str(_HOME / _name.lower())
