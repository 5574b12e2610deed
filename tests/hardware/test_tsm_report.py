"""configfs ``tsm/report`` against a stand-in that behaves as the kernel does, races included."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hardware.configfs import COUNTER, FOLDER, Blobs, Configfs, Item
from tests.hardware.guest_kernel import SevGuestKernel
from tests.hardware.providers import SevGuestProvider, TdxGuestProvider, quote_of_nobody
from tests.simulator.bench import Bench, Channel
from wasmkeep.errors import PlatformUnavailable, SystemFailure, WasmkeepError
from wasmkeep.evidence.snp import report as verifier
from wasmkeep.evidence.snp import table
from wasmkeep.hardware import tsm_report
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


# What a provider answers


def test_snp_gives_report_and_certificates() -> None:
    found = asked(Configfs(snp()))
    assert found.provider == "sev_guest"
    assert verifier.parse(found.report).report_data == DATA
    assert found.auxiliary == TABLE
    assert found.manifest == b""


def test_snp_without_certificates_has_an_empty_auxblob() -> None:
    assert asked(Configfs(snp(certificates=b""))).auxiliary == b""


def test_tdx_gives_a_quote_and_nothing_beside_it() -> None:
    assert asked(Configfs(tdx())) == TsmReport("tdx_guest", quote_of_nobody(DATA), b"", b"")


@pytest.mark.parametrize("level", [0, 1, 3])
def test_a_privilege_level_is_the_reports_vmpl(level: int) -> None:
    found = asked(Configfs(snp()), TsmRequest(DATA, privilege_level=level))
    assert verifier.parse(found.report).vmpl == level


def test_the_lowest_level_that_is_offered_is_asked_for() -> None:
    """The kernel's own default is 0, which a guest at another level cannot have."""
    assert verifier.parse(asked(Configfs(snp(vmpck=2))).report).vmpl == 2


def test_a_level_below_the_floor_is_refused_by_the_kernel() -> None:
    error = refused(Configfs(snp(vmpck=2)), TsmRequest(DATA, privilege_level=1))
    assert (error.check, error.found[:6]) == ("platform.tsm.refused", "EINVAL")
    assert error.message == "privlevel was not taken"


def test_an_svsm_answers_with_its_manifest() -> None:
    request = TsmRequest(DATA, service_provider="svsm", service_guid=GUID, service_manifest_version=1)
    found = asked(Configfs(snp(vmpck=2, svsm=True)), request)
    assert found.manifest.endswith(f"{GUID} 1".encode())
    assert verifier.parse(found.report).report_data == hashlib.sha512(DATA + found.manifest).digest()
    assert verifier.parse(found.report).vmpl == 2


def test_a_service_that_nobody_offers_is_refused_by_the_provider() -> None:
    error = refused(Configfs(snp(vmpck=2, svsm=True)), TsmRequest(DATA, service_provider="other"))
    assert (error.check, error.found[:6]) == ("platform.tsm.refused", "EINVAL")


def test_a_guid_that_is_none_is_refused() -> None:
    request = TsmRequest(DATA, service_provider="svsm", service_guid="vtpm")
    assert refused(Configfs(snp(vmpck=2, svsm=True)), request).message == "service_guid was not taken"


@pytest.mark.parametrize(
    ("request_", "attribute"),
    [
        (TsmRequest(DATA, privilege_level=0), "privlevel"),
        (TsmRequest(DATA, service_provider="svsm"), "service_provider"),
    ],
    ids=["level", "service"],
)
def test_an_option_that_a_provider_does_not_have_is_named(request_: TsmRequest, attribute: str) -> None:
    error = refused(Configfs(tdx()), request_)
    assert error.check == "platform.tsm.option"
    assert attribute in error.message
    assert error.found == "provider tdx_guest"


def test_who_would_answer() -> None:
    files = Configfs(snp(vmpck=1))
    assert tsm_report.provider(files=files) == ("sev_guest", 1)
    assert tsm_report.provider(files=Configfs(tdx())) == ("tdx_guest", None)
    assert not files.items
    files.mkdir(f"{FOLDER}/taken", 0o700)
    with pytest.raises(SystemFailure, match="in use"):
        tsm_report.provider(files=files, name=lambda: "taken")


