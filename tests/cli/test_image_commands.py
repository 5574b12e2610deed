"""``wasmkeep image measure`` and ``image show``: every kind of keep, from this installation alone."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import require_images
from wasmkeep.cli.__main__ import main
from wasmkeep.image import MachineKind, expected_launch_digest, launch, read_image


@pytest.fixture(autouse=True)
def _images() -> None:
    require_images()


@pytest.mark.parametrize("kind", MachineKind)
def test_measure_says_what_a_launch_must_measure(
    kind: MachineKind, capsys: pytest.CaptureFixture[str]
) -> None:
    process = ["--process"] if kind.process else []
    assert main(["image", "measure", "--tee", kind.tee, "--memory", "64MiB", *process]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == expected_launch_digest(launch(kind, read_image(kind), 64 << 20)).hex()
    assert ("no claim of addresses" in said.err) is kind.pre_attested
    assert ("where it starts" in said.err) is (kind.tee == "sev")


def test_measure_says_it_to_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "measure", "--tee", "sev-es", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({row["launch_digest"] for row in rows}) == len(rows) == 8
    assert {(row["tee"], row["kind"], row["vcpus"]) for row in rows} == {("sev-es", "sev-es", 1)}


def test_show_lists_every_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "show", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    shown = {row["kind"]: (row["tee"], row["simulated_only"]) for row in json.loads(line)}
    assert shown == {kind.value: (kind.tee, kind.process) for kind in MachineKind}
    assert main(["image", "show"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(MachineKind)


def test_measure_knows_no_other_tee(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "measure", "--tee", "tdx"]) == 64
    assert "sev-es" in capsys.readouterr().err
