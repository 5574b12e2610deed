"""The documents say what the command line does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli import help_texts
from wasmkeep import errors
from wasmkeep.cli import commands, parser
from wasmkeep.evidence.errors import Rejected

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("words", help_texts.actual())
def test_help_is_documented_word_for_word(words: str) -> None:
    text = help_texts.DOCUMENT.read_text(encoding="utf-8")
    assert help_texts.documented(text).get(words) == help_texts.actual()[words], (
        "run `python -m tests.cli.help_texts`"
    )


def test_no_help_is_documented_that_does_not_exist() -> None:
    text = help_texts.DOCUMENT.read_text(encoding="utf-8")
    assert help_texts.documented(text).keys() == help_texts.actual().keys()


def test_every_exit_code_is_documented() -> None:
    text = help_texts.DOCUMENT.read_text(encoding="utf-8")
    classes: list[type[errors.WasmkeepError]] = [*errors.WasmkeepError.__subclasses__()]
    classes += [errors.WasmkeepError, Rejected]
    for code in {cls.exit_code for cls in classes} | {130, 134, 143}:
        assert re.search(rf"^\| [0-9, ]*\b{code}\b[0-9, ]* \|", text, re.MULTILINE), code


def quoted_commands(path: Path) -> list[str]:
    """Every command line that a document shows: lines of code blocks, and code in running text."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    lines += re.findall(
        r"`(wasmkeep [^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    )
    lines = [re.sub(r"^(host|tenant)\$ ", "", line).removeprefix(".venv/bin/") for line in lines]
    return [line for line in lines if line.startswith("wasmkeep ") and "…" not in line]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documented_commands_exist(path: Path) -> None:
    for line in quoted_commands(path):
        words = shlex.split(re.sub(r"[<>|].*", "", line), comments=True)[1:]
        if not words or words[0].startswith("--") or words[-1:] == ["COMMAND"] or "|" in line:
            continue
        found = commands.find(words)
        if found is None:
            assert commands.commands_under(tuple(words)), line
            continue
        command, rest = found
        own, _ = parser.split_arguments(command, rest)
        flags = {
            flag
            for action in parser.parser_for(command, parser.load(command))._actions
            for flag in action.option_strings
        }
        assert {word.partition("=")[0] for word in own if word.startswith("--")} <= flags, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_advice_names_commands_that_exist() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        for line in re.findall(r"`wasmkeep ([a-z][a-z ]*)", path.read_text(encoding="utf-8")):
            words = tuple(line.split())
            known = any(words[: len(command.words)] == command.words for command in commands.COMMANDS)
            assert known or commands.commands_under(words), f"{path}: wasmkeep {line}"