# Somebody else at the same entry


MOMENTS = [
    ("open", "generation"),
    ("open", "inblob"),
    ("write", "inblob"),
    ("close", "inblob"),
    ("open", "outblob"),
    ("read", "outblob"),
    ("between", "outblob"),
    ("close", "outblob"),
    ("open", "auxblob"),
    ("between", "auxblob"),
    ("close", "auxblob"),
    ("open", "provider"),
]


def overwrite(files: Configfs) -> Callable[[], None]:
    """Somebody writes their own report data."""

    def act() -> None:
        for item in files.items.values():
            item.advance()
            item.request.inblob = OTHER

    return act


@pytest.mark.parametrize(("operation", "name"), MOMENTS)
def test_somebody_elses_data_never_reaches_us(operation: str, name: str) -> None:
    files = Configfs(snp())
    once(operation, name, overwrite(files), files)
    found = asked(files)
    assert verifier.parse(found.report).report_data == DATA
    assert found.auxiliary == TABLE


@pytest.mark.parametrize(("operation", "name"), [moment for moment in MOMENTS if moment[1] != "generation"])
def test_who_interferes_every_time_is_reported(operation: str, name: str) -> None:
    files = Configfs(snp())
    always(operation, name, overwrite(files), files)
    error = refused(files)
    assert error.check == "platform.tsm.race"
    assert "generation" in error.found
    assert error.found.endswith("3 times")


@pytest.mark.parametrize(("operation", "name"), MOMENTS)
def test_an_entry_that_somebody_removes_is_made_again(operation: str, name: str) -> None:
    files = Configfs(snp())

    def remove() -> None:
        for path in tuple(files.items):
            files.rmdir(path)

    once(operation, name, remove, files)
    assert verifier.parse(asked(files).report).report_data == DATA
    always(operation, name, remove, files)
    assert refused(files).check == "platform.tsm.race"


@pytest.mark.parametrize("others", [OTHER, b""], ids=["others", "none"])
def test_report_data_that_the_kernel_dropped_at_close_is_noticed(others: bytes) -> None:
    """With all numbers used up the kernel takes no write, and says nothing where one is taken at close."""
    files = Configfs(snp())

    def use_up() -> None:
        item = someone(files)
        item.request.inblob = others
        item.written = (item.read - 1) % COUNTER

    once("open", "inblob", use_up, files)
    assert verifier.parse(asked(files).report).report_data == DATA


def test_a_busy_option_is_a_race() -> None:
    files = Configfs(snp())

    def use_up() -> None:
        someone(files).written = COUNTER - 1

    once("write", "privlevel", use_up, files)
    assert verifier.parse(asked(files, TsmRequest(DATA, privilege_level=1)).report).vmpl == 1
    always("write", "privlevel", use_up, files)
    assert refused(files, TsmRequest(DATA, privilege_level=1)).found.startswith("privlevel is busy")


def test_generation_goes_round_at_64_bits() -> None:
    files = Configfs(snp())

    def near_the_end() -> None:
        item = someone(files)
        item.written, item.read = COUNTER - 1, 5

    once("open", "generation", near_the_end, files)
    found = ask(TsmRequest(DATA), files=files, name=iter(["the only one"]).__next__)
    assert verifier.parse(found.report).report_data == DATA


def test_a_name_that_is_taken_is_not_touched() -> None:
    files = Configfs(snp())
    files.mkdir(f"{FOLDER}/test-0", 0o700)
    theirs = files.items[f"{FOLDER}/test-0"]
    names = itertools.count()
    found = ask(TsmRequest(DATA), files=files, name=lambda: f"test-{next(names)}")
    assert verifier.parse(found.report).report_data == DATA
    assert files.items == {f"{FOLDER}/test-0": theirs}
    assert theirs.written == 0


# What is missing, and what goes wrong


def test_a_kernel_without_a_provider_says_which_driver_to_load() -> None:
    error = refused(Configfs(None))
    assert (error.check, error.exit_code) == ("platform.tsm.provider", 69)
    assert "modprobe" in error.remedy


