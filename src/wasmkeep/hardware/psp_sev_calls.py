"""The SEV platform's calls through ``/dev/sev``: status, certificates, ownership (SEV API 0.24, AMD 55766,
chapter 5; kernel uapi ``linux/psp-sev.h``).

The kernel initialises the platform where a command needs that. Too little room for what comes back is refused
with INVALID_LENGTH; the `needed_…` functions say how much it takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.hardware.calls import Call, Pointer, Result
from wasmkeep.hardware.psp_sev import (
    SevCommand,
    SevUserDataGetId2,
    SevUserDataPdhCertExport,
    SevUserDataPekCertImport,
    SevUserDataPekCsr,
    SevUserDataStatus,
    issue,
)
from wasmkeep.hardware.sev_commands import (
    CERTIFICATE_CHAIN_SIZE,
    CERTIFICATE_SIZE,
    STATUS_ES,
    STATUS_OWNER,
    SevPlatformState,
)
from wasmkeep.hardware.structures import offset_of, size_of


@dataclass(frozen=True, slots=True)
class SevPlatformStatus:
    """PLATFORM_STATUS. `owned` externally: the OCA is not the platform's own."""

    api_major: int
    api_minor: int
    build: int
    state: SevPlatformState
    owned: bool
    es: bool
    guest_count: int


def factory_reset() -> Call:
    """PLATFORM_RESET: every key but the chip's own is made again. Refused with EBUSY while guests live."""
    return issue("FACTORY_RESET", SevCommand.FACTORY_RESET)


def platform_status() -> Call:
    return issue("PLATFORM_STATUS", SevCommand.PLATFORM_STATUS, bytes(size_of(SevUserDataStatus)))


def decode_platform_status(memory: tuple[bytes, ...]) -> SevPlatformStatus:
    raw = SevUserDataStatus.from_buffer_copy(memory[1])
    return SevPlatformStatus(
        api_major=raw.api_major,
        api_minor=raw.api_minor,
        build=raw.build,
        state=SevPlatformState(raw.state),
        owned=bool(raw.flags & STATUS_OWNER),
        es=bool(raw.flags & STATUS_ES),
        guest_count=raw.guest_count,
    )


def pek_gen() -> Call:
    """A new OCA, PEK and PDH, all the platform's own."""
    return issue("PEK_GEN", SevCommand.PEK_GEN)


def pdh_gen() -> Call:
    """A new PDH under the same PEK."""
    return issue("PDH_GEN", SevCommand.PDH_GEN)


def pek_csr(room: int = CERTIFICATE_SIZE) -> Call:
    """`room` 0 asks how much it takes."""
    request = bytes(SevUserDataPekCsr(length=room))
    if not room:
        return issue("PEK_CSR", SevCommand.PEK_CSR, request)
    return issue("PEK_CSR", SevCommand.PEK_CSR, request, bytes(room), pointers=(Pointer(1, 0, 2),))


def decode_pek_csr(memory: tuple[bytes, ...]) -> bytes:
    """The PEK's certificate with both signatures empty, 2084 bytes."""
    return memory[2][: SevUserDataPekCsr.from_buffer_copy(memory[1]).length]


def pek_cert_import(pek: bytes, oca: bytes) -> Call:
    """An owner takes the platform: its OCA, and the PEK signed by it."""
    request = bytes(SevUserDataPekCertImport(pek_cert_len=len(pek), oca_cert_len=len(oca)))
    pointers = (
        Pointer(1, offset_of(SevUserDataPekCertImport, "pek_cert_address"), 2),
        Pointer(1, offset_of(SevUserDataPekCertImport, "oca_cert_address"), 3),
    )
    return issue("PEK_CERT_IMPORT", SevCommand.PEK_CERT_IMPORT, request, pek, oca, pointers=pointers)


def pdh_cert_export(room: int = CERTIFICATE_SIZE, chain_room: int = CERTIFICATE_CHAIN_SIZE) -> Call:
    """`room` and `chain_room` 0 ask how much they take."""
    request = bytes(SevUserDataPdhCertExport(pdh_cert_len=room, cert_chain_len=chain_room))
    if not room or not chain_room:
        return issue("PDH_CERT_EXPORT", SevCommand.PDH_CERT_EXPORT, request)
    pointers = (
        Pointer(1, offset_of(SevUserDataPdhCertExport, "pdh_cert_address"), 2),
        Pointer(1, offset_of(SevUserDataPdhCertExport, "cert_chain_address"), 3),
    )
    memory = (request, bytes(room), bytes(chain_room))
    return issue("PDH_CERT_EXPORT", SevCommand.PDH_CERT_EXPORT, *memory, pointers=pointers)


def decode_pdh_cert_export(memory: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """PDH, and PEK ‖ OCA ‖ CEK. That CEK has no signature of the ASK: AMD serves the signed one."""
    raw = SevUserDataPdhCertExport.from_buffer_copy(memory[1])
    return memory[2][: raw.pdh_cert_len], memory[3][: raw.cert_chain_len]


def needed_length(call: Call, result: Result) -> int:
    """After a query by GET_ID2 or PEK_CSR, refused with INVALID_LENGTH: how much room its answer takes."""
    structure = SevUserDataGetId2 if call.name == "GET_ID" else SevUserDataPekCsr
    return int(structure.from_buffer_copy(result.memory[1]).length)


def needed_export_lengths(result: Result) -> tuple[int, int]:
    """The same of PDH_CERT_EXPORT: for the PDH, and for the chain."""
    raw = SevUserDataPdhCertExport.from_buffer_copy(result.memory[1])
    return int(raw.pdh_cert_len), int(raw.cert_chain_len)
