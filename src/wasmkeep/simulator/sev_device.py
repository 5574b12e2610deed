"""The kernel's side of ``/dev/sev``: SEV_ISSUE_CMD (Linux ``drivers/crypto/ccp/sev-dev.c``).

The user's structures become the firmware's command buffers, and its blobs kernel memory. A command that needs
an initialised platform initialises it. SNP's own commands go to the SNP firmware.
"""

from __future__ import annotations

import errno

from wasmkeep.hardware.psp_sev import (
    CHIP_ID_SIZE,
    MAX_BLOB,
    SEV_ISSUE_CMD,
    FirmwareCommand,
    SevCommand,
    SevIssueCmd,
    SevUserDataGetId2,
    SevUserDataPdhCertExport,
    SevUserDataPekCertImport,
    SevUserDataPekCsr,
    SevUserDataSnpConfig,
    SevUserDataSnpVlekLoad,
)
from wasmkeep.hardware.sev_commands import (
    NoBuffer,
    SevDataBlob,
    SevDataPdhCertExport,
    SevDataPekCertImport,
)
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.kernel_memory import KernelMemory
from wasmkeep.simulator.secure_processor import SecureProcessor
from wasmkeep.simulator.sev_kernel import SevKernel
from wasmkeep.simulator.status import Refused, require
from wasmkeep.simulator.user_memory import UserMemory
from wasmkeep.simulator.vlek import WRAPPED_SIZE

_VLEK_LOAD_SIZE = 16  # bytes of the request
_SNP = frozenset(
    (
        SevCommand.SNP_PLATFORM_STATUS,
        SevCommand.SNP_COMMIT,
        SevCommand.SNP_SET_CONFIG,
        SevCommand.SNP_VLEK_LOAD,
    )
)


