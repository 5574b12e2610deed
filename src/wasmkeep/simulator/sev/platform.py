"""The platform's commands (SEV API 0.24, chapter 5): initialising, identity, owner.

A function is a command: it checks, in the order of SEV.md A.4, then does; what it gives back it writes into
its command buffer. Whether the platform's state allows it was asked before.
"""

from __future__ import annotations

from wasmkeep.evidence.sev.certificate import Usage
from wasmkeep.hardware.psp_sev import CHIP_ID_SIZE, SevUserDataStatus
from wasmkeep.hardware.sev_commands import (
    CERTIFICATE_CHAIN_SIZE,
    CERTIFICATE_SIZE,
    INIT_EX_LENGTH,
    INIT_FLAG_ES,
    NV_LENGTH,
    NV_OWN_FLASH,
    STATUS_ES,
    STATUS_OWNER,
    NoBuffer,
    SevDataBlob,
    SevDataInit,
    SevDataInitEx,
    SevDataPdhCertExport,
    SevDataPekCertImport,
)
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.sev.context import FirmwareContext
from wasmkeep.simulator.sev.identity import PlatformIdentity, cek_certificate, read_certificate, unseal
from wasmkeep.simulator.sev.transfers import require_length, require_room, store
from wasmkeep.simulator.status import require
from wasmkeep.simulator.system_memory import SystemMemory

TMR_SIZES = (1 << 20, 2 << 20)  # trusted memory region of SEV-ES; the second where SNP is on


def init(firmware: FirmwareContext, buffer: SevDataInit, memory: SystemMemory) -> None:
    """INIT: OCA, PEK and PDH are made if there are none. With `flags` bit 0, SEV-ES is on."""
    _check_init(buffer)
    _initialise(firmware, buffer, memory, None)


def init_ex(firmware: FirmwareContext, buffer: SevDataInitEx, memory: SystemMemory) -> None:
    """INIT_EX: as INIT, with persistent state in the host's memory where `nv_address` says so."""
    require_length(buffer.length, INIT_EX_LENGTH)
    _check_init(buffer)
    if buffer.nv_address == NV_OWN_FLASH:
        _initialise(firmware, buffer, memory, None)
        return
    require_length(buffer.nv_len, NV_LENGTH)
    kept = unseal(memory.read(buffer.nv_address, NV_LENGTH), firmware.chip)
    identity = kept or PlatformIdentity.generate(firmware.chip, firmware.version)
    store(memory, (buffer.nv_address, identity.seal(firmware.chip)))
    firmware.adopt(identity, memory)
    _initialise(firmware, buffer, memory, buffer.nv_address)


def _check_init(buffer: SevDataInit | SevDataInitEx) -> None:
    require(not buffer.flags & ~INIT_FLAG_ES, SevStatus.INVALID_PARAM)
    if buffer.flags & INIT_FLAG_ES:
        require_length(buffer.tmr_len, *TMR_SIZES)
        require(buffer.tmr_address % buffer.tmr_len == 0, SevStatus.INVALID_ADDRESS)


def _initialise(
    firmware: FirmwareContext,
    buffer: SevDataInit | SevDataInitEx,
    memory: SystemMemory,
    nv_address: int | None,
) -> None:
    firmware.nv_address = nv_address
    if not firmware.has_identity:
        firmware.adopt(PlatformIdentity.generate(firmware.chip, firmware.version), memory)
    firmware.es = bool(buffer.flags & INIT_FLAG_ES)


def shutdown(firmware: FirmwareContext, _buffer: NoBuffer, _memory: SystemMemory) -> None:
    """SHUTDOWN: every guest dies. OCA, PEK and PDH stay."""
    for guest in list(firmware.guests.values()):
        firmware.remove(guest)
    firmware.es = False
    firmware.nv_address = None


def platform_reset(firmware: FirmwareContext, _buffer: NoBuffer, _memory: SystemMemory) -> None:
    """PLATFORM_RESET: the next INIT makes a self-owned identity anew."""
    firmware.forget_identity()


