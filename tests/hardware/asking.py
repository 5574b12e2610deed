"""Asking configfs ``tsm/report`` of a stand-in, and somebody else who uses it at the same moment."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.hardware.configfs import Configfs, Item
from tests.hardware.guest_kernel import SevGuestKernel
from tests.hardware.providers import SevGuestProvider, TdxGuestProvider, quote_of_nobody
from tests.simulator.bench import Bench, Channel
from wasmkeep.errors import PlatformUnavailable, SystemFailure, WasmkeepError
from wasmkeep.evidence.snp import table
from wasmkeep.hardware.tsm_report import TsmReport, TsmRequest, ask

DATA = bytes(range(64))
OTHER = b"\xee" * 64
TABLE = table.encode(table.CertificateTable(vcek=b"\x30" + b"v" * 900, ask=b"\x30" + b"a" * 1500))
GUID = "c476f1eb-0123-45a5-9641-b4e7dde5bfe3"


def snp(*, vmpck: int = 0, svsm: bool = False, certificates: bytes = TABLE) -> SevGuestProvider:
    bench = Bench()
    return SevGuestProvider(SevGuestKernel(Channel(bench, bench.running(), vmpck), certificates), svsm)


def tdx(failure: int = 0) -> TdxGuestProvider:
    return TdxGuestProvider(quote_of_nobody, failure)


def asked(files: Configfs, request: TsmRequest | None = None) -> TsmReport:
    """A report; nothing may be left behind, whatever happened."""
    names = itertools.count()
    try:
        return ask(request or TsmRequest(DATA), files=files, name=lambda: f"test-{next(names)}")
    finally:
        assert not files.items
        assert not files.opened


def refused(files: Configfs, request: TsmRequest | None = None) -> WasmkeepError:
    with pytest.raises((SystemFailure, PlatformUnavailable)) as refusal:
        asked(files, request)
    return refusal.value


def someone(files: Configfs) -> Item:
    """The entry that our driver has just now, for somebody else to use."""
    (item,) = files.items.values()
    return item


def once(operation: str, name: str, act: Callable[[], None], files: Configfs) -> None:
    """Let somebody act at the first such moment, once."""
    done: list[bool] = []

    def moment(what: str, which: str) -> None:
        if (what, which) == (operation, name) and not done:
            done.append(True)
            act()

    files.moment = moment


def always(operation: str, name: str, act: Callable[[], None], files: Configfs) -> None:
    def moment(what: str, which: str) -> None:
        if (what, which) == (operation, name):
            act()

    files.moment = moment