def test_permission_is_told_apart() -> None:
    error = refused(Configfs(snp(), root=False))
    assert (error.check, error.remedy) == ("platform.tsm.permission", "run it as root")


def test_a_kernel_without_the_folder_is_told_apart() -> None:
    with pytest.raises(PlatformUnavailable) as refusal:
        ask(TsmRequest(DATA), folder="/elsewhere", files=Configfs(snp()))
    assert refusal.value.check == "platform.tsm.absent"


def test_a_folder_of_another_kind_is_unusable() -> None:
    class Odd(Configfs):
        def mkdir(self, path: str, _mode: int, /) -> None:
            raise OSError(errno.EROFS, "")

    assert refused(Odd(snp())).check == "platform.tsm.unusable"


def test_a_provider_that_goes_away_is_told() -> None:
    files = Configfs(tdx(errno.ENXIO))
    assert "modprobe" in refused(files).remedy


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EBUSY, "an earlier quote is still with the host"),
        (errno.EIO, "quoting service"),
        (errno.ETIMEDOUT, "quoting service"),
        (errno.EINVAL, "64 bytes"),
    ],
)
def test_what_a_quoting_service_refuses_comes_with_advice(number: int, advice: str) -> None:
    error = refused(Configfs(tdx(number)))
    assert error.check == "platform.tsm.refused"
    assert error.found.startswith(errno.errorcode[number])
    assert advice in error.remedy


def test_a_wiped_message_key_is_told() -> None:
    provider = snp()
    provider.kernel.wiped = True
    assert "start this guest again" in refused(Configfs(provider)).remedy


@pytest.mark.parametrize("size", [1, 32, 63])
def test_report_data_that_the_provider_does_not_take_is_refused(size: int) -> None:
    error = refused(Configfs(snp()), TsmRequest(bytes(size)))
    assert (error.check, error.found[:6]) == ("platform.tsm.refused", "EINVAL")


def test_a_report_larger_than_the_kernel_passes_on() -> None:
    provider = TdxGuestProvider(lambda data: bytes(40 << 10))
    assert refused(Configfs(provider)).found.startswith("EFBIG")


def test_an_empty_report_is_none() -> None:
    assert refused(Configfs(TdxGuestProvider(lambda data: b""))).check == "platform.tsm.malformed"


@pytest.mark.parametrize(
    "change", [{"report_data": b""}, {"report_data": bytes(65)}, {"level": -1}, {"level": 4}]
)
def test_requests_out_of_range_are_the_callers_mistake(change: dict[str, bytes | int]) -> None:
    data, level = change.get("report_data", DATA), change.get("level", 0)
    assert isinstance(data, bytes)
    assert isinstance(level, int)
    with pytest.raises(ValueError, match=r"64 bytes|0 to 3"):
        TsmRequest(data, privilege_level=level)


@pytest.mark.parametrize(
    ("name", "content"),
    [("generation", "x"), ("generation", ""), ("generation", "1" * 21), ("provider", "\x1b[2J")],
)
def test_a_kernel_that_answers_otherwise_is_refused(
    name: str, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = Item.show
    monkeypatch.setattr(
        Item, "show", lambda item, which: content.encode() if which == name else show(item, which)
    )
    assert refused(Configfs(snp())).check == "platform.tsm.malformed"


def test_blobs_without_end_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Configfs(tdx())
    monkeypatch.setattr(files, "read", lambda descriptor, count: b"1" * count)
    assert refused(files).check == "platform.tsm.malformed"


def test_a_write_in_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Configfs(tdx())
    monkeypatch.setattr(files, "write", lambda descriptor, data: len(data) - 1)
    assert "63 of 64 bytes" in refused(files).found


def test_an_interruption_removes_the_entry() -> None:
    files = Configfs(tdx())

    def interrupt() -> None:
        raise KeyboardInterrupt

    once("read", "outblob", interrupt, files)
    with pytest.raises(KeyboardInterrupt):
        asked(files)


# The stand-in itself


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


# A real directory


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
