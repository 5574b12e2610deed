"""What a person reads when the secure processor refuses."""

from __future__ import annotations

import errno

import pytest

from wasmkeep.hardware import kvm_sev, kvm_snp, psp_sev
from wasmkeep.hardware.calls import IoctlRefused, Result
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus, status_name


def test_a_refusal_names_command_status_and_remedy() -> None:
    error = FirmwareError("SNP_LAUNCH_START", SevStatus.RESOURCE_LIMIT)
    assert (error.command, error.status, error.exit_code) == ("SNP_LAUNCH_START", 0x17, 74)
    assert "SNP_LAUNCH_START" in error.message
    assert error.found == "RESOURCE_LIMIT (0x17)"
    assert "stop a keep" in error.remedy


def test_a_status_that_nobody_knows_keeps_its_number() -> None:
    assert status_name(0x77) == "unknown status (0x77)"
    assert FirmwareError("X", 0x77).status == 0x77


@pytest.mark.parametrize("module", [psp_sev, kvm_sev], ids=lambda module: module.__name__)
def test_firmware_and_kernel_refusals_are_told_apart(module: object) -> None:
    if module is psp_sev:
        call = psp_sev.snp_commit()
        argument = bytes(psp_sev.SevIssueCmd(cmd=10, error=SevStatus.INVALID_PARAM))
        unasked = bytes(psp_sev.SevIssueCmd(cmd=10, error=0xFFFFFFFF))
        check = psp_sev.check
    else:
        call = kvm_snp.snp_launch_start(0x30000)
        argument = bytes(kvm_sev.KvmSevCmd(error=SevStatus.INVALID_PARAM))
        unasked = bytes(kvm_sev.KvmSevCmd())
        check = kvm_sev.check
    with pytest.raises(FirmwareError) as refusal:
        check(call, Result(-errno.EIO, (argument,)))
    assert refusal.value.status is SevStatus.INVALID_PARAM or refusal.value.status == 0x16
    for value, memory in ((-errno.EIO, unasked), (-errno.EPERM, argument)):
        with pytest.raises(IoctlRefused) as other:
            check(call, Result(value, (memory,)))
        assert other.value.number == -value
    assert check(call, Result(0, (argument,))) == (argument,)
