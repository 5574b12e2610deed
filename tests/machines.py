"""Simulated machines for tests: each a process of its own, booted once for every set of options."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import platformdirs

STATE = Path(platformdirs.user_state_dir("wasmkeep"))
HAS_KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)


@dataclass(frozen=True)
class BootedMachine:
    """A machine that runs. ``root`` is its pin; ``kds`` its folder of endorsements."""

    socket: str
    root: str
    kds: Path
    product: str
    cpu: str
    chip_id: bytes
    process: subprocess.Popen[bytes]


@cache
def machine(*options: str, name: str = "tests", product: str = "genoa", cpu: str = "auto") -> BootedMachine:
    """The machine with these further options of ``python -m wasmkeep.simulator``; ended with the tests."""
    folder = tempfile.mkdtemp(prefix="wasmkeep-test-")
    command = [sys.executable, "-m", "wasmkeep.simulator", "--machine", name, "--product", product]
    command += ["--cpu", cpu, "--socket", f"{folder}/machine", *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(_end, process, folder)
    if process.stdout is None:
        raise RuntimeError("a process without its pipe")
    ready = json.loads(process.stdout.readline())
    return BootedMachine(
        socket=ready["socket"],
        root=ready["root"],
        kds=Path(ready["kds"]),
        product=ready["product"],
        cpu=ready["cpu"],
        chip_id=bytes.fromhex(ready["chip_id"]),
        process=process,
    )


def _end(process: subprocess.Popen[bytes], folder: str) -> None:
    process.terminate()
    process.communicate(timeout=20)
    for path in Path(folder).iterdir():
        path.unlink()
    Path(folder).rmdir()
