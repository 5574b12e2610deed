"""``wasmkeep evidence collect`` and ``wasmkeep platform`` on stand-ins for real machines' kernels.

What a guest collects there, ``wasmkeep evidence verify`` accepts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from tests.evidence import dcap_rows, simulated_machines, simulated_rows
from tests.hardware.configfs import Configfs
from tests.hardware.guest_kernel import SevGuestKernel
from tests.hardware.providers import SevGuestProvider, TdxGuestProvider, quote_of_nobody
from tests.simulator.bench import Channel
from wasmkeep.cli import __main__ as entry
from wasmkeep.cli import platform_local
from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware import devices, psp_sev, sev_host, snp_guest_device, surroundings, tsm_report
from wasmkeep.hardware.calls import perform
from wasmkeep.hardware.devices import DeviceFound, DeviceState
from wasmkeep.hardware.psp_sev_calls import SevPlatformStatus
from wasmkeep.hardware.sev_commands import SevPlatformState
from wasmkeep.hardware.sev_host import HostStatus
from wasmkeep.hardware.snp_guest_device import SnpGuestDevice
from wasmkeep.hardware.surroundings import AMD, Surroundings

DATA = hashlib.sha512(b"a challenge").digest()
ASK = ("evidence", "collect", "--report-data", DATA.hex(), "-o", "evidence.bin")
Run = Callable[..., tuple[int, str, str]]


@dataclass
class Guest:
    """A guest's kernel, whatever one asks it by, and the pin of the machine it runs on."""

    kernel: SevGuestKernel
    configfs: Configfs
    pin: str = ""


def guest(name: str = "genoa-v3-chip-masked", *, vmpck: int = 0, svsm: bool = False) -> Guest:
    """One whose host gives it the certificates of that simulated row."""
    row = simulated_rows.row(name)
    machine = simulated_machines.machine(name)
    kernel = SevGuestKernel(Channel(machine.bench, machine.bench.running(), vmpck), row.extended()[1184:])
    return Guest(kernel, Configfs(SevGuestProvider(kernel, svsm)), row.pin)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, in this process, so that it can be given stand-ins."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))

    def command(*words: str) -> tuple[int, str, str]:
        code = entry.main(list(words))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def inside(
    monkeypatch: pytest.MonkeyPatch, this: Guest, *there: devices.Device, vmpl: int | None = None
) -> None:
    """Let wasmkeep find `there` on this computer, and this guest's kernel behind it."""

    def state(path: str) -> DeviceState:
        return DeviceState.PRESENT if path in {one.path for one in there} else DeviceState.ABSENT

    @contextmanager
    def opened() -> Iterator[SnpGuestDevice]:
        yield SnpGuestDevice(partial(perform, 7, ioctl=this.kernel))

    around = Surroundings(vendor=AMD, flags=frozenset({"hypervisor"}), kernel=(6, 12), vmpl=vmpl)
    monkeypatch.setattr(devices, "state_of", state)
    monkeypatch.setattr(snp_guest_device, "open_snp_guest", opened)
    monkeypatch.setattr(surroundings, "look", lambda: around)
    monkeypatch.setattr(tsm_report, "ask", partial(tsm_report.ask, files=this.configfs))
    monkeypatch.setattr(tsm_report, "provider", partial(tsm_report.provider, files=this.configfs))


