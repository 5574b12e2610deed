"""Somebody else at the same entry of configfs ``tsm/report``, at every moment of a request."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.hardware.asking import DATA, OTHER, TABLE, always, asked, once, refused, snp, someone
from tests.hardware.configfs import COUNTER, FOLDER, Configfs
from wasmkeep.evidence.snp import report as verifier
from wasmkeep.hardware.tsm_report import TsmRequest, ask

MOMENTS = [
    ("open", "generation"),
    ("open", "inblob"),
    ("write", "inblob"),
    ("close", "inblob"),
    ("open", "outblob"),
    ("read", "outblob"),
    ("between", "outblob"),
    ("close", "outblob"),
    ("open", "auxblob"),
    ("between", "auxblob"),
    ("close", "auxblob"),
    ("open", "provider"),
]


def overwrite(files: Configfs) -> Callable[[], None]:
    """Somebody writes their own report data."""

    def act() -> None:
        for item in files.items.values():
            item.advance()
            item.request.inblob = OTHER

    return act


@pytest.mark.parametrize(("operation", "name"), MOMENTS)
def test_somebody_elses_data_never_reaches_us(operation: str, name: str) -> None:
    files = Configfs(snp())
    once(operation, name, overwrite(files), files)
    found = asked(files)
    assert verifier.parse(found.report).report_data == DATA
    assert found.auxiliary == TABLE


@pytest.mark.parametrize(("operation", "name"), [moment for moment in MOMENTS if moment[1] != "generation"])
def test_who_interferes_every_time_is_reported(operation: str, name: str) -> None:
    files = Configfs(snp())
    always(operation, name, overwrite(files), files)
    error = refused(files)
    assert error.check == "platform.tsm.race"
    assert "generation" in error.found
    assert error.found.endswith("3 times")


@pytest.mark.parametrize(("operation", "name"), MOMENTS)
def test_an_entry_that_somebody_removes_is_made_again(operation: str, name: str) -> None:
    files = Configfs(snp())

    def remove() -> None:
        for path in tuple(files.items):
            files.rmdir(path)

    once(operation, name, remove, files)
    assert verifier.parse(asked(files).report).report_data == DATA
    always(operation, name, remove, files)
    assert refused(files).check == "platform.tsm.race"


@pytest.mark.parametrize("others", [OTHER, b""], ids=["others", "none"])
def test_report_data_that_the_kernel_dropped_at_close_is_noticed(others: bytes) -> None:
    """With all numbers used up the kernel takes no write, and says nothing where one is taken at close."""
    files = Configfs(snp())

    def use_up() -> None:
        item = someone(files)
        item.request.inblob = others
        item.written = (item.read - 1) % COUNTER

    once("open", "inblob", use_up, files)
    assert verifier.parse(asked(files).report).report_data == DATA


def test_a_busy_option_is_a_race() -> None:
    files = Configfs(snp())

    def use_up() -> None:
        someone(files).written = COUNTER - 1

    once("write", "privlevel", use_up, files)
    assert verifier.parse(asked(files, TsmRequest(DATA, privilege_level=1)).report).vmpl == 1
    always("write", "privlevel", use_up, files)
    assert refused(files, TsmRequest(DATA, privilege_level=1)).found.startswith("privlevel is busy")


def test_generation_goes_round_at_64_bits() -> None:
    files = Configfs(snp())

    def near_the_end() -> None:
        item = someone(files)
        item.written, item.read = COUNTER - 1, 5

    once("open", "generation", near_the_end, files)
    found = ask(TsmRequest(DATA), files=files, name=iter(["the only one"]).__next__)
    assert verifier.parse(found.report).report_data == DATA


def test_a_name_that_is_taken_is_not_touched() -> None:
    files = Configfs(snp())
    files.mkdir(f"{FOLDER}/test-0", 0o700)
    theirs = files.items[f"{FOLDER}/test-0"]
    names = itertools.count()
    found = ask(TsmRequest(DATA), files=files, name=lambda: f"test-{next(names)}")
    assert verifier.parse(found.report).report_data == DATA
    assert files.items == {f"{FOLDER}/test-0": theirs}
    assert theirs.written == 0
