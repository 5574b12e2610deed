"""The SEV firmware's mailbox: a command id and its buffer in, a status and the buffer out (SEV API 0.24)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Set
from typing import Any

from wasmkeep.evidence.sev.packet import Context
from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_commands import COMMAND_BUFFERS, SevPlatformState
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.hardware.structures import Structure, size_of
from wasmkeep.simulator.chip import Chip
from wasmkeep.simulator.key_slots import KeySlots
from wasmkeep.simulator.products import SevVersion
from wasmkeep.simulator.sev import activation, debug, launch, migration, platform
from wasmkeep.simulator.sev.context import FirmwareContext
from wasmkeep.simulator.sev.states import next_platform_state
from wasmkeep.simulator.sev.transfers import LengthNeeded
from wasmkeep.simulator.status import Refused, require
from wasmkeep.simulator.system_memory import SystemMemory

# A command takes its own structure of `COMMAND_BUFFERS`, which no one type describes.
_Command = Callable[[FirmwareContext, Any, SystemMemory], None]
_ = FirmwareCommand
COMMANDS: Mapping[FirmwareCommand, _Command] = {
    _.INIT: platform.init,
    _.INIT_EX: platform.init_ex,
    _.SHUTDOWN: platform.shutdown,
    _.PLATFORM_RESET: platform.platform_reset,
    _.PLATFORM_STATUS: platform.platform_status,
    _.GET_ID: platform.get_id,
    _.PEK_GEN: platform.pek_gen,
    _.PEK_CSR: platform.pek_csr,
    _.PEK_CERT_IMPORT: platform.pek_cert_import,
    _.PDH_GEN: platform.pdh_gen,
    _.PDH_CERT_EXPORT: platform.pdh_cert_export,
    _.DF_FLUSH: platform.df_flush,
    _.LAUNCH_START: launch.launch_start,
    _.LAUNCH_UPDATE_DATA: launch.launch_update_data,
    _.LAUNCH_UPDATE_VMSA: launch.launch_update_vmsa,
    _.LAUNCH_MEASURE: launch.launch_measure,
    _.LAUNCH_SECRET: launch.launch_secret,
    _.LAUNCH_FINISH: launch.launch_finish,
    _.ATTESTATION: activation.attestation,
    _.ACTIVATE: activation.activate,
    _.DEACTIVATE: activation.deactivate,
    _.DECOMMISSION: activation.decommission,
    _.GUEST_STATUS: activation.guest_status,
    _.SEND_START: migration.send_start,
    _.SEND_UPDATE_DATA: migration.send_update_data,
    _.SEND_UPDATE_VMSA: migration.send_update_vmsa,
    _.SEND_FINISH: migration.send_finish,
    _.SEND_CANCEL: migration.send_cancel,
    _.RECEIVE_START: migration.receive_start,
    _.RECEIVE_UPDATE_DATA: migration.receive_update_data,
    _.RECEIVE_UPDATE_VMSA: migration.receive_update_vmsa,
    _.RECEIVE_FINISH: migration.receive_finish,
    _.DBG_DECRYPT: debug.dbg_decrypt,
    _.DBG_ENCRYPT: debug.dbg_encrypt,
}


class SevFirmware:
    """One platform's firmware. Thread safe: one command at a time, as a mailbox takes them."""

    def __init__(
        self,
        chip: Chip,
        version: SevVersion,
        slots: KeySlots,
        amd_roots: Set[bytes] = frozenset(),
        *,
        vmsa_context: int = Context.UPDATE_VMSA,
    ) -> None:
        """`amd_roots`: SPKI digests of the ARKs that are AMD's to this chip, its own machine's among them.

        `vmsa_context` is the first byte under the MAC of a VMSA's packet (SEV.md E-2).
        """
        self._lock = threading.Lock()
        self._context = FirmwareContext(chip, version, slots, amd_roots, vmsa_context)

    def command(self, command_id: int, buffer: bytes, memory: SystemMemory) -> tuple[SevStatus, bytes]:
        """The status, and the buffer as it is written back: outputs on success only, or what a length query
        asks.

        INVALID_COMMAND for an id of no SEV command; INVALID_LENGTH where `buffer` is not that command's.
        """
        with self._lock:
            try:
                return SevStatus.SUCCESS, self._perform(command_id, buffer, memory)
            except LengthNeeded as query:
                return query.status, _with_lengths(FirmwareCommand(command_id), buffer, query.lengths)
            except Refused as refusal:
                return refusal.status, buffer

    def _perform(self, command_id: int, buffer: bytes, memory: SystemMemory) -> bytes:
        command = _known(command_id)
        kind = COMMAND_BUFFERS[command]
        require(len(buffer) == size_of(kind), SevStatus.INVALID_LENGTH)
        context = self._context
        following = next_platform_state(command, context.state)
        perform = COMMANDS.get(command)
        if perform is None:
            raise Refused(SevStatus.UNSUPPORTED)
        structure: Structure = kind.from_buffer_copy(buffer)
        perform(context, structure, memory)
        last_gone = command is FirmwareCommand.DECOMMISSION and not context.guests
        context.state = SevPlatformState.INIT if last_gone else following
        return bytes(structure)


def _known(command_id: int) -> FirmwareCommand:
    if command_id not in COMMAND_BUFFERS:
        raise Refused(SevStatus.INVALID_COMMAND)
    return FirmwareCommand(command_id)


def _with_lengths(command: FirmwareCommand, buffer: bytes, lengths: Mapping[str, int]) -> bytes:
    structure = COMMAND_BUFFERS[command].from_buffer_copy(buffer)
    for field, length in lengths.items():
        setattr(structure, field, length)
    return bytes(structure)
