"""The emulator is an optional extra: said by name where it is absent, loaded late, let go of."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.simulator.machine import programs
from tests.simulator.machine.bare import Computer, reset_area
from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.simulator.core import engine
from wasmkeep.simulator.core.exits import ControlBlock
from wasmkeep.simulator.core.state import QUADWORDS
from wasmkeep.simulator.core.vcpu import Vcpu
from wasmkeep.simulator.nested_paging import NestedTable
from wasmkeep.simulator.vmexit import ExitCode

SOURCE = Path(engine.__file__).resolve().parents[2]


def test_its_absence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "unicorn", None)
    with pytest.raises(PlatformUnavailable) as refused:
        Computer()
    assert "wasmkeep[emulator]" in str(refused.value)
    assert "GPL-2.0" in str(refused.value)


def test_another_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.Engine, "_verified", False)
    monkeypatch.setitem(QUADWORDS, "r15", QUADWORDS["r15"] + 8)
    with Computer().guest({0: programs.PRINT_SEVEN}) as guest, pytest.raises(PlatformUnavailable) as refused:
        guest.cpu.run()
    assert "2.1.4" in str(refused.value)


def test_nobody_else_imports_it() -> None:
    """Its licence ends at the one module that does, inside a function."""
    importers = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "unicorn" for name in names):
                importers.add(path.relative_to(SOURCE).as_posix())
    assert importers == {"simulator/core/engine.py"}


def test_it_is_not_loaded_with_the_machine() -> None:
    """Only the first bare guest that runs needs it."""
    script = "import sys, wasmkeep.simulator.__main__; sys.exit('unicorn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_an_emulator_goes_with_its_guest() -> None:
    """Without waiting for a collection: a guest's end is when its memory is given back."""
    with Computer().guest({0: programs.PRINT_SEVEN}) as guest:
        assert guest.printed() == b"7"
        assert guest.cpu._vcpu is not None
        emulator = guest.cpu._vcpu._engine._emulator
        assert emulator._Uc__finalizer.alive  # type: ignore[attr-defined]
    assert not emulator._Uc__finalizer.alive  # type: ignore[attr-defined]


def test_nothing_decrypted_is_left_between_entries() -> None:
    contents = {0: programs.PRINT_SECRET, programs.SECRET_AT: programs.SECRET}
    with Computer().guest(contents) as guest:
        guest.cpu.run()
        vcpu = guest.cpu._vcpu
        assert vcpu is not None
        assert not any(vcpu._engine.lines[engine.LINES_BASE :])


@pytest.mark.parametrize("lines", [2, 3, 64])
def test_a_guest_with_more_pages_than_a_core_holds(lines: int) -> None:
    """Pages are written back to make room, in the midst of a run."""
    # mov di, 1000h · again: mov [di], di · add di, 1000h · jnc again · hlt
    code = bytes.fromhex("bf 00 10  89 3d  81 c7 00 10  73 f8  f4")
    computer = Computer()
    with computer.guest({0: code}) as guest:
        vcpu = Vcpu(
            computer.controller, NestedTable(guest.cpu.spa(0, 1), guest.cpu.size), threading.Event(), lines
        )
        area = reset_area()
        block = ControlBlock(asid=guest.asid, sev=True, save=area)
        found = vcpu.run(block, 10.0)
        vcpu.close()
        assert found.code is ExitCode.HLT
        for page in range(1, 16):
            assert guest.cpu.read(page * PAGE, 2) == (page * PAGE).to_bytes(2, "little")