@pytest.mark.parametrize("via", ["sev-guest", "tsm"])
@pytest.mark.parametrize("name", ["genoa-v3-chip-masked", "turin-v5-vlek"])
def test_what_a_guest_collects_is_accepted(
    name: str, via: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    this = guest(name)
    inside(monkeypatch, this, devices.SEV_GUEST, devices.TSM)
    code, said, _ = run(*ASK, "--via", via)
    assert code == 0
    assert said.startswith("evidence.bin: 1184 bytes of sev_guest and ")
    assert said.rstrip().endswith(f"bound to the report data, by {via}")
    assert Path("evidence.bin").stat().st_mode & 0o777 == 0o600
    judge = ["evidence", "verify", "evidence.bin", "--policy", "plain", "--simulated", this.pin]
    judge += ["--at", "2026-11-01T12:00Z", "--report-data"]
    code, said, errors = run(*judge, DATA.hex())
    assert code == 0, errors
    assert "accepted" in said
    assert run(*judge, bytes(64).hex())[0] == 77


@pytest.mark.parametrize(
    ("there", "via"),
    [((devices.SEV_GUEST, devices.TSM), "tsm"), ((devices.SEV_GUEST,), "sev-guest")],
    ids=["both", "old"],
)
def test_the_interface_that_is_there_is_asked(
    there: tuple[devices.Device, ...], via: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside(monkeypatch, guest(), *there)
    code, said, _ = run(*ASK, "--json")
    assert code == 0
    facts = json.loads(said)
    assert (facts["via"], facts["provider"], facts["bound"]) == (via, "sev_guest", True)
    assert facts["report_bytes"] + facts["certificate_bytes"] == Path("evidence.bin").stat().st_size
    assert facts["manifest"] is None


@pytest.mark.parametrize("via", ["sev-guest", "tsm"])
def test_the_guests_own_level_is_asked_for(via: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inside(monkeypatch, guest(vmpck=2), devices.SEV_GUEST, devices.TSM, vmpl=2)
    assert run(*ASK, "--via", via)[0] == 0
    assert Path("evidence.bin").read_bytes()[0x30] == 2
    assert run(*ASK, "--via", via, "--vmpl", "3")[0] == 0
    assert Path("evidence.bin").read_bytes()[0x30] == 3
    code, _, errors = run(*ASK, "--via", via, "--vmpl", "1")
    assert code == 74
    assert "next" in errors


def test_an_svsm_is_asked_for_a_manifest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inside(monkeypatch, guest(vmpck=2, svsm=True), devices.TSM)
    words = ("--service", "svsm", "--manifest", "manifest.bin", "--manifest-version", "1")
    code, said, _ = run(*ASK, *words, "--json")
    assert code == 0
    assert json.loads(said)["bound"] is True
    bound = hashlib.sha512(DATA + Path("manifest.bin").read_bytes()).digest()
    assert Path("evidence.bin").read_bytes()[0x50:0x90] == bound


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--service", "svsm"), "--manifest FILE"),
        (("--service", "svsm", "--via", "sev-guest", "--manifest", "m"), "--via tsm"),
        (("--manifest", "m"), "--service NAME"),
        (("--service-guid", "0"), "--service NAME"),
    ],
)
def test_flags_that_do_not_go_together(
    words: tuple[str, ...], says: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside(monkeypatch, guest(), devices.TSM)
    code, _, errors = run(*ASK, *words)
    assert code == 64
    assert says in errors
    assert not Path("evidence.bin").exists()


@pytest.mark.parametrize("digits", ["", "00", "0" * 127, "0" * 126, "0" * 130, "x" * 128])
def test_report_data_is_64_bytes(digits: str, run: Run) -> None:
    code, _, errors = run("evidence", "collect", "--report-data", digits, "-o", "x")
    assert code == 64
    assert "128 hexadecimal digits" in errors


def test_a_tdx_guest_gives_its_quote(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    this = replace(guest(), configfs=Configfs(TdxGuestProvider(quote_of_nobody)))
    inside(monkeypatch, this, devices.TSM)
    code, said, _ = run(*ASK)
    assert code == 0
    assert said.startswith("evidence.bin: 632 bytes of tdx_guest, bound")
    assert Path("evidence.bin").read_bytes() == quote_of_nobody(DATA)


def real_quotes() -> list[str]:
    return [name for name in dcap_rows.rows() if name.startswith("tdx/")]


@pytest.mark.parametrize(
    "name", real_quotes() or [pytest.param("", marks=pytest.mark.skip("no vectors here"))]
)
def test_real_quotes_are_bound_where_they_say(name: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the index has it, in every version."""
    row = dcap_rows.rows()[name]
    data, asked = row.read("quote.bin"), bytes.fromhex(row.expected["report_data"])
    inside(monkeypatch, replace(guest(), configfs=Configfs(TdxGuestProvider(lambda _: data))), devices.TSM)
    code, said, errors = run("evidence", "collect", "--report-data", asked.hex(), "-o", "evidence.bin")
    assert code == 0, errors
    assert "bound to the report data" in said
    assert Path("evidence.bin").read_bytes() == data


@pytest.mark.parametrize("name", ["tdx/v4-uptodate", "tdx/v5-uptodate"])
def test_a_real_quote_that_a_guest_collects_is_accepted(
    name: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name not in dcap_rows.rows():
        pytest.skip("the evidence vectors are not here")
    row = dcap_rows.rows()[name]
    data, asked = row.read("quote.bin"), bytes.fromhex(row.expected["report_data"])
    inside(monkeypatch, replace(guest(), configfs=Configfs(TdxGuestProvider(lambda _: data))), devices.TSM)
    assert run("evidence", "collect", "--report-data", asked.hex(), "-o", "evidence.bin")[0] == 0
    judge = ["evidence", "verify", "evidence.bin", str(row.files["collateral.json"]), "--policy", "plain"]
    code, said, errors = run(*judge, "--at", row.expected["verify_at"], "--report-data", asked.hex())
    assert code == 0, errors
    assert "accepted" in said


def test_evidence_of_somebody_elses_question_is_not_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host answers GetQuote, and may answer what it likes."""
    provider = TdxGuestProvider(lambda data: quote_of_nobody(bytes(64)))
    inside(monkeypatch, replace(guest(), configfs=Configfs(provider)), devices.TSM)
    code, _, errors = run(*ASK)
    assert code == 74
    assert "bound to something else" in errors
    assert not Path("evidence.bin").exists()


@pytest.mark.parametrize("name", ["arm_cca_guest", "tdx_guest"])
def test_a_format_that_is_not_known_is_kept_and_said_to_be_unchecked(
    name: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = TdxGuestProvider(lambda data: b"\x09\x00 token", name=name)
    inside(monkeypatch, replace(guest(), configfs=Configfs(provider)), devices.TSM)
    code, said, _ = run(*ASK)
    assert code == 0
    assert "binding was not checked" in said


def test_a_computer_that_is_no_guest_says_what_helps(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inside(monkeypatch, guest())
    code, _, errors = run(*ASK)
    assert code == 69
    assert "configfs tsm (absent), /dev/sev-guest (absent)" in errors
    assert "modprobe sev-guest" in errors


def test_a_place_that_cannot_be_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inside(monkeypatch, guest(), devices.TSM)
    for path in ("no/such/folder", "a\0name"):
        code, _, errors = run("evidence", "collect", "--report-data", DATA.hex(), "-o", path)
        assert code == 73
        assert "cannot write" in errors


# What `wasmkeep platform` says of such machines


def test_platform_says_who_answers_a_guest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inside(monkeypatch, guest(vmpck=1), devices.TSM)
    code, said, _ = run("platform")
    assert code == 69
    assert "sev_guest       `wasmkeep evidence collect` asks it, privilege levels 1 to 3" in said
    assert "fix: " in said
    facts = json.loads(run("platform", "--json")[1])
    assert facts["tsm"] == {"provider": "sev_guest", "privilege_floor": 1, "refused": ""}
    assert [row["missing"] is None for row in facts["devices"]] == [False, False, True, False, False]
    assert facts["devices"][0]["missing"]["kind"] == "virtual machine"
    assert "sev" not in facts


def test_platform_says_that_nobody_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inside(monkeypatch, replace(guest(), configfs=Configfs(None)), devices.TSM)
    assert "no driver answers behind configfs tsm; load the guest's driver" in run("platform")[1]
    assert json.loads(run("platform", "--json")[1])["tsm"]["provider"] is None


def test_a_host_that_cannot_be_asked_after_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> HostStatus:
        raise PlatformUnavailable("platform.device.unusable", "gone")

    host(monkeypatch, HostStatus(None, None))
    monkeypatch.setattr(sev_host, "read_host_status", gone)
    assert "sev" not in json.loads(run("platform", "--json")[1])


SEV = SevPlatformStatus(1, 55, 21, SevPlatformState.WORKING, owned=False, es=True, guest_count=3)
SNP = psp_sev.SnpPlatformStatus(
    api_major=1,
    api_minor=55,
    build=21,
    initialized=True,
    guest_count=4,
    current_tcb=0x4817000000000009,
    reported_tcb=0x4717000000000009,
    mask_chip_id=True,
    mask_chip_key=False,
    vlek_loaded=True,
    rmp_initialized=True,
    rapl_disabled=False,
    ciphertext_hiding=True,
)


def host(monkeypatch: pytest.MonkeyPatch, status: HostStatus) -> None:
    around = Surroundings(
        vendor=AMD, flags=frozenset({"svm", "sev"}), kernel=(6, 12), modules=frozenset({"ccp", "kvm_amd"})
    )
    found = tuple(
        DeviceFound(one, DeviceState.PRESENT if one is devices.SEV else DeviceState.ABSENT)
        for one in devices.DEVICES
    )
    monkeypatch.setattr(platform_local, "survey", lambda: found)
    monkeypatch.setattr(surroundings, "look", lambda: around)
    monkeypatch.setattr(sev_host, "read_host_status", lambda: status)


def test_platform_says_how_a_host_stands(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    host(monkeypatch, HostStatus(SEV, SNP))
    said = run("platform")[1]
    assert "working         API 1.55, build 21, owned by itself, SEV-ES on, 3 guests" in said
    assert "TCB current 4817000000000009, reported 4717000000000009" in said
    assert "a VLEK is loaded" in said
    assert "the chip id is masked" in said
    assert "ciphertext hiding is on" in said
    for other in ("the chip key is masked", "RMP is not", "RAPL"):
        assert other not in said
    facts = json.loads(run("platform", "--json")[1])
    assert facts["sev"]["state"] == SevPlatformState.WORKING
    assert facts["snp"]["vlek_loaded"] is True
    assert facts["snp"]["missing"] is None


def test_platform_says_what_keeps_a_host_from_snp(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = HostStatus(None, None, "EACCES (Permission denied)", "EINVAL (Invalid argument)")
    host(monkeypatch, refused)
    said = run("platform")[1]
    assert "SEV-SNP           refused         EINVAL" in said
    assert "fix: in the firmware setup enable SEV-SNP Support" in said
    facts = json.loads(run("platform", "--json")[1])
    assert facts["snp"]["missing"]["kind"] == "firmware setup"
    assert facts["sev"] == {"refused": "EACCES (Permission denied)"}
    host(monkeypatch, HostStatus(SEV, replace(SNP, initialized=False, rmp_initialized=False)))
    said = run("platform")[1]
    assert "uninit" in said
    assert "the RMP is not initialised" in said
