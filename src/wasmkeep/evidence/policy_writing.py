"""Policies as TOML: what `policy_toml` reads again as the same policy."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from enum import IntFlag

from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.policy_keys import owner
from wasmkeep.evidence.policy_keys_snp_parts import MINIMUM_TCB
from wasmkeep.evidence.policy_toml import TABLES

__all__ = ["document", "toml"]

_ALWAYS = ("platforms", "runtime")
_WIDTH = 110


def toml(value: object, words: Mapping[str, IntFlag] | None = None, *, mask: bool = False) -> str:
    """One value: flags by their ``words``, bytes (and a ``mask``) in hexadecimal, two numbers as a version, a
    mapping as an inline table. ``TypeError`` for what no key holds."""
    if words is not None and isinstance(value, IntFlag):
        return _list([json.dumps(word) for word, bit in words.items() if value & bit])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return hex(value) if mask else str(value)
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
        pairs = ", ".join(f"{key} = {toml(entry, mask=mask)}" for key, entry in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    raise TypeError(f"a policy holds no {type(value).__name__}")


def _list(entries: list[str]) -> str:
    return f"[{', '.join(entries)}]"


def document(policy: Policy, *, heading: Sequence[str] = ()) -> str:
    """A policy file that reads as ``policy``, but for its name: what differs from the shipped one, each key
    with what it says in plain words; ``heading`` are lines of comment before all."""
    shipped = Policy()
    blocks = [[f"# {line}".rstrip() for line in heading]] if heading else []
    for table in TABLES:
        part, by_default = owner(policy, table.path), owner(shipped, table.path)
        if table.path.startswith(MINIMUM_TCB):
            line = table.path.rpartition(".")[2]
            part, by_default = part.minimum_tcb[line], by_default.minimum_tcb[line]
        lines = []
        for key in table.keys:
            value = getattr(part, key.field)
            if value != getattr(by_default, key.field) or (not table.path and key.name in _ALWAYS):
                lines += [*_comment(key.says(value)), f"{key.name} = {toml(value, key.words, mask=key.mask)}"]
        if lines:
            blocks.append([f"[{table.path}]", *lines] if table.path else lines)
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
