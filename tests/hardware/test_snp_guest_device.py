"""``/dev/sev-guest`` against a stand-in that behaves as the kernel's driver, over a real message channel."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import partial
from uuid import UUID

import pytest

from tests.hardware.guest_kernel import PAGE, SevGuestKernel
from tests.simulator.bench import Bench, Channel
from wasmkeep.errors import PlatformUnavailable, SystemFailure
from wasmkeep.evidence.snp import report as verifier
from wasmkeep.evidence.snp import table
from wasmkeep.hardware import devices, sev_guest, sev_guest_calls
from wasmkeep.hardware.calls import Call, File, Result, perform
from wasmkeep.hardware.devices import Device
from wasmkeep.hardware.sev_guest import SnpGuestRequestIoctl
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.hardware.snp_guest_device import SnpGuestDevice, open_snp_guest
from wasmkeep.hardware.snp_messages import KeyRequest, KeyResponse, ReportRequest

DATA = bytes(range(64))
TABLE = table.encode(table.CertificateTable(vcek=b"\x30" + b"v" * 900, ask=b"\x30" + b"a" * 1500))


def kernel(certificates: bytes = b"", *, vmpck: int = 0, **changes: object) -> SevGuestKernel:
    bench = Bench()
    channel = Channel(bench, bench.running(**changes), vmpck)  # type: ignore[arg-type]
    return SevGuestKernel(channel, certificates)


def device(of: SevGuestKernel) -> SnpGuestDevice:
    return SnpGuestDevice(partial(perform, 7, ioctl=of))


def test_a_report_carries_what_was_asked_and_the_guests_level() -> None:
    report = verifier.parse(device(kernel()).report(DATA, vmpl=2))
    assert report.report_data == DATA
    assert report.vmpl == 2


def test_report_data_of_another_size_is_the_callers_mistake() -> None:
    for size in (0, 32, 63, 65):
        with pytest.raises(ValueError, match="64 bytes"):
            device(kernel()).report(bytes(size))


def test_a_level_stronger_than_ones_own_is_refused_inside_the_answer() -> None:
    of = kernel(vmpck=1)
    with pytest.raises(FirmwareError) as refusal:
        device(of).report(DATA, vmpl=0)
    assert refusal.value.status == SevStatus.INVALID_PARAM
    assert "VMPL" in refusal.value.remedy
    assert not of.wiped
    assert verifier.parse(device(of).report(DATA, vmpl=1)).vmpl == 1


def test_a_key_that_may_not_sign_is_refused_with_advice() -> None:
    for key_select, disabled in ((2, False), (1, True)):
        with pytest.raises(FirmwareError) as refusal:
            device(kernel(vcek_disabled=disabled)).report(DATA, key_select=key_select)
        assert refusal.value.status == SevStatus.INVALID_KEY
        assert "other key" in refusal.value.remedy


def test_an_extended_report_has_the_hosts_certificates_in_one_request() -> None:
    of = kernel(TABLE)
    report, certificates = device(of).extended_report(DATA)
    assert verifier.parse(report).report_data == DATA
    assert certificates == TABLE
    assert table.decode(certificates).vcek == b"\x30" + b"v" * 900
    assert of.asked == [sev_guest.SNP_GET_EXT_REPORT]


def test_an_extended_report_without_certificates_is_a_report() -> None:
    assert device(kernel()).extended_report(DATA).certificates == b""
    assert device(kernel()).extended_report(DATA, room=0).certificates == b""


@pytest.mark.parametrize("room", [0, PAGE])
def test_too_little_room_is_asked_again_with_what_the_kernel_says(room: int) -> None:
    large = table.encode(table.CertificateTable(vcek=b"\x30" * 5000, ask=b"\x31" * 6000))
    of = kernel(large)
    report, certificates = device(of).extended_report(DATA, room=room)
    assert verifier.parse(report).report_data == DATA
    assert certificates == large
    assert of.asked == [sev_guest.SNP_GET_EXT_REPORT] * 2
    assert of.channel.guest.message_count[0] == 4  # the refused one was answered as well


def test_more_certificates_than_a_kernel_takes_are_refused_with_advice() -> None:
    of = kernel(bytes(1) * (sev_guest.CERTIFICATES_MAX + 1))
    with pytest.raises(SystemFailure, match="do not fit") as refusal:
        device(of).extended_report(DATA)
    assert refusal.value.check == "platform.sev-guest.certificates"
    assert "20480 bytes" in refusal.value.found
    assert not of.wiped
    assert verifier.parse(device(of).report(DATA)).report_data == DATA


def test_a_host_whose_certificates_keep_growing_is_not_followed_for_ever() -> None:
    of = kernel(TABLE)
    of.growing = 1
    with pytest.raises(SystemFailure, match="do not fit"):
        device(of).extended_report(DATA, room=0)
    assert len(of.asked) == 3


def test_room_that_is_no_whole_page_is_refused_by_the_kernel() -> None:
    with pytest.raises(SystemFailure) as refusal:
        device(kernel(TABLE)).extended_report(DATA, room=100)
    assert refusal.value.found.startswith("EINVAL")


def entry(guid: UUID, offset: int, length: int) -> bytes:
    return struct.pack("<16sII", guid.bytes, offset, length)


def test_a_table_that_lies_about_its_length_is_kept_whole_for_the_verifier() -> None:
    guid = UUID("63da758d-e664-4564-adc5-f4b93be8accd")
    lying = (entry(guid, 48, 0xFFFFFFFF) + bytes(24)).ljust(PAGE, b"\0")
    assert device(kernel(lying)).extended_report(DATA).certificates == lying.ljust(
        sev_guest.CERTIFICATES_MAX, b"\0"
    )
    endless = entry(guid, 0, 0) * (sev_guest.CERTIFICATES_MAX // 24)
    kept = device(kernel(endless)).extended_report(DATA).certificates
    assert kept == endless.ljust(sev_guest.CERTIFICATES_MAX, b"\0")


def test_a_derived_key_is_stable_and_bound_to_what_is_mixed_in() -> None:
    of = kernel()
    key = device(of).derived_key(KeyRequest(field_select=0b1001))
    assert len(key) == 32
    assert any(key)
    assert device(of).derived_key(KeyRequest(field_select=0b1001)) == key
    assert device(of).derived_key(KeyRequest(field_select=0b0001)) != key
    assert device(of).derived_key(KeyRequest(root_key=1, field_select=0b1001)) != key
    with pytest.raises(FirmwareError) as refusal:
        device(of).derived_key(KeyRequest(vmpl=4))
    assert refusal.value.status == SevStatus.INVALID_PARAM


def test_a_host_that_holds_back_costs_the_message_key() -> None:
    of = kernel()
    of.busy = True
    with pytest.raises(SystemFailure) as refusal:
        device(of).report(DATA)
    assert refusal.value.found.startswith("ETIMEDOUT")
    assert refusal.value.found.endswith("the host answers busy")
    of.busy = False
    with pytest.raises(SystemFailure) as refusal:
        device(of).report(DATA)
    assert refusal.value.found.startswith("ENOTTY")
    assert "start this guest again" in refusal.value.remedy


def test_an_answer_that_a_host_changed_is_refused_by_the_kernel() -> None:
    of = kernel()
    of.altered = True
    with pytest.raises(SystemFailure) as refusal:
        device(of).report(DATA)
    assert refusal.value.found.startswith("EBADMSG")
    assert "not the secure processor's" in refusal.value.remedy


def test_a_firmware_refusal_outside_the_answer_names_its_status() -> None:
    of = kernel()
    of.channel.count = 4  # a sequence number that is not the next
    with pytest.raises(FirmwareError) as refusal:
        device(of).report(DATA)
    assert refusal.value.status == SevStatus.AEAD_OFLOW
    assert of.wiped


def test_an_unknown_word_of_the_host_is_shown() -> None:
    def strange(_descriptor: int, _number: int, argument: int) -> int:
        SnpGuestRequestIoctl.from_address(argument).exitinfo2 = 0x1234 << 32
        raise OSError(errno.EIO, "")

    with pytest.raises(SystemFailure) as refusal:
        SnpGuestDevice(partial(perform, 7, ioctl=strange)).extended_report(DATA)
    assert refusal.value.found.endswith("the host answers 0x1234")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (bytes(4000), "success without a report"),
        (struct.pack("<II", 0, 1183).ljust(4000, b"\0"), "1184 bytes"),
    ],
)
def test_an_answer_that_is_none_is_refused(answer: bytes, says: str) -> None:
    def ask(call: Call) -> Result:
        return Result(0, (call.memory[0], call.memory[1], answer))

    with pytest.raises(SystemFailure) as refusal:
        SnpGuestDevice(ask).report(DATA)
    assert says in refusal.value.found


def test_a_status_that_nobody_knows_keeps_its_number() -> None:
    def ask(call: Call) -> Result:
        return Result(0, (call.memory[0], call.memory[1], KeyResponse(0x77, bytes(32)).encode()))

    with pytest.raises(FirmwareError) as refusal:
        SnpGuestDevice(ask).derived_key(KeyRequest())
    assert refusal.value.found == "unknown status (0x77)"


def test_requests_are_the_kernels_structures() -> None:
    report = sev_guest.SnpReportReq.from_buffer_copy(ReportRequest(DATA, 3, 2).encode())
    assert (bytes(report.user_data), report.vmpl, bytes(report.rsvd)) == (DATA, 3, b"\2" + bytes(27))
    key = sev_guest.SnpDerivedKeyReq.from_buffer_copy(KeyRequest(1, 2, 0x21, 3, 4, 5).encode())
    assert (key.root_key_select, key.guest_field_select, key.vmpl) == (0b101, 0x21, 3)
    assert (key.guest_svn, key.tcb_version) == (4, 5)
    assert ctypes.sizeof(sev_guest.SnpDerivedKeyResp) == KeyResponse.SIZE
    call = sev_guest_calls.extended_report(ReportRequest(DATA), 2 * PAGE)
    assert sev_guest.SnpExtReportReq.from_buffer_copy(call.memory[1]).certs_len == 2 * PAGE
    assert len(call.memory[3]) == 2 * PAGE


def test_a_computer_without_the_device_says_so(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Device("/dev/sev-guest", f"{tmp_path}/sev-guest", "ask", "an SNP guest")
    monkeypatch.setattr(devices, "SEV_GUEST", absent)
    with pytest.raises(PlatformUnavailable) as refusal, open_snp_guest():
        pass
    assert refusal.value.check == "platform.device.absent"


def test_the_device_is_closed_again(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A regular file is no device: the kernel refuses the ioctl, and the descriptor is given back."""
    path = f"{tmp_path}/sev-guest"
    with open(path, "wb"):
        pass
    monkeypatch.setattr(devices, "SEV_GUEST", Device("/dev/sev-guest", path, "ask", "an SNP guest"))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(SystemFailure) as refusal, open_snp_guest() as opened:
        opened.report(DATA)
    assert refusal.value.found.startswith("ENOTTY")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_an_ioctl_takes_a_real_address() -> None:
    """FIONREAD of a pipe: the kernel writes where the address says, far beyond 32 bits."""
    reading, writing = os.pipe()
    try:
        os.write(writing, b"five!")
        answer = perform(reading, Call("FIONREAD", File.SEV, 0x541B, (bytes(4),)))
        assert answer == Result(0, (b"\5\0\0\0",))
        refused = perform(reading, Call("none", File.SEV, 0xC0205300, (bytes(32),)))
        assert refused.value == -errno.ENOTTY
    finally:
        os.close(reading)
        os.close(writing)
