"""The configfs driver on a real directory tree: the stand-in, mounted, and nothing of the driver replaced."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hardware.configfs import FOLDER, Configfs
from tests.hardware.guest_kernel import SevGuestKernel
from tests.hardware.mounted import mounted
from tests.hardware.providers import SevGuestProvider, TdxGuestProvider, quote_of_nobody
from tests.simulator.bench import Bench, Channel
from wasmkeep.errors import PlatformUnavailable, SystemFailure
from wasmkeep.evidence.snp import report as verifier
from wasmkeep.evidence.snp import table
from wasmkeep.hardware import tsm_report
from wasmkeep.hardware.tsm_report import TsmRequest, ask

DATA = bytes(range(64))
TABLE = table.encode(table.CertificateTable(vcek=b"\x30" + b"v" * 900, ask=b"\x30" + b"a" * 1500))


@pytest.fixture
def files() -> Configfs:
    bench = Bench()
    kernel = SevGuestKernel(Channel(bench, bench.running(), 1), TABLE)
    return Configfs(SevGuestProvider(kernel))


@pytest.fixture
def folder(files: Configfs, tmp_path: Path) -> Iterator[str]:
    try:
        with mounted(files, tmp_path) as path:
            yield path
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error.strerror}")
    assert not files.items
    assert not files.opened


def test_the_tree_is_a_real_one(files: Configfs, folder: str) -> None:
    os.mkdir(f"{folder}/x")
    assert sorted(os.listdir(f"{folder}/x")) == sorted(files.items[f"{FOLDER}/x"].provider.attributes)
    with pytest.raises(PermissionError):
        os.open(f"{folder}/x/inblob", os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument"):
        Path(folder, "x", "outblob").read_bytes()
    assert Path(folder, "x", "generation").read_bytes() == b"0\n"
    with open(f"{folder}/x/inblob", "wb", buffering=0) as inblob:
        inblob.write(DATA)
        assert Path(folder, "x", "generation").read_bytes() == b"0\n"
    assert Path(folder, "x", "generation").read_bytes() == b"1\n"
    os.rmdir(f"{folder}/x")
    assert not os.path.exists(f"{folder}/x")


def test_a_report_is_had_by_the_drivers_own_calls(folder: str) -> None:
    assert tsm_report.provider(folder=folder) == ("sev_guest", 1)
    before = len(os.listdir("/proc/self/fd"))
    found = ask(TsmRequest(DATA), folder=folder)
    assert len(os.listdir("/proc/self/fd")) == before
    assert verifier.parse(found.report).report_data == DATA
    assert verifier.parse(found.report).vmpl == 1
    assert found.auxiliary == TABLE
    assert verifier.parse(ask(TsmRequest(DATA, privilege_level=3), folder=folder).report).vmpl == 3


def test_refusals_are_those_of_the_kernel(files: Configfs, folder: str) -> None:
    with pytest.raises(SystemFailure, match="privlevel was not taken"):
        ask(TsmRequest(DATA, privilege_level=0), folder=folder)
    with pytest.raises(SystemFailure, match="has no service_provider"):
        ask(TsmRequest(DATA, service_provider="svsm"), folder=folder)
    with pytest.raises(SystemFailure, match="there is no outblob"):
        ask(TsmRequest(bytes(32)), folder=folder)
    files.provider = None
    with pytest.raises(PlatformUnavailable, match="no driver answers"):
        ask(TsmRequest(DATA), folder=folder)


def test_tdx_is_asked_the_same_way(files: Configfs, folder: str) -> None:
    files.provider = TdxGuestProvider(quote_of_nobody)
    assert ask(TsmRequest(DATA), folder=folder).report == quote_of_nobody(DATA)


@pytest.mark.parametrize("moment", [("open", "outblob"), ("between", "outblob"), ("open", "auxblob")])
def test_a_race_is_noticed_there_too(moment: tuple[str, str], files: Configfs, folder: str) -> None:
    first = itertools.count()

    def act(operation: str, name: str) -> None:
        if (operation, name) == moment and next(first) == 0:
            for item in files.items.values():
                item.advance()
                item.request.inblob = b"\xee" * 64

    files.moment = act
    found = ask(TsmRequest(DATA), folder=folder)
    assert verifier.parse(found.report).report_data == DATA
