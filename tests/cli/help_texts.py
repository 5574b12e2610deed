"""The help texts in ``docs/command-line.md``; ``python -m tests.cli.help_texts`` renews them."""

from __future__ import annotations

import re
from pathlib import Path

from wasmkeep.cli import commands, parser

DOCUMENT = Path(__file__).parents[2] / "docs" / "command-line.md"
_BLOCK = re.compile(r"^### `wasmkeep(?P<words>[a-z ]*)`\n\n```\n(?P<text>.*?)```\n", re.MULTILINE | re.DOTALL)


def actual() -> dict[str, str]:
    """What ``--help`` prints, by the words of the command; '' is wasmkeep itself."""
    texts = {"": commands.TOP_HELP}
    for command in commands.COMMANDS:
        texts[" ".join(command.words)] = parser.parser_for(command, parser.load(command)).format_help()
    return texts


def documented(text: str) -> dict[str, str]:
    """What the document shows, by the words of the command."""
    return {found["words"].strip(): found["text"] for found in _BLOCK.finditer(text)}


def section(words: str, text: str) -> str:
    """One command's part of the document."""
    name = f"wasmkeep {words}".strip()
    return f"### `{name}`\n\n```\n{text}```\n"


def renew() -> None:
    """Write the help texts of today into the document; everything before the first of them stays."""
    text = DOCUMENT.read_text(encoding="utf-8")
    first = _BLOCK.search(text)
    head = text[: first.start()] if first else text.rstrip() + "\n\n"
    body = "\n".join(section(words, help_text) for words, help_text in actual().items())
    DOCUMENT.write_text(head + body, encoding="utf-8")


if __name__ == "__main__":
    renew()
