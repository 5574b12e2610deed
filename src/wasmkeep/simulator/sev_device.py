"""The kernel's side of ``/dev/sev``: SEV_ISSUE_CMD (Linux ``drivers/crypto/ccp/sev-dev.c``)."""

from __future__ import annotations

import errno

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.psp_sev import (
    CHIP_ID_SIZE,
    SEV_ISSUE_CMD,
    SevCommand,
    SevIssueCmd,
    SevUserDataGetId2,
    SevUserDataSnpConfig,
    SevUserDataSnpVlekLoad,
)
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.secure_processor import SecureProcessor
from wasmkeep.simulator.status import Refused, require
from wasmkeep.simulator.user_memory import UserMemory

_SEV_ONLY = frozenset(
    (
        SevCommand.FACTORY_RESET,
        SevCommand.PLATFORM_STATUS,
        SevCommand.PEK_GEN,
        SevCommand.PEK_CSR,
        SevCommand.PDH_GEN,
        SevCommand.PDH_CERT_EXPORT,
        SevCommand.PEK_CERT_IMPORT,
    )
)


def sev_ioctl(processor: SecureProcessor, number: int, argument: int, memory: UserMemory) -> int:
    """Raises OSError as the kernel would; a refusal of the firmware is EIO with `error` filled in."""
    if number != SEV_ISSUE_CMD:
        raise OSError(errno.ENOTTY, "not an ioctl of /dev/sev")
    issue = memory.structure(SevIssueCmd, argument)
    try:
        command = SevCommand(issue.cmd)
    except ValueError as error:
        raise OSError(errno.EINVAL, "no such command") from error
    try:
        _perform(processor, command, issue.data, memory)
    except Refused as refusal:
        issue.error = refusal.status
        memory.write(argument, bytes(issue))
        return -errno.EIO
    issue.error = SevStatus.SUCCESS
    memory.write(argument, bytes(issue))
    return 0


def _perform(processor: SecureProcessor, command: SevCommand, data: int, memory: UserMemory) -> None:
    if command is SevCommand.SNP_PLATFORM_STATUS:
        memory.write(data, processor.snp_platform_status())
    elif command is SevCommand.SNP_SET_CONFIG:
        processor.snp_config(memory.structure(SevUserDataSnpConfig, data))
    elif command is SevCommand.SNP_COMMIT:
        processor.snp_commit()
    elif command is SevCommand.GET_ID:
        memory.write(data, processor.get_id().ljust(2 * CHIP_ID_SIZE, b"\0"))
    elif command is SevCommand.GET_ID2:
        _get_id2(processor, data, memory)
    elif command is SevCommand.SNP_VLEK_LOAD:
        request = memory.structure(SevUserDataSnpVlekLoad, data)
        if request.vlek_wrapped_version != 0:
            raise OSError(errno.EINVAL, "an unknown version of wrapped VLEK")
        # This machine has no provider's key that a hashstick could be wrapped for.
        raise Refused(SevStatus.INVALID_KEY)
    else:
        # SEV's own commands: this firmware is started for SNP only.
        require(command not in _SEV_ONLY, SevStatus.UNSUPPORTED)


def _get_id2(processor: SecureProcessor, data: int, memory: UserMemory) -> None:
    """A length that is too small is INVALID_LENGTH, with the needed one written back."""
    request = memory.structure(SevUserDataGetId2, data)
    if request.length > 4 * PAGE:
        raise OSError(errno.EINVAL, "larger than any blob")
    short = request.length < CHIP_ID_SIZE
    if not short:
        memory.write(request.address, processor.get_id())
    request.length = CHIP_ID_SIZE
    memory.write(data, bytes(request))
    require(not short, SevStatus.INVALID_LENGTH)
