"""A user of one's own for each test. State and cache are shared: a machine's keys take seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from wasmkeep.errors import WasmkeepError
from wasmkeep.image import MachineKind, read_image

EXAMPLES = Path(__file__).parents[2] / "examples"
MACHINE = "tests"


@dataclass(frozen=True, slots=True)
class User:
    """Runs ``wasmkeep`` as a user would, in a folder of its own."""

    home: Path
    environment: Mapping[str, str]

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "wasmkeep.cli", *map(str, words)]

    def run(
        self, *words: str | Path, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            cwd=self.home,
            env={**self.environment, **(environment or {})},
            timeout=300,
            check=False,
        )

    def popen(self, *words: str | Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.home,
            env=dict(self.environment),
        )


@pytest.fixture
def user(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    scratch = tmp_path_factory.mktemp("t")  # short: sockets live there
    home = tmp_path / "home"
    home.mkdir()
    kept = {
        name: os.environ[name]
        for name in ("PATH", "LANG", "PYTHONPATH", "XDG_STATE_HOME", "XDG_CACHE_HOME")
        if name in os.environ
    }
    environment = {
        **kept,
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime),
        "TMPDIR": str(scratch),
    }
    yield User(home, environment)
    assert list(scratch.iterdir()) == [], "a command left files behind"


@pytest.fixture(scope="session", params=["kvm", "process"])
def cpu(request: pytest.FixtureRequest) -> str:
    """Each kind of keep, where this computer can run it."""
    if request.param == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no /dev/kvm here")
    require_images()
    return str(request.param)


def require_images() -> None:
    """Skip where the images are not built; ``make test`` builds them."""
    for kind in MachineKind:
        try:
            read_image(kind)
        except WasmkeepError as error:
            if error.check != "image.missing":
                raise
            pytest.skip(f"the keep images are not built: {error.message}")
