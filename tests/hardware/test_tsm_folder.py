"""The rules of the configfs stand-in itself; and the driver on real folders that are not the kernel's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hardware.asking import DATA, snp
from tests.hardware.configfs import FOLDER, Blobs, Configfs
from wasmkeep.errors import PlatformUnavailable, SystemFailure
from wasmkeep.hardware.tsm_report import TsmReport, TsmRequest, ask


def test_the_stand_in_holds_to_the_kernels_rules() -> None:
    files = Configfs(snp())
    path = f"{FOLDER}/x"
    files.mkdir(path, 0o755)
    for name, flags in (("inblob", os.O_RDONLY), ("outblob", os.O_WRONLY), ("generation", os.O_RDWR)):
        with pytest.raises(PermissionError):
            files.open(f"{path}/{name}", flags)
    out = files.open(f"{path}/outblob", os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument"):
        files.read(out, 1)  # no report data yet
    inblob = files.open(f"{path}/inblob", os.O_WRONLY)
    files.write(inblob, DATA)
    assert files.items[path].written == 0  # not before it is closed
    with pytest.raises(OSError, match="too large"):
        files.write(inblob, b"x")
    files.close(inblob)
    assert files.items[path].written == 1
    assert len(files.read(out, 1 << 16)) == 1184
    files.rmdir(path)
    with pytest.raises(FileNotFoundError):
        files.open(f"{path}/generation", os.O_RDONLY)


class RealFolder:
    """System calls on a real folder, where a new entry is filled with files and a report appears when the
    report data is closed. What a file system does by itself, such as permissions and descriptors, is its own.
    """

    def __init__(self, blobs: Callable[[bytes], Blobs]) -> None:
        self._blobs = blobs
        self._inblob: dict[int, str] = {}

    def mkdir(self, path: str, mode: int, /) -> None:
        os.mkdir(path, mode)
        for name, content in (("generation", "0\n"), ("provider", "sev_guest\n"), ("privlevel_floor", "0\n")):
            Path(path, name).write_text(content)
        for name in ("inblob", "privlevel", "outblob", "auxblob"):
            Path(path, name).touch()

    def rmdir(self, path: str, /) -> None:
        for one in Path(path).iterdir():
            one.unlink()
        os.rmdir(path)

    def open(self, path: str, flags: int, /) -> int:
        descriptor = os.open(path, flags)
        assert not os.get_inheritable(descriptor)
        if flags & os.O_ACCMODE == os.O_WRONLY:
            self._inblob[descriptor] = path
        return descriptor

    def read(self, descriptor: int, count: int, /) -> bytes:
        return os.read(descriptor, min(count, 100))  # a kernel may give less

    def write(self, descriptor: int, data: bytes, /) -> int:
        return os.write(descriptor, data)

    def close(self, descriptor: int, /) -> None:
        os.close(descriptor)
        if (path := self._inblob.pop(descriptor, "")) == "":
            return
        entry = Path(path).parent
        written = int((entry / "generation").read_text()) + 1
        (entry / "generation").write_text(f"{written}\n")
        if path.endswith("inblob"):
            blobs = self._blobs(Path(path).read_bytes())
            (entry / "outblob").write_bytes(blobs.outblob)
            (entry / "auxblob").write_bytes(blobs.auxblob)


@pytest.mark.parametrize("level", [None, 2])
def test_a_real_folder_is_used_as_one(tmp_path: Path, level: int | None) -> None:
    files = RealFolder(lambda data: Blobs(b"report of " + data, b"certificates" * 300))
    found = ask(TsmRequest(DATA, privilege_level=level), folder=str(tmp_path), files=files)
    assert found == TsmReport("sev_guest", b"report of " + DATA, b"certificates" * 300, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_plain_folder_is_not_taken_for_the_kernels(tmp_path: Path) -> None:
    """The driver's own calls: nothing fills the entry, and nothing is left behind."""
    with pytest.raises(SystemFailure) as refusal:
        ask(TsmRequest(DATA), folder=str(tmp_path))
    assert refusal.value.check == "platform.tsm.race"
    assert "our entry is gone" in refusal.value.found
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PlatformUnavailable) as absent:
        ask(TsmRequest(DATA), folder=str(tmp_path / "no"))
    assert absent.value.check == "platform.tsm.absent"
