"""Completion scripts: what bash offers, and what the other shells are given."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from wasmkeep.cli import completion
from wasmkeep.cli.commands import COMMANDS


def offered(line: str, folder: Path) -> set[str]:
    """What bash would offer after ``line``."""
    words = line.split(" ")
    script = (
        completion.script("bash")
        + f"""
COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
_wasmkeep; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    )
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "wasmkeep ",
            {
                "run",
                "deploy",
                "host",
                "platform",
                "evidence",
                "endorsements",
                "receipt",
                "image",
                "demo",
                "policy",
                "completion",
            },
        ),
        ("wasmkeep de", {"deploy", "demo"}),
        ("wasmkeep demo ", {"sev"}),
        ("wasmkeep host ", {"serve", "token"}),
        ("wasmkeep host token ", {"create", "list", "revoke"}),
        ("wasmkeep run --rec", {"--receipt"}),
        ("wasmkeep run a.wasm --tim", {"--timeout"}),
        ("wasmkeep completion f", {"fish"}),
        ("wasmkeep host serve --tls", {"--tls-cert", "--tls-key"}),
    ],
)
def test_bash_offers_commands_and_flags(line: str, expected: set[str], tmp_path: Path) -> None:
    assert offered(line, tmp_path) == expected


def test_bash_offers_files(tmp_path: Path) -> None:
    (tmp_path / "app.wasm").touch()
    assert "app.wasm" in offered("wasmkeep run ap", tmp_path)


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_command_and_its_flags_are_in_each_script(shell: str) -> None:
    script = completion.script(shell)
    for command in COMMANDS:
        assert all(word in script for word in command.words)
    assert "--private" not in script
    assert "private" not in script.replace("--private", "")


@pytest.mark.parametrize(("shell", "check"), [("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_other_shells_can_read_theirs(shell: str, check: list[str]) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([program, *check], input=completion.script(shell), text=True, check=True)
