"""The typed calls of SEV: what stands in their structures, where pointers lead, how answers are read."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

import pytest

from wasmkeep.hardware import kvm_sev_calls, psp_sev, psp_sev_calls
from wasmkeep.hardware.calls import Call, IoctlRefused, Result, perform
from wasmkeep.hardware.kvm_sev import (
    KvmEncRegion,
    KvmSevAttestationReport,
    KvmSevBlob,
    KvmSevCmd,
    KvmSevDbg,
    KvmSevGuestStatus,
    KvmSevInit,
    KvmSevLaunchStart,
    KvmSevPacket,
    KvmSevReceiveStart,
    KvmSevSendStart,
    SevCmdId,
    check,
)
from wasmkeep.hardware.psp_sev import (
    SevIssueCmd,
    SevUserDataGetId2,
    SevUserDataPdhCertExport,
    SevUserDataPekCertImport,
    SevUserDataPekCsr,
    SevUserDataStatus,
)
from wasmkeep.hardware.sev_commands import SevPlatformState
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.hardware.structures import Structure

UADDR = 0x7000_0000_0000
Reached = dict[str, bytes]


class Kernel:
    """Reads what a call's pointers reach, as a kernel would, and keeps it."""

    def __init__(self, kind: type[Structure], *fields: tuple[str, str]) -> None:
        """`fields`: names of an address and of its length."""
        self.kind, self.fields = kind, fields
        self.structure: Structure
        self.identifier = -1
        self.reached: Reached = {}

    def __call__(self, _descriptor: int, number: int, argument: int) -> int:
        head: KvmSevCmd | SevIssueCmd
        if number == psp_sev.SEV_ISSUE_CMD:
            head = SevIssueCmd.from_address(argument)
            self.identifier = head.cmd
        else:
            head = KvmSevCmd.from_address(argument)
            self.identifier = head.id
        self.structure = self.kind.from_buffer_copy(ctypes.string_at(head.data, ctypes.sizeof(self.kind)))
        for address, length in self.fields:
            place, size = getattr(self.structure, address), getattr(self.structure, length)
            self.reached[address] = ctypes.string_at(place, size) if place else b""
        return 0


HDR, TRANS = ("hdr_uaddr", "hdr_len"), ("trans_uaddr", "trans_len")
CERT = bytes(range(256)) * 8 + bytes(36)
SESSION, HEADER, DATA = b"s" * 128, b"h" * 52, b"d" * 32

