"""The table of commands, the flags that others script against, and refusals of a wrong command line."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest

from wasmkeep.cli import __main__ as entry
from wasmkeep.cli import commands, flags, parser
from wasmkeep.errors import InputError, UsageError


def flags_of(words: str) -> set[str]:
    found = commands.find(words.split())
    assert found is not None
    built = parser.parser_for(found[0], parser.load(found[0]))
    return {
        flag
        for action in built._actions
        for flag in action.option_strings
        if action.help != argparse.SUPPRESS
    }


FIXED = {
    "run",
    "host serve",
    "deploy",
    "platform",
    "evidence verify",
    "evidence show",
    "receipt verify",
    "receipt show",
    "image build",
    "image measure",
    "image show",
}
SHARED = {"--tee", "--policy", "--simulated", "--env", "--dir", "--config", "--receipt", "--token-file"}
SHARED |= {"--timeout", "--json", "--quiet"}


def test_the_fixed_commands_exist() -> None:
    assert {" ".join(command.words) for command in commands.COMMANDS} >= FIXED


def test_run_and_deploy_share_their_flags() -> None:
    assert flags_of("run") >= SHARED | {"--cpu"}
    assert flags_of("deploy") >= SHARED | {"--host"}


def test_platform_and_host_have_theirs() -> None:
    assert "--host" in flags_of("platform")
    assert {"--simulated", "--listen", "--tls-cert", "--tls-key", "--machine", "--cpu"} <= flags_of(
        "host serve"
    )


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: " ".join(command.words))
def test_every_command_has_help_without_a_full_stop_in_its_rows(
    command: commands.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        entry.main([*command.words, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: wasmkeep {' '.join(command.words)}")
    assert max(map(len, text.splitlines())) <= 100


def parsed(words: list[str]) -> argparse.Namespace:
    found = commands.find(words)
    assert found is not None
    own, arguments = parser.split_arguments(found[0], found[1])
    options = parser.parser_for(found[0], parser.load(found[0])).parse_args(own)
    options.arguments = arguments
    return options


def test_what_follows_the_double_dash_is_the_programs() -> None:
    options = parsed(["run", "--simulated", "add.wat", "--", "3", "--json", "--", "-x"])
    assert options.simulated is True
    assert options.arguments == ["3", "--json", "--", "-x"]
    assert options.json is False


def test_no_double_dash_and_an_empty_one_differ() -> None:
    assert parsed(["run", "add.wat"]).arguments is None
    assert parsed(["run", "add.wat", "--"]).arguments == []


def test_deploys_simulated_takes_a_pin() -> None:
    options = parsed(["deploy", "a.wasm", "--host", "http://127.0.0.1:1", "--simulated", "sha256:00"])
    assert options.simulated == "sha256:00"


@pytest.mark.parametrize(
    ("line", "message", "remedy"),
    [
        ("run add.wat --recipt x", "unrecognized arguments: --recipt x", "did you mean --receipt?"),
        ("run add.wat --sim", "unrecognized arguments: --sim", "did you mean --simulated?"),
        ("run add.wat --zzz", "unrecognized arguments: --zzz", "`wasmkeep run --help` lists what it takes"),
        (
            "run add.wat 3 4",
            "unrecognized arguments: 3 4",
            "put the program's own arguments after `--`: `-- 3`",
        ),
        ("run", "the following arguments are required: PROGRAM", "`wasmkeep run --help` lists what it takes"),
        ("run a.wasm --timeout nan", "argument --timeout: 'nan' is not a positive number of seconds", None),
        ("run a.wasm --timeout -1", "argument --timeout", None),
        ("run a.wasm --cpu arm", "argument --cpu: invalid choice: 'arm'", None),
        ("run a.wasm --tee sgx", "argument --tee: invalid choice: 'sgx'", None),
        ("deploy a.wasm", "the following arguments are required: --host", None),
        ("completion tcsh", "argument SHELL: invalid choice: 'tcsh'", None),
        ("rnu add.wat", "there is no command `rnu add.wat`", None),
        ("host srve", "there is no command `host srve`", "did you mean `wasmkeep host serve`?"),
        ("demo tdx", "there is no command `demo tdx`", "did you mean `wasmkeep demo sev`?"),
    ],
)
def test_a_wrong_command_line_is_64(
    line: str, message: str, remedy: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(line.split()) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {message}")
    if remedy is not None:
        assert f"  next        {remedy}\n" in captured.err


def test_a_group_without_its_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["host", "token"]) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "host token revoke" in captured.err
    assert "deploy" not in captured.err
    assert entry.main(["host", "--help"]) == 0
    assert "host token create" in capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {' '.join(command.words)} " in text for command in commands.COMMANDS)
    assert entry.main([]) == 64
    assert entry.main(["--version"]) == 0


def test_help_imports_nothing_that_takes_time() -> None:
    program = "import sys; from wasmkeep.cli.__main__ import main; main(['--help']); print(*sys.modules)"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-S", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "wasmkeep.cli.commands" in loaded
    slow = {"argparse", "typing", "dataclasses", "asyncio", "re", "enum", "json", "pathlib", "cryptography"}
    assert not loaded & slow


@pytest.mark.parametrize(
    ("text", "value"), [("64MiB", 64 << 20), ("1GiB", 1 << 30), ("2048", 2048), ("4 KiB", 4096)]
)
def test_sizes(text: str, value: int) -> None:
    assert flags.memory_size(text) == value


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1.5GiB", "64MB", "1KiBKiB", "0x10", "²", "9" * 16, "1 TiB"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        flags.memory_size(text)


def test_env_takes_a_value_from_here_or_from_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "s=e=cret")
    assert flags.environment(["HERE", "A=b=c", "EMPTY="]) == (
        ("HERE", "s=e=cret"),
        ("A", "b=c"),
        ("EMPTY", ""),
    )
    monkeypatch.delenv("HERE")
    for wrong in ("HERE", "=x", "", "A=\0"):
        with pytest.raises(UsageError):
            flags.environment([wrong])


def test_dir_names_a_tree_and_a_place(tmp_path: object) -> None:
    trees = flags.directories([f"{tmp_path}:data", f"{tmp_path}:/work/in:rw"])
    assert [(str(tree.local), tree.guest, tree.writable) for tree in trees] == [
        (str(tmp_path), "/data", False),
        (str(tmp_path), "/work/in", True),
    ]
    (root,) = flags.directories([f"{tmp_path}:/:rw"])
    assert (root.guest, root.writable) == ("/", True)
    for wrong in (f"{tmp_path}", f"{tmp_path}:", ":data", ":rw"):
        with pytest.raises(UsageError):
            flags.directories([wrong])
    with pytest.raises(InputError):
        flags.directories([f"{tmp_path}/absent:data"])


HELP = ["--help", "--version", "host --help", "run --help", "completion bash"]


@pytest.mark.parametrize("words", HELP)
@pytest.mark.parametrize(
    ("redirection", "says"),
    [(">/dev/full", "No space left"), (">&-", "standard output is closed"), (">&- 2>&-", "")],
)
def test_an_answer_that_cannot_be_written_is_an_error(words: str, redirection: str, says: str) -> None:
    line = f"exec {sys.executable} -m wasmkeep.cli {words} {redirection}"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 73
    assert done.stdout == ""
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", HELP)
def test_whoever_reads_no_further_hears_no_complaint(words: str) -> None:
    line = f"( {sys.executable} -m wasmkeep.cli {words}; echo $? >&2 ) | true"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)
    assert done.stderr.strip() in ("0", "73")