def platform_status(firmware: FirmwareContext, buffer: SevUserDataStatus, _memory: SystemMemory) -> None:
    """PLATFORM_STATUS: 12 bytes, all of them outputs."""
    external = firmware.has_identity and firmware.identity.external
    buffer.api_major, buffer.api_minor = firmware.version.api
    buffer.build = firmware.version.build
    buffer.state = firmware.state
    buffer.flags = STATUS_OWNER * external | STATUS_ES * firmware.es
    buffer.guest_count = len(firmware.guests)


def get_id(firmware: FirmwareContext, buffer: SevDataBlob, memory: SystemMemory) -> None:
    """GET_ID: 64 bytes for the one socket there is."""
    require_room(buffer, len=CHIP_ID_SIZE)
    store(memory, (buffer.address, firmware.chip.chip_id))
    buffer.len = CHIP_ID_SIZE


def pek_gen(firmware: FirmwareContext, _buffer: NoBuffer, memory: SystemMemory) -> None:
    """PEK_GEN: a new OCA of the platform's own, a new PEK, a new PDH. An external owner is dropped."""
    firmware.adopt(PlatformIdentity.generate(firmware.chip, firmware.version), memory)


def pek_csr(firmware: FirmwareContext, buffer: SevDataBlob, memory: SystemMemory) -> None:
    """PEK_CSR: the PEK for an owner to sign, both slots empty."""
    require_room(buffer, len=CERTIFICATE_SIZE)
    store(memory, (buffer.address, firmware.identity.signing_request().encode()))
    buffer.len = CERTIFICATE_SIZE


def pek_cert_import(firmware: FirmwareContext, buffer: SevDataPekCertImport, memory: SystemMemory) -> None:
    """PEK_CERT_IMPORT: the platform is an owner's. The CEK signs as well, and the PDH is a new one."""
    identity = firmware.identity
    require(not identity.external, SevStatus.ALREADY_OWNED)
    require_length(buffer.pek_cert_len, CERTIFICATE_SIZE)
    require_length(buffer.oca_cert_len, CERTIFICATE_SIZE)
    oca = read_certificate(memory.read(buffer.oca_cert_address, CERTIFICATE_SIZE), Usage.OCA)
    pek = read_certificate(memory.read(buffer.pek_cert_address, CERTIFICATE_SIZE), Usage.PEK)
    owners_alone = (Usage.OCA,)
    require(oca.signers == owners_alone and pek.signers == owners_alone, SevStatus.INVALID_CERTIFICATE)
    require(oca.signed_by(Usage.OCA, oca.key), SevStatus.BAD_SIGNATURE)
    require(pek.signed_by(Usage.OCA, oca.key), SevStatus.BAD_SIGNATURE)
    require(pek.body == identity.pek.body, SevStatus.INVALID_CERTIFICATE)
    firmware.adopt(identity.owned_by(pek, oca, firmware.chip, firmware.version), memory)


def pdh_gen(firmware: FirmwareContext, _buffer: NoBuffer, memory: SystemMemory) -> None:
    """PDH_GEN: sessions made for the old PDH open no more."""
    firmware.adopt(firmware.identity.with_new_pdh(firmware.version), memory)


def pdh_cert_export(firmware: FirmwareContext, buffer: SevDataPdhCertExport, memory: SystemMemory) -> None:
    """PDH_CERT_EXPORT: the PDH, and PEK ‖ OCA ‖ CEK. The CEK comes without AMD's signature."""
    require_room(buffer, pdh_cert_len=CERTIFICATE_SIZE, cert_chain_len=CERTIFICATE_CHAIN_SIZE)
    identity = firmware.identity
    chain = (identity.pek, identity.oca, cek_certificate(firmware.chip))
    store(
        memory,
        (buffer.pdh_cert_address, identity.pdh.encode()),
        (buffer.cert_chain_address, b"".join(one.encode() for one in chain)),
    )
    buffer.pdh_cert_len = CERTIFICATE_SIZE
    buffer.cert_chain_len = CERTIFICATE_CHAIN_SIZE


def df_flush(firmware: FirmwareContext, _buffer: NoBuffer, _memory: SystemMemory) -> None:
    """DF_FLUSH: deactivated slots may be used again. WBINVD_REQUIRED before it."""
    firmware.slots.df_flush()