class SevDevice:
    """What an open ``/dev/sev`` does."""

    def __init__(self, processor: SecureProcessor, kernel: SevKernel) -> None:
        self._processor = processor
        self._kernel = kernel

    def ioctl(self, number: int, argument: int, memory: UserMemory) -> int:
        """Raises OSError as the kernel would; a refusal of the firmware is EIO with `error` filled in."""
        if number != SEV_ISSUE_CMD:
            raise OSError(errno.ENOTTY, "not an ioctl of /dev/sev")
        issue = memory.structure(SevIssueCmd, argument)
        try:
            command = SevCommand(issue.cmd)
        except ValueError as error:
            raise OSError(errno.EINVAL, "no such command") from error
        try:
            if command in _SNP:
                self._perform_snp(command, issue.data, memory)
            else:
                self._perform(command, issue.data, memory)
        except Refused as refusal:
            issue.error = refusal.status
            memory.write(argument, bytes(issue))
            return -errno.EIO
        issue.error = SevStatus.SUCCESS
        memory.write(argument, bytes(issue))
        return 0

    def _perform_snp(self, command: SevCommand, data: int, memory: UserMemory) -> None:
        processor = self._processor
        if not processor.configuration.product.has_snp:
            raise OSError(errno.EINVAL, "this processor has no SNP")
        if command is SevCommand.SNP_PLATFORM_STATUS:
            memory.write(data, processor.snp_platform_status())
        elif command is SevCommand.SNP_SET_CONFIG:
            processor.snp_config(memory.structure(SevUserDataSnpConfig, data))
        elif command is SevCommand.SNP_COMMIT:
            processor.snp_commit()
        else:
            request = memory.structure(SevUserDataSnpVlekLoad, data)
            if request.len != _VLEK_LOAD_SIZE or request.vlek_wrapped_version != 0:
                raise OSError(errno.EINVAL, "an unknown version of wrapped VLEK")
            processor.snp_vlek_load(memory.read(request.vlek_wrapped_address, WRAPPED_SIZE))

    def _perform(self, command: SevCommand, data: int, memory: UserMemory) -> None:
        kernel = self._kernel
        if command is SevCommand.FACTORY_RESET:
            kernel.factory_reset()
        elif command is SevCommand.PLATFORM_STATUS:
            memory.write(data, bytes(kernel.status()))
        elif command is SevCommand.GET_ID:
            self._get_id(data, memory)
        elif command is SevCommand.GET_ID2:
            self._get_id2(data, memory)
        else:
            kernel.initialise()
            self._perform_initialised(command, data, memory)

    def _perform_initialised(self, command: SevCommand, data: int, memory: UserMemory) -> None:
        if command is SevCommand.PEK_GEN:
            self._kernel.issue(FirmwareCommand.PEK_GEN, NoBuffer())
        elif command is SevCommand.PDH_GEN:
            self._kernel.issue(FirmwareCommand.PDH_GEN, NoBuffer())
        elif command is SevCommand.PEK_CSR:
            self._pek_csr(data, memory)
        elif command is SevCommand.PEK_CERT_IMPORT:
            self._pek_cert_import(data, memory)
        else:
            self._pdh_cert_export(data, memory)

    def _get_id(self, data: int, memory: UserMemory) -> None:
        """The older call: room for two sockets, of which this machine has one."""
        own = KernelMemory()
        size = 2 * CHIP_ID_SIZE
        buffer = SevDataBlob(address=own.room(size), len=size)
        self._kernel.issue(FirmwareCommand.GET_ID, buffer, own)
        memory.write(data, own.taken(buffer.address))

    def _get_id2(self, data: int, memory: UserMemory) -> None:
        request = memory.structure(SevUserDataGetId2, data)
        _require_blob(request.length, errno.EINVAL)
        own = KernelMemory()
        room = own.room(request.length) if request.address else 0
        sent = SevDataBlob(address=room, len=request.length if room else 0)
        status, buffer = self._kernel.command(FirmwareCommand.GET_ID, sent, own)
        if status is SevStatus.SUCCESS:
            memory.write(request.address, own.taken(room))
        request.length = buffer.len
        memory.write(data, bytes(request))
        require(status is SevStatus.SUCCESS, status)

    def _pek_csr(self, data: int, memory: UserMemory) -> None:
        """A query where there is no address or no length."""
        request = memory.structure(SevUserDataPekCsr, data)
        _require_blob(request.length, errno.EFAULT)
        own = KernelMemory()
        room = own.room(request.length) if request.address else 0
        sent = SevDataBlob(address=room, len=request.length if room else 0)
        status, buffer = self._kernel.command(FirmwareCommand.PEK_CSR, sent, own)
        if status is SevStatus.SUCCESS:
            memory.write(request.address, own.taken(room))
        request.length = buffer.len
        memory.write(data, bytes(request))
        require(status is SevStatus.SUCCESS, status)

    def _pek_cert_import(self, data: int, memory: UserMemory) -> None:
        request = memory.structure(SevUserDataPekCertImport, data)
        own = KernelMemory()
        buffer = SevDataPekCertImport(pek_cert_len=request.pek_cert_len, oca_cert_len=request.oca_cert_len)
        buffer.pek_cert_address = own.place(memory.blob(request.pek_cert_address, request.pek_cert_len))
        buffer.oca_cert_address = own.place(memory.blob(request.oca_cert_address, request.oca_cert_len))
        self._kernel.issue(FirmwareCommand.PEK_CERT_IMPORT, buffer, own)

    def _pdh_cert_export(self, data: int, memory: UserMemory) -> None:
        """A query where an address or the PDH's length is missing."""
        request = memory.structure(SevUserDataPdhCertExport, data)
        own = KernelMemory()
        sent = SevDataPdhCertExport()
        if request.pdh_cert_address and request.pdh_cert_len and request.cert_chain_address:
            _require_blob(request.pdh_cert_len, errno.EFAULT)
            _require_blob(request.cert_chain_len, errno.EFAULT)
            sent.pdh_cert_address, sent.pdh_cert_len = own.room(request.pdh_cert_len), request.pdh_cert_len
            sent.cert_chain_address = own.room(request.cert_chain_len)
            sent.cert_chain_len = request.cert_chain_len
        status, buffer = self._kernel.command(FirmwareCommand.PDH_CERT_EXPORT, sent, own)
        if status is SevStatus.SUCCESS:
            memory.write(request.pdh_cert_address, own.taken(sent.pdh_cert_address))
            memory.write(request.cert_chain_address, own.taken(sent.cert_chain_address))
        request.pdh_cert_len, request.cert_chain_len = buffer.pdh_cert_len, buffer.cert_chain_len
        memory.write(data, bytes(request))
        require(status is SevStatus.SUCCESS, status)


def _require_blob(length: int, number: int) -> None:
    """The kernel copies no more than this at once."""
    if length > MAX_BLOB:
        raise OSError(number, "larger than any blob")
