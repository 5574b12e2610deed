"""Exit codes as a process can pass them on."""

from __future__ import annotations

import pytest

from wasmkeep.cli.deploying import exit_code


@pytest.mark.parametrize(
    ("program", "process"), [(0, 0), (1, 1), (134, 134), (255, 255), (256, 255), (257, 1), (0xFFFF_FF00, 255)]
)
def test_a_failure_stays_one(program: int, process: int) -> None:
    assert exit_code(program) == process
