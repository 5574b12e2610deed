"""Values of a policy as TOML: what `policy_toml` reads again as the same value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntFlag

__all__ = ["toml"]


def toml(value: object, words: Mapping[str, IntFlag] | None = None) -> str:
    """One value: flags by their ``words``, bytes in hexadecimal, two numbers as a version, a mapping as an
    inline table. ``TypeError`` for what no key holds."""
    if words is not None and isinstance(value, IntFlag):
        return _list([json.dumps(word) for word, bit in words.items() if value & bit])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value)  # names, pins and digests: no character that TOML escapes differently
    if isinstance(value, bytes):
        return json.dumps(value.hex())
    if isinstance(value, tuple) and value and all(isinstance(entry, int) for entry in value):
        return json.dumps(".".join(map(str, value)))
    if isinstance(value, tuple):
        return _list([toml(entry) for entry in value])
    if isinstance(value, frozenset):
        return _list([toml(entry) for entry in sorted(value)])
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key} = {toml(entry)}" for key, entry in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    raise TypeError(f"a policy holds no {type(value).__name__}")


def _list(entries: list[str]) -> str:
    return f"[{', '.join(entries)}]"
