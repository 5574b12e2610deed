"""The tables of keys in docs/policy.md, made from the keys themselves.

``python -m tests.evidence.policy_reference`` writes them anew, between the marks in that file.
"""

from __future__ import annotations

import re
from pathlib import Path

from wasmkeep.evidence.dcap.policy import DEFAULTS_DATE
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.policy_age import WARN_AFTER
from wasmkeep.evidence.policy_keys import Key, Table, owner
from wasmkeep.evidence.policy_keys_snp_parts import MINIMUM_TCB
from wasmkeep.evidence.policy_toml import TABLES
from wasmkeep.evidence.policy_writing import toml
from wasmkeep.evidence.snp import defaults

PAGE = Path(__file__).resolve().parents[2] / "docs" / "policy.md"
_MARKED = re.compile(r"(<!-- keys of ([^ ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TOP = "the-file"


def tables() -> dict[str, str]:
    """Each table of keys as Markdown, by its mark: a dotted path, or ``the-file`` for the top; and what this
    release believes, ``minima``."""
    made = {}
    for table in TABLES:
        path = f"{MINIMUM_TCB}.<line>" if table.path.startswith(MINIMUM_TCB) else table.path
        made[path or _TOP] = _markdown(table, path)
    return made | {"minima": _minima()}


def _minima() -> str:
    lines = [
        f"The defaults for AMD are of {defaults.DATE}, those for Intel of {DEFAULTS_DATE}. They age:",
        "new firmware closes holes, and generations fall. What applies a policy warns when they are",
        f"older than {WARN_AFTER.days} days.",
        "",
        "Minimum TCB, as bootloader.tee.snp.microcode (Turin: fmc first):",
        "",
        "| line | minimum |",
        "|---|---|",
        *(f"| {line} | {minimum} |" for line, minimum in defaults.MINIMUM_TCB.items()),
    ]
    return "\n".join(lines) + "\n"


def current(text: str) -> str:
    """The page with every table as the code has it. ``KeyError`` for a mark without keys."""
    made = tables()
    return _MARKED.sub(lambda match: match[1] + made[match[2]] + match[3], text)


def marks(text: str) -> list[str]:
    """The marks in a page, in order."""
    return [match[2] for match in _MARKED.finditer(text)]


def _markdown(table: Table, path: str) -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key in table.keys:
        name = f"{path}.{key.name}" if path else key.name
        lines.append(f"| `{name}` | {_default(table, key)} | {key.meaning} |")
    return "\n".join(lines) + "\n"


def _default(table: Table, key: Key) -> str:
    if table.path.startswith(MINIMUM_TCB):
        return "see below"
    if key.name == "runtime":
        return "the name of this version"
    value = getattr(owner(Policy(), table.path), key.field)
    if value is None:
        return "absent"
    if value == defaults.MINIMUM_REPORT_VERSION:
        value = value["Turin"] if len(set(value.values())) == 1 else value
    text = toml(value, key.words, mask=key.mask)
    return f"`{'0' if text == '{}' and key.name != 'steppings' else text}`"


if __name__ == "__main__":
    PAGE.write_text(current(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
