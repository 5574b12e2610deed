"""Command buffers lie as SEV API 0.24 says (SEV.md A.3, A.4): sizes, offsets, ids."""

from __future__ import annotations

import ctypes

import pytest

from wasmkeep.hardware import sev_commands
from wasmkeep.hardware.psp_sev import FirmwareCommand, SevUserDataStatus
from wasmkeep.hardware.sev_commands import COMMAND_BUFFERS, CommandBuffer

SIZES: dict[type[ctypes.LittleEndianStructure], int] = {
    sev_commands.NoBuffer: 0,
    sev_commands.SevDataInit: 0x14,
    sev_commands.SevDataInitEx: 0x24,
    SevUserDataStatus: 12,
    sev_commands.SevDataBlob: 12,
    sev_commands.SevDataPekCertImport: 0x1C,
    sev_commands.SevDataPdhCertExport: 0x1C,
    sev_commands.SevDataHandle: 4,
    sev_commands.SevDataActivate: 8,
    sev_commands.SevDataActivateEx: 0x18,
    sev_commands.SevDataGuestStatus: 13,
    sev_commands.SevDataLaunchStart: 0x24,
    sev_commands.SevDataRegion: 0x14,
    sev_commands.SevDataPacket: 0x34,
    sev_commands.SevDataAttestation: 0x24,
    sev_commands.SevDataSendStart: 0x44,
    sev_commands.SevDataReceiveStart: 0x24,
    sev_commands.SevDataDbg: 0x1C,
    sev_commands.SevDataCopy: 0x18,
}
OFFSETS: dict[type[ctypes.LittleEndianStructure], dict[str, int]] = {
    sev_commands.SevDataInit: {"flags": 0, "tmr_address": 8, "tmr_len": 0x10},
    sev_commands.SevDataInitEx: {
        "length": 0,
        "flags": 4,
        "tmr_address": 8,
        "tmr_len": 0x10,
        "nv_address": 0x18,
        "nv_len": 0x20,
    },
    SevUserDataStatus: {"api_major": 0, "api_minor": 1, "state": 2, "flags": 3, "build": 7, "guest_count": 8},
    sev_commands.SevDataBlob: {"address": 0, "len": 8},
    sev_commands.SevDataPekCertImport: {
        "pek_cert_address": 0,
        "pek_cert_len": 8,
        "oca_cert_address": 0x10,
        "oca_cert_len": 0x18,
    },
    sev_commands.SevDataPdhCertExport: {
        "pdh_cert_address": 0,
        "pdh_cert_len": 8,
        "cert_chain_address": 0x10,
        "cert_chain_len": 0x18,
    },
    sev_commands.SevDataActivate: {"handle": 0, "asid": 4},
    sev_commands.SevDataActivateEx: {"length": 0, "handle": 4, "asid": 8, "numids": 0xC, "ids": 0x10},
    sev_commands.SevDataGuestStatus: {"handle": 0, "policy": 4, "asid": 8, "state": 0xC},
    sev_commands.SevDataLaunchStart: {
        "handle": 0,
        "policy": 4,
        "dh_cert_address": 8,
        "dh_cert_len": 0x10,
        "session_address": 0x18,
        "session_len": 0x20,
    },
    sev_commands.SevDataRegion: {"handle": 0, "address": 8, "len": 0x10},
    sev_commands.SevDataPacket: {
        "handle": 0,
        "hdr_address": 8,
        "hdr_len": 0x10,
        "guest_address": 0x18,
        "guest_len": 0x20,
        "trans_address": 0x28,
        "trans_len": 0x30,
    },
    sev_commands.SevDataAttestation: {"handle": 0, "address": 8, "mnonce": 0x10, "len": 0x20},
    sev_commands.SevDataSendStart: {
        "handle": 0,
        "policy": 4,
        "pdh_cert_address": 8,
        "pdh_cert_len": 0x10,
        "plat_certs_address": 0x18,
        "plat_certs_len": 0x20,
        "amd_certs_address": 0x28,
        "amd_certs_len": 0x30,
        "session_address": 0x38,
        "session_len": 0x40,
    },
    sev_commands.SevDataReceiveStart: {
        "handle": 0,
        "policy": 4,
        "pdh_cert_address": 8,
        "pdh_cert_len": 0x10,
        "session_address": 0x18,
        "session_len": 0x20,
    },
    sev_commands.SevDataDbg: {"handle": 0, "src_address": 8, "dst_address": 0x10, "len": 0x18},
    sev_commands.SevDataCopy: {"handle": 0, "len": 4, "src_address": 8, "dst_address": 0x10},
}
IDS = {
    0x01: "INIT",
    0x02: "SHUTDOWN",
    0x03: "PLATFORM_RESET",
    0x04: "PLATFORM_STATUS",
    0x05: "PEK_GEN",
    0x06: "PEK_CSR",
    0x07: "PEK_CERT_IMPORT",
    0x08: "PDH_CERT_EXPORT",
    0x09: "PDH_GEN",
    0x0A: "DF_FLUSH",
    0x0B: "DOWNLOAD_FIRMWARE",
    0x0C: "GET_ID",
    0x0D: "INIT_EX",
    0x20: "DECOMMISSION",
    0x21: "ACTIVATE",
    0x22: "DEACTIVATE",
    0x23: "GUEST_STATUS",
    0x24: "COPY",
    0x25: "ACTIVATE_EX",
    0x30: "LAUNCH_START",
    0x31: "LAUNCH_UPDATE_DATA",
    0x32: "LAUNCH_UPDATE_VMSA",
    0x33: "LAUNCH_MEASURE",
    0x34: "LAUNCH_SECRET",
    0x35: "LAUNCH_FINISH",
    0x36: "ATTESTATION",
    0x40: "SEND_START",
    0x41: "SEND_UPDATE_DATA",
    0x42: "SEND_UPDATE_VMSA",
    0x43: "SEND_FINISH",
    0x44: "SEND_CANCEL",
    0x50: "RECEIVE_START",
    0x51: "RECEIVE_UPDATE_DATA",
    0x52: "RECEIVE_UPDATE_VMSA",
    0x53: "RECEIVE_FINISH",
    0x60: "DBG_DECRYPT",
    0x61: "DBG_ENCRYPT",
}


@pytest.mark.parametrize("buffer", SIZES, ids=lambda buffer: buffer.__name__)
def test_sizes_and_offsets_are_the_specifications(buffer: type[ctypes.LittleEndianStructure]) -> None:
    assert ctypes.sizeof(buffer) == SIZES[buffer]
    lies = {field[0]: getattr(buffer, field[0]).offset for field in buffer._fields_}
    expected = OFFSETS.get(buffer, {"handle": 0} if SIZES[buffer] == 4 else {})
    assert {name: at for name, at in lies.items() if not name.startswith("rsvd")} == expected


def test_every_buffer_is_tested_and_belongs_to_a_command() -> None:
    assert set(COMMAND_BUFFERS.values()) == set(SIZES)
    assert {command.value: command.name for command in COMMAND_BUFFERS} == IDS
    assert all(issubclass(buffer, (CommandBuffer, SevUserDataStatus)) for buffer in SIZES)


def test_numbers_are_little_endian() -> None:
    assert bytes(sev_commands.SevDataActivate(handle=0x01020304, asid=5)).hex() == "0403020105000000"


def test_ids_are_unique() -> None:
    assert len({command.value for command in FirmwareCommand}) == len(FirmwareCommand.__members__)
