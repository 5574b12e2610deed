"""What the flags of ``host serve`` become."""

from __future__ import annotations

import pytest

from wasmkeep.cli import commands, parser, serving
from wasmkeep.cli.host_serve import LIMITS
from wasmkeep.errors import ConfigurationError
from wasmkeep.host.settings import Limits

VALUES = {"N": ("7", 7), "SIZE": ("64MiB", 64 << 20), "SECONDS": ("2.5", 2.5)}


def limits(*flags: str) -> Limits:
    found = commands.find(["host", "serve"])
    assert found is not None
    command, _ = found
    return serving._limits(parser.parser_for(command, parser.load(command)).parse_args(list(flags)))


def test_without_flags_every_limit_is_the_default() -> None:
    assert limits() == Limits()


@pytest.mark.parametrize("flag", [row[0] for row in LIMITS])
def test_every_flag_sets_its_limit_and_no_other(flag: str) -> None:
    (row,) = [row for row in LIMITS if row[0] == flag]
    _, field, metavar, _ = row
    text, value = VALUES[metavar]
    changed = limits(flag, text)
    assert getattr(changed, field) == value != getattr(Limits(), field)
    for other in Limits.__dataclass_fields__:
        assert other == field or getattr(changed, other) == getattr(Limits(), other)


@pytest.mark.parametrize("row", LIMITS, ids=[row[0] for row in LIMITS])
def test_help_states_the_default(row: tuple[str, str, str, str]) -> None:
    _, field, metavar, text = row
    said = text.rpartition("; ")[2].removeprefix("default: ")
    if field != "total_memory":
        default = getattr(Limits(), field)
        assert said == (f"{default >> 30}GiB" if metavar == "SIZE" else f"{default:g}")


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        limits("--keeps-per-token", "0")
    assert caught.value.check == "host.limits"
