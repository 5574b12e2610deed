"""The harness of ``make bench``: what it chooses, what it writes, how it compares. Nothing is timed here."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from benchmarks.__main__ import BENCHES, chosen, main
from benchmarks.results import GOALS, Result, median, percentile, table, write
from benchmarks.timing import interleaved

from wasmkeep.errors import UsageError

FIGURES = [
    Result("start", "p50", 12.0, "ms", "floor", 3.0),
    Result("start", "p95", 15.5, "ms", "floor", 3.875),
    Result("idle", "memory", 0.8, "MiB", "", None),
]


@pytest.fixture(autouse=True)
def _environment_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command points these elsewhere, for itself and its children; here it is not alone."""
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, "")


async def _two() -> list[Result]:
    return FIGURES[:2]


async def _one() -> list[Result]:
    return FIGURES[2:]


async def _fails() -> list[Result]:
    raise UsageError("bench.test", "this one cannot be measured")


def test_the_list_for_machines_has_exactly_the_documented_members(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    write(FIGURES, path)
    listed = json.loads(path.read_text())
    assert [list(figure) for figure in listed] == [
        ["bench", "metric", "value", "unit", "reference", "ratio"]
    ] * 3
    assert listed[0]["ratio"] == 3.0
    assert listed[2]["ratio"] is None


def test_the_table_says_which_goals_are_met() -> None:
    lines = table([*FIGURES, Result("cli", "help", 90.0, "ms", "python", 3.1)]).splitlines()
    assert len(lines) == 5
    assert "met" in lines[1]
    assert "met" not in lines[2] + lines[3]
    assert "MISSED" in lines[4]


def test_goals_are_for_benches_that_exist() -> None:
    assert {bench for bench, _ in GOALS} <= set(BENCHES)


@pytest.mark.parametrize("only", ["start", "cli,start", " start , cli "])
def test_only_chooses_in_the_usual_order(only: str) -> None:
    names = [name.strip() for name in only.split(",")]
    assert list(chosen(only)) == [name for name in BENCHES if name in names]


@pytest.mark.parametrize("only", ["", ",", "start,fast", "START"])
def test_an_unknown_bench_is_an_error_that_names_the_known_ones(only: str) -> None:
    with pytest.raises(UsageError) as raised:
        chosen(only)
    assert raised.value.required == ", ".join(BENCHES)


def test_the_command_measures_what_is_chosen_and_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bench.json"
    assert main(["--only", "two"], benches={"one": _one, "two": _two}, output=output, build=tmp_path) == 0
    assert [figure["metric"] for figure in json.loads(output.read_text())] == ["p50", "p95"]
    assert "p95" in capsys.readouterr().out


def test_what_was_measured_is_kept_when_a_later_bench_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bench.json"
    code = main([], benches={"one": _one, "fails": _fails}, output=output, build=tmp_path)
    assert code == UsageError.exit_code
    assert len(json.loads(output.read_text())) == 1
    assert "cannot be measured" in capsys.readouterr().err


def test_an_unknown_name_measures_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bench.json"
    code = main(["--only", "three"], benches={"one": _one}, output=output, build=tmp_path)
    assert code == UsageError.exit_code
    assert not output.exists()
    assert "three" in capsys.readouterr().err


def test_percentiles_are_samples() -> None:
    samples = [float(number) for number in range(100, 0, -1)]
    assert median(samples) == 51.0
    assert percentile(samples, 0.95) == 96.0
    assert percentile(samples, 1.0) == 100.0
    assert median([7.0]) == 7.0


def test_subjects_alternate_and_the_warm_up_does_not_count() -> None:
    order: list[str] = []

    async def first() -> float:
        order.append("first")
        return float(len(order))

    async def second() -> float:
        order.append("second")
        return float(len(order))

    samples = asyncio.run(interleaved({"first": first, "second": second}, rounds=2, warm_up=1))
    assert order == ["first", "second", "second", "first", "first", "second"]
    assert samples == {"first": [4.0, 5.0], "second": [3.0, 6.0]}