CALLS: dict[str, tuple[Call, Kernel, Reached, dict[str, int]]] = {
    "INIT2": (
        kvm_sev_calls.init2(ghcb_version=0),
        Kernel(KvmSevInit),
        {},
        {"ghcb_version": 0, "vmsa_features": 0},
    ),
    "LAUNCH_START": (
        kvm_sev_calls.launch_start(5, CERT, SESSION, handle=3),
        Kernel(KvmSevLaunchStart, ("dh_uaddr", "dh_len"), ("session_uaddr", "session_len")),
        {"dh_uaddr": CERT, "session_uaddr": SESSION},
        {"policy": 5, "handle": 3},
    ),
    "LAUNCH_START without an owner": (
        kvm_sev_calls.launch_start(1),
        Kernel(KvmSevLaunchStart, ("dh_uaddr", "dh_len"), ("session_uaddr", "session_len")),
        {"dh_uaddr": b"", "session_uaddr": b""},
        {"policy": 1, "handle": 0, "dh_len": 0, "session_len": 0},
    ),
    "LAUNCH_UPDATE_DATA": (
        kvm_sev_calls.launch_update_data(UADDR, 4096),
        Kernel(KvmSevBlob),
        {},
        {"uaddr": UADDR, "len": 4096},
    ),
    "LAUNCH_MEASURE": (
        kvm_sev_calls.launch_measure(),
        Kernel(KvmSevBlob, ("uaddr", "len")),
        {"uaddr": bytes(48)},
        {"len": 48},
    ),
    "LAUNCH_MEASURE, a query": (
        kvm_sev_calls.launch_measure(0),
        Kernel(KvmSevBlob),
        {},
        {"uaddr": 0, "len": 0},
    ),
    "LAUNCH_SECRET": (
        kvm_sev_calls.launch_secret(HEADER, UADDR, DATA),
        Kernel(KvmSevPacket, HDR, TRANS),
        {"hdr_uaddr": HEADER, "trans_uaddr": DATA},
        {"guest_uaddr": UADDR, "guest_len": 32},
    ),
    "SEND_START": (
        kvm_sev_calls.send_start(CERT, CERT * 3, b"ask ark"),
        Kernel(
            KvmSevSendStart,
            ("pdh_cert_uaddr", "pdh_cert_len"),
            ("plat_certs_uaddr", "plat_certs_len"),
            ("amd_certs_uaddr", "amd_certs_len"),
            ("session_uaddr", "session_len"),
        ),
        {
            "pdh_cert_uaddr": CERT,
            "plat_certs_uaddr": CERT * 3,
            "amd_certs_uaddr": b"ask ark",
            "session_uaddr": bytes(128),
        },
        {"policy": 0},
    ),
    "SEND_UPDATE_DATA": (
        kvm_sev_calls.send_update_data(UADDR, 64),
        Kernel(KvmSevPacket, HDR, TRANS),
        {"hdr_uaddr": bytes(52), "trans_uaddr": bytes(64)},
        {"guest_uaddr": UADDR, "guest_len": 64},
    ),
    "RECEIVE_START": (
        kvm_sev_calls.receive_start(7, CERT, SESSION),
        Kernel(KvmSevReceiveStart, ("pdh_uaddr", "pdh_len"), ("session_uaddr", "session_len")),
        {"pdh_uaddr": CERT, "session_uaddr": SESSION},
        {"policy": 7, "handle": 0},
    ),
    "RECEIVE_UPDATE_DATA": (
        kvm_sev_calls.receive_update_data(HEADER, UADDR, DATA),
        Kernel(KvmSevPacket, HDR, TRANS),
        {"hdr_uaddr": HEADER, "trans_uaddr": DATA},
        {"guest_uaddr": UADDR, "guest_len": 32},
    ),
    "GUEST_STATUS": (kvm_sev_calls.guest_status(), Kernel(KvmSevGuestStatus), {}, {}),
    "GET_ATTESTATION_REPORT": (
        kvm_sev_calls.attestation_report(b"n" * 16),
        Kernel(KvmSevAttestationReport, ("uaddr", "len")),
        {"uaddr": bytes(208)},
        {},
    ),
    "DBG_DECRYPT": (
        kvm_sev_calls.dbg_decrypt(UADDR, 16),
        Kernel(KvmSevDbg, ("dst_uaddr", "len")),
        {"dst_uaddr": bytes(16)},
        {"src_uaddr": UADDR},
    ),
    "DBG_ENCRYPT": (
        kvm_sev_calls.dbg_encrypt(UADDR, DATA),
        Kernel(KvmSevDbg, ("src_uaddr", "len")),
        {"src_uaddr": DATA},
        {"dst_uaddr": UADDR},
    ),
    "PEK_CSR": (
        psp_sev_calls.pek_csr(),
        Kernel(SevUserDataPekCsr, ("address", "length")),
        {"address": bytes(2084)},
        {},
    ),
    "PEK_CERT_IMPORT": (
        psp_sev_calls.pek_cert_import(CERT, CERT[::-1]),
        Kernel(
            SevUserDataPekCertImport,
            ("pek_cert_address", "pek_cert_len"),
            ("oca_cert_address", "oca_cert_len"),
        ),
        {"pek_cert_address": CERT, "oca_cert_address": CERT[::-1]},
        {},
    ),
    "PDH_CERT_EXPORT": (
        psp_sev_calls.pdh_cert_export(),
        Kernel(
            SevUserDataPdhCertExport,
            ("pdh_cert_address", "pdh_cert_len"),
            ("cert_chain_address", "cert_chain_len"),
        ),
        {"pdh_cert_address": bytes(2084), "cert_chain_address": bytes(6252)},
        {},
    ),
    "PDH_CERT_EXPORT, a query": (
        psp_sev_calls.pdh_cert_export(0, 0),
        Kernel(SevUserDataPdhCertExport),
        {},
        {"pdh_cert_address": 0, "cert_chain_address": 0},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_says_and_reaches_what_it_was_given(name: str) -> None:
    call, kernel, reached, fields = CALLS[name]
    assert perform(0, call, kernel).value == 0
    assert call.name == name.partition(",")[0].partition(" ")[0]
    assert kernel.reached == reached
    assert {field: getattr(kernel.structure, field) for field in fields} == fields


BARE = {
    SevCmdId.INIT: kvm_sev_calls.init,
    SevCmdId.ES_INIT: kvm_sev_calls.es_init,
    SevCmdId.LAUNCH_UPDATE_VMSA: kvm_sev_calls.launch_update_vmsa,
    SevCmdId.LAUNCH_FINISH: kvm_sev_calls.launch_finish,
    SevCmdId.SEND_FINISH: kvm_sev_calls.send_finish,
    SevCmdId.SEND_CANCEL: kvm_sev_calls.send_cancel,
    SevCmdId.RECEIVE_FINISH: kvm_sev_calls.receive_finish,
}


@pytest.mark.parametrize("command", BARE, ids=lambda command: command.name)
def test_a_command_without_structure_has_a_null_pointer_and_the_devices_descriptor(command: SevCmdId) -> None:
    call = BARE[command](sev_fd=9)
    raw = KvmSevCmd.from_buffer_copy(call.memory[0])
    assert (raw.id, raw.data, raw.sev_fd, call.pointers) == (command, 0, 9, ())


def filled(call: Call, kind: type[Structure], **fields: int) -> Result:
    """What a kernel gives back that wrote these fields of the structure."""
    structure = kind.from_buffer_copy(call.memory[1])
    for field, value in fields.items():
        setattr(structure, field, value)
    return Result(0, (call.memory[0], bytes(structure), *call.memory[2:]))


def test_answers_are_read_as_long_as_they_are_said_to_be() -> None:
    measure = kvm_sev_calls.launch_measure()
    assert kvm_sev_calls.decode_measurement(filled(measure, KvmSevBlob, len=48).memory) == bytes(48)
    report = kvm_sev_calls.attestation_report(bytes(16))
    said = filled(report, KvmSevAttestationReport, len=200)
    assert kvm_sev_calls.decode_attestation_report(said.memory) == bytes(200)
    sent = filled(kvm_sev_calls.send_start(CERT, CERT, CERT), KvmSevSendStart, policy=0x21)
    assert kvm_sev_calls.decode_send_start(sent.memory) == (0x21, bytes(128))
    packet = kvm_sev_calls.send_update_data(UADDR, 16)
    assert kvm_sev_calls.decode_packet(filled(packet, KvmSevPacket).memory) == (bytes(52), bytes(16))
    for start in (kvm_sev_calls.launch_start(1), kvm_sev_calls.receive_start(1, CERT, SESSION)):
        assert kvm_sev_calls.decode_handle(filled(start, KvmSevLaunchStart, handle=7).memory) == 7
    status = filled(kvm_sev_calls.guest_status(), KvmSevGuestStatus, handle=1, policy=2, state=3)
    assert kvm_sev_calls.decode_guest_status(status.memory) == kvm_sev_calls.GuestStatus(1, 2, 3)


QUERIES: dict[str, tuple[Call, type[Structure], str, int]] = {
    "LAUNCH_MEASURE": (kvm_sev_calls.launch_measure(0), KvmSevBlob, "len", 48),
    "GET_ATTESTATION_REPORT": (
        kvm_sev_calls.attestation_report(bytes(16), 0),
        KvmSevAttestationReport,
        "len",
        208,
    ),
    "SEND_START": (kvm_sev_calls.send_start(CERT, CERT, CERT, 0), KvmSevSendStart, "session_len", 128),
    "SEND_UPDATE_DATA": (kvm_sev_calls.send_update_data(UADDR, 16, 0), KvmSevPacket, "hdr_len", 52),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_answered_by_the_needed_length(name: str) -> None:
    call, kind, field, length = QUERIES[name]
    assert kvm_sev_calls.needed_length(call, filled(call, kind, **{field: length})) == length


def test_queries_of_the_platform_are_answered_by_needed_lengths() -> None:
    csr, identity, export = psp_sev_calls.pek_csr(0), psp_sev.get_id(0), psp_sev_calls.pdh_cert_export(0, 0)
    assert psp_sev_calls.needed_length(csr, filled(csr, SevUserDataPekCsr, length=2084)) == 2084
    assert psp_sev_calls.needed_length(identity, filled(identity, SevUserDataGetId2, length=128)) == 128
    said = filled(export, SevUserDataPdhCertExport, pdh_cert_len=2084, cert_chain_len=6252)
    assert psp_sev_calls.needed_export_lengths(said) == (2084, 6252)


def test_the_platforms_status_is_read_field_by_field() -> None:
    call = psp_sev_calls.platform_status()
    said = filled(
        call, SevUserDataStatus, api_major=1, api_minor=55, state=2, flags=0x101, build=40, guest_count=3
    )
    status = psp_sev_calls.decode_platform_status(said.memory)
    assert status == psp_sev_calls.SevPlatformStatus(
        1, 55, 40, SevPlatformState.WORKING, owned=True, es=True, guest_count=3
    )
    plain = psp_sev_calls.decode_platform_status(filled(call, SevUserDataStatus, state=1).memory)
    assert (plain.owned, plain.es, plain.state) == (False, False, SevPlatformState.INIT)


@pytest.mark.parametrize("build", [kvm_sev_calls.register_region, kvm_sev_calls.unregister_region])
def test_a_region_is_an_ioctl_of_its_own_with_no_firmware_behind(build: Callable[[int, int], Call]) -> None:
    call = build(UADDR, 8192)
    region = KvmEncRegion.from_buffer_copy(call.memory[0])
    assert (region.addr, region.size) == (UADDR, 8192)
    with pytest.raises(IoctlRefused) as refused:
        check(call, Result(-errno.EINVAL, call.memory))
    assert refused.value.number == errno.EINVAL


def test_a_refusal_carries_the_firmwares_status() -> None:
    call = kvm_sev_calls.launch_finish()
    argument = bytes(KvmSevCmd(error=SevStatus.INVALID_GUEST_STATE))
    with pytest.raises(FirmwareError) as refused:
        check(call, Result(-errno.EIO, (argument,)))
    assert refused.value.status == SevStatus.INVALID_GUEST_STATE
    assert refused.value.command == "LAUNCH_FINISH"


def test_an_mnonce_is_sixteen_bytes() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        kvm_sev_calls.attestation_report(bytes(15))
