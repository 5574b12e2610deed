"""`Keep.toml`: everything it may say, and each mistake with its place and the nearest key."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmkeep.errors import ConfigurationError
from wasmkeep.tenant.configuration import (
    Configuration,
    Overridden,
    Overrides,
    Stream,
    StreamKind,
    apply,
    canonical,
)
from wasmkeep.tenant.keep_toml import parse_configuration, parse_size
from wasmkeep.tenant.settings import CpuLevel
from wasmkeep.tenant.trees import LocalTree

BASE = Path("/app")
FULL = """
args = ["--verbose", "run"]
env_from = ["TOKEN"]
cpu = "x86-64-v2"
timeout = 2.5

[env]
LANG = "C"
EMPTY = ""

[limits]
memory = "64 MiB"

[stdio]
stdin = { file = "input.csv" }
stdout = "none"
stderr = "inherit"

[[dirs]]
local = "data"
guest = "/data"

[[dirs]]
local = "."
guest = "/"
writable = true

[[files]]
local = "etc/app.json"
guest = "/etc/app.json"
"""


def _parse(text: str) -> Configuration:
    return parse_configuration(text, name="Keep.toml", base=BASE)


def test_everything() -> None:
    assert _parse(FULL) == Configuration(
        arguments=("--verbose", "run"),
        environment={"LANG": "C", "EMPTY": ""},
        environment_from=("TOKEN",),
        trees=(
            LocalTree(BASE / "data", "/data", beneath=BASE),
            LocalTree(BASE, "/", writable=True, beneath=BASE),
            LocalTree(BASE / "etc/app.json", "/etc/app.json", beneath=BASE),
        ),
        stdin=Stream(StreamKind.FILE, BASE / "input.csv", BASE),
        stdout=Stream(StreamKind.NONE),
        memory=64 << 20,
        level=CpuLevel.V2,
        timeout=2.5,
    )


def test_nothing_is_the_default() -> None:
    assert _parse("") == Configuration()
    assert Configuration().memory == 256 << 20
    assert Configuration().timeout is None


# text: (words of the whole message)
WRONG = {
    "args = [": ("not valid TOML", "end of document"),
    "\nargs = ]": ("not valid TOML", "line 2"),
    "arg = []": ("line 1", "the key arg is not known", "did you mean args?"),
    "\n[limit]\nmemory = 1": ("line 2", "the key limit is not known", "did you mean limits?"),
    "[limits]\n\nmem = 1": ("line 3", "limits.mem", "did you mean memory?"),
    "[stdio]\nstdinn = 'none'": ("line 2", "stdio.stdinn", "did you mean stdin?"),
    "[[dirs]]\nlocal = 'a'\nguest = '/a'\nwriteable = true": (
        "line 4",
        "writeable",
        "did you mean writable?",
    ),
    "zebra = 1": ("the key zebra is not known", "docs/programs.md"),
    "policy = 'x'": ("the key policy is not known",),
    '"\\u001b[31m" = 1': ("\\x1b[31m",),
    "args = 'x'": ("line 1", "args", "a list of strings"),
    "args = [1]": ("a list of strings",),
    'args = ["a\\u0000"]': ("NUL",),
    "env = 3": ("a table of strings",),
    "env = { A = 1 }": ("env.A", "a string"),
    "[env]\n'A B' = 'x'": ("letters, digits and underscores",),
    "env_from = ['A=B']": ("letters, digits and underscores",),
    "env_from = ['A', 'A']": ("each name once",),
    "env_from = ['A']\n[env]\nA = 'x'": ("each name once",),
    "cpu = 'x86-64-v9'": ("cpu", "x86-64-v2, x86-64-v3, x86-64-v4"),
    "cpu = 3": ("one of",),
    "timeout = 0": ("more than 0",),
    "timeout = -1": ("more than 0",),
    "timeout = nan": ("more than 0",),
    "timeout = inf": ("at most",),
    "timeout = true": ("seconds",),
    "timeout = '3'": ("seconds",),
    "limits = 3": ("a table",),
    "[limits]\nmemory = 0": ("line 2", "limits.memory", "64 KiB"),
    "[limits]\nmemory = '5 GiB'": ("to 4 GiB",),
    "[limits]\nmemory = '1 GB'": ("256 MiB",),
    "[limits]\nmemory = 1.5": ("256 MiB",),
    "[limits]\nmemory = true": ("256 MiB",),
    "stdio = 'none'": ("a table",),
    "[stdio]\nstdin = 'file'": ("stdio.stdin", "inherit"),
    "[stdio]\nstdin = { path = 'x' }": ("stdio.stdin.path",),
    "[stdio]\nstdout = { file = '/etc/passwd' }": ("inside the folder",),
    "[stdio]\nstdout = { file = '../x' }": ("inside the folder",),
    "[stdio]\nstdout = { file = 3 }": ("file",),
    "dirs = 3": ("[[dirs]]",),
    "dirs = ['data']": ("[[dirs]]",),
    "[[dirs]]\nguest = '/a'": ("dirs[0].local", "a path"),
    "[[dirs]]\nlocal = 'a'": ("dirs[0].guest", "a path"),
    "[[dirs]]\nlocal = 'a'\nguest = 'a'": ("an absolute path",),
    "[[dirs]]\nlocal = 'a'\nguest = '/a/../b'": ("a path that a keep accepts",),
    "[[dirs]]\nlocal = 'a'\nguest = '/tmp'": ("a path that a keep accepts",),
    "[[dirs]]\nlocal = 'a'\nguest = '/a'\nwritable = 'yes'": ("true or false",),
    "[[dirs]]\nlocal = '/home'\nguest = '/a'": ("inside the folder", "--dir"),
    "[[dirs]]\nlocal = '../..'\nguest = '/a'": ("inside the folder",),
    "[[dirs]]\nlocal = ''\nguest = '/a'": ("inside the folder",),
    "[[files]]\nlocal = 'a'\nguest = '/'": ("an absolute path",),
}


@pytest.mark.parametrize("text", WRONG)
def test_each_mistake_by_name(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _parse(text)
    for words in WRONG[text]:
        assert words in str(refused.value)
    assert refused.value.exit_code == 67
    assert "\x1b" not in str(refused.value)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abenvdirslocal=[]{}'\"\n .#1234567890_-", max_size=80))
def test_nothing_else_escapes(text: str) -> None:
    with suppress(ConfigurationError):
        _parse(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("64KiB", 65_536),
        ("64 KiB", 65_536),
        (" 1 GiB ", 1 << 30),
        ("1 kB", None),
        ("-1", None),
        ("", None),
        ("١", None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


def test_command_line_wins_and_says_so() -> None:
    overrides = Overrides(
        arguments=("quiet",),
        environment={"LANG": "de", "TOKEN": "secret", "NEW": "x"},
        trees=(LocalTree(Path("/elsewhere"), "/data/"), LocalTree(Path("/more"), "/more")),
        memory=128 << 20,
        level=CpuLevel.V3,
        timeout=9.0,
    )
    effective, seen = apply(_parse(FULL), overrides)
    assert effective.arguments == ("quiet",)
    assert effective.environment == {"LANG": "de", "EMPTY": "", "TOKEN": "secret", "NEW": "x"}
    assert effective.environment_from == ()
    assert [x.guest for x in effective.trees] == ["/", "/etc/app.json", "/data/", "/more"]
    assert (effective.memory, effective.level, effective.timeout) == (128 << 20, CpuLevel.V3, 9.0)
    assert effective.stdin == Stream(StreamKind.FILE, BASE / "input.csv", BASE)
    assert [x.key for x in seen] == [
        "args",
        "limits.memory",
        "cpu",
        "timeout",
        "env.LANG",
        "env.TOKEN",
        "dirs /data",
    ]
    assert seen[1] == Overridden("limits.memory", str(64 << 20), str(128 << 20))
    assert "secret" not in repr(seen) + repr(effective) + repr(overrides)


def test_nothing_said_overrides_nothing() -> None:
    configuration = _parse(FULL)
    assert apply(configuration, Overrides()) == (configuration, ())
    same = Overrides(
        arguments=configuration.arguments, memory=configuration.memory, level=configuration.level
    )
    assert apply(configuration, same) == (configuration, ())


def test_replacing_a_default_is_no_override() -> None:
    effective, seen = apply(Configuration(), Overrides(arguments=("a",), memory=1 << 20, timeout=1.0))
    assert (effective.arguments, effective.memory, seen) == (("a",), 1 << 20, ())


def test_canonical_form() -> None:
    text = canonical(_parse(FULL)).decode()
    assert text == (
        '{"cpu":"x86-64-v2","dirs":[{"guest":"/data","writable":false},{"guest":"/","writable":true},'
        '{"guest":"/etc/app.json","writable":false}],"limits":{"memory":67108864},'
        '"stdio":{"stderr":"inherit","stdin":"file","stdout":"none"},"timeout":2.5,"version":1}'
    )
    assert json.loads(text)["version"] == 1
    for private in ("LANG", "TOKEN", "verbose", "app/", "input.csv"):
        assert private not in text


def test_the_documented_file_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "programs.md").read_text()
    (text,) = (block.partition("```")[0] for block in page.split("```toml")[1:])
    read = _parse(text)
    assert (read.arguments, read.environment_from, read.timeout) == (("--verbose",), ("API_TOKEN",), 60.0)
    assert [x.guest for x in read.trees] == ["/data", "/etc/app.json"]
    assert read.stdout == Stream(StreamKind.FILE, BASE / "out.txt", BASE)


@pytest.mark.parametrize(
    "text",
    [
        "timeout = " + "9" * 5000,
        "timeout = 0x" + "f" * 6000,
        "args = [0x" + "f" * 6000 + "]",
        "[limits]\nmemory = 0x" + "f" * 6000,
        "args = " + "[" * 5000 + "]" * 5000,
        "args = " + "{a=" * 5000 + "1" + "}" * 5000,
        "args" + ".a" * 5000 + " = 1",
        "cpu" + ".a" * 5000 + " = 1",
    ],
    ids=["digits", "hex", "hex in a list", "hex as memory", "lists", "tables", "dotted", "dotted value"],
)
def test_a_file_made_to_break_its_reader_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _parse(text)
    assert refused.value.exit_code == 67
    assert len(str(refused.value)) < 1000


def test_saying_what_is_wrong_takes_no_longer_for_a_long_line() -> None:
    """Matched as a whole, the line of brackets would take hours."""
    with pytest.raises(ConfigurationError, match="unknown"):
        _parse('env.A = """\n[' + " " * 900_000 + '\n"""\nunknown = 1')
