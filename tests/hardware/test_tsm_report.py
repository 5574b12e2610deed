"""configfs ``tsm/report`` against a stand-in that behaves as the kernel does."""

from __future__ import annotations

import errno
import hashlib

import pytest

from tests.hardware.asking import DATA, GUID, TABLE, asked, once, refused, snp, tdx
from tests.hardware.configfs import FOLDER, Configfs, Item
from tests.hardware.providers import TdxGuestProvider, quote_of_nobody
from wasmkeep.errors import PlatformUnavailable, SystemFailure
from wasmkeep.evidence.snp import report as verifier
from wasmkeep.hardware import tsm_report
from wasmkeep.hardware.tsm_report import TsmReport, TsmRequest, ask

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
