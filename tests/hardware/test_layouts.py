"""Sizes, offsets, ioctl numbers and status codes are the kernel headers'."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from tests.hardware.probe import ask
from wasmkeep.hardware import kvm_sev, kvm_snp, kvm_structures, machine_calls, psp_sev, sev_guest
from wasmkeep.hardware.sev_status import SevStatus

# The kernel's name → ours.
STRUCTURES: dict[str, type[ctypes.Structure]] = {
    "sev_issue_cmd": psp_sev.SevIssueCmd,
    "sev_user_data_status": psp_sev.SevUserDataStatus,
    "sev_user_data_pek_csr": psp_sev.SevUserDataPekCsr,
    "sev_user_data_pdh_cert_export": psp_sev.SevUserDataPdhCertExport,
    "sev_user_data_pek_cert_import": psp_sev.SevUserDataPekCertImport,
    "sev_user_data_get_id": psp_sev.SevUserDataGetId,
    "sev_user_data_get_id2": psp_sev.SevUserDataGetId2,
    "sev_user_data_snp_status": psp_sev.SevUserDataSnpStatus,
    "sev_user_data_snp_config": psp_sev.SevUserDataSnpConfig,
    "sev_user_data_snp_vlek_load": psp_sev.SevUserDataSnpVlekLoad,
    "kvm_sev_cmd": kvm_sev.KvmSevCmd,
    "kvm_sev_init": kvm_sev.KvmSevInit,
    "kvm_sev_launch_start": kvm_sev.KvmSevLaunchStart,
    "kvm_sev_launch_update_data": kvm_sev.KvmSevBlob,
    "kvm_sev_launch_measure": kvm_sev.KvmSevBlob,
    "kvm_sev_launch_secret": kvm_sev.KvmSevPacket,
    "kvm_sev_send_update_data": kvm_sev.KvmSevPacket,
    "kvm_sev_receive_update_data": kvm_sev.KvmSevPacket,
    "kvm_sev_guest_status": kvm_sev.KvmSevGuestStatus,
    "kvm_sev_dbg": kvm_sev.KvmSevDbg,
    "kvm_sev_attestation_report": kvm_sev.KvmSevAttestationReport,
    "kvm_sev_send_start": kvm_sev.KvmSevSendStart,
    "kvm_sev_receive_start": kvm_sev.KvmSevReceiveStart,
    "kvm_enc_region": kvm_sev.KvmEncRegion,
    "kvm_sev_snp_launch_start": kvm_snp.KvmSevSnpLaunchStart,
    "kvm_sev_snp_launch_update": kvm_snp.KvmSevSnpLaunchUpdate,
    "kvm_sev_snp_launch_finish": kvm_snp.KvmSevSnpLaunchFinish,
    "snp_report_req": sev_guest.SnpReportReq,
    "snp_report_resp": sev_guest.SnpReportResp,
    "snp_derived_key_req": sev_guest.SnpDerivedKeyReq,
    "snp_derived_key_resp": sev_guest.SnpDerivedKeyResp,
    "snp_guest_request_ioctl": sev_guest.SnpGuestRequestIoctl,
    "snp_ext_report_req": sev_guest.SnpExtReportReq,
    "kvm_userspace_memory_region": kvm_structures.UserspaceMemoryRegion,
    "kvm_regs": kvm_structures.Regs,
    "kvm_segment": kvm_structures.Segment,
    "kvm_dtable": kvm_structures.Dtable,
    "kvm_sregs": kvm_structures.Sregs,
    "kvm_xcr": kvm_structures.Xcr,
    "kvm_xcrs": kvm_structures.Xcrs,
    "kvm_msr_entry": kvm_structures.MsrEntry,
    "kvm_msrs": kvm_structures.MsrsHeader,
    "kvm_cpuid_entry2": kvm_structures.CpuidEntry2,
    "kvm_cpuid2": kvm_structures.Cpuid2,
    "kvm_fpu": kvm_structures.Fpu,
    "kvm_xsave": kvm_structures.Xsave,
}
# Kept as whole integers here, bit fields there: C has no offset of a bit field.
BIT_FIELDS = {
    ("sev_user_data_snp_status", "rmp"),
    ("sev_user_data_snp_status", "flags"),
    ("sev_user_data_snp_config", "flags"),
}
RUN_FIELDS = {"exit_reason": "exit_reason", "direction": "io.direction", "size": "io.size", "port": "io.port"}
RUN_FIELDS |= {"count": "io.count", "data_offset": "io.data_offset", "cr8": "cr8", "apic_base": "apic_base"}
RUN_FIELDS |= {"phys_addr": "mmio.phys_addr", "mmio_data": "mmio.data", "len": "mmio.len"}
RUN_FIELDS |= {"is_write": "mmio.is_write"}

CONSTANTS = {
    "SEV_ISSUE_CMD": psp_sev.SEV_ISSUE_CMD,
    "SNP_GET_REPORT": sev_guest.SNP_GET_REPORT,
    "SNP_GET_DERIVED_KEY": sev_guest.SNP_GET_DERIVED_KEY,
    "SNP_GET_EXT_REPORT": sev_guest.SNP_GET_EXT_REPORT,
    "SNP_GUEST_VMM_ERR_INVALID_LEN": sev_guest.VMM_INVALID_LEN,
    "SNP_GUEST_VMM_ERR_BUSY": sev_guest.VMM_BUSY,
    "KVM_MEMORY_ENCRYPT_OP": kvm_sev.KVM_MEMORY_ENCRYPT_OP,
    "KVM_MEMORY_ENCRYPT_REG_REGION": kvm_sev.KVM_MEMORY_ENCRYPT_REG_REGION,
    "KVM_MEMORY_ENCRYPT_UNREG_REGION": kvm_sev.KVM_MEMORY_ENCRYPT_UNREG_REGION,
    "KVM_SEV_SNP_ID_BLOCK_SIZE": kvm_snp.ID_BLOCK_SIZE,
    "KVM_SEV_SNP_ID_AUTH_SIZE": kvm_snp.ID_AUTH_SIZE,
    "KVM_SEV_SNP_FINISH_DATA_SIZE": kvm_snp.HOST_DATA_SIZE,
    "KVM_API_VERSION": kvm_structures.API_VERSION,
    "KVM_GET_API_VERSION": kvm_structures.GET_API_VERSION,
    "KVM_CREATE_VM": kvm_structures.CREATE_VM,
    "KVM_CHECK_EXTENSION": kvm_structures.CHECK_EXTENSION,
    "KVM_GET_VCPU_MMAP_SIZE": kvm_structures.GET_VCPU_MMAP_SIZE,
    "KVM_GET_SUPPORTED_CPUID": kvm_structures.GET_SUPPORTED_CPUID,
    "KVM_CREATE_VCPU": kvm_structures.CREATE_VCPU,
    "KVM_SET_USER_MEMORY_REGION": kvm_structures.SET_USER_MEMORY_REGION,
    "KVM_RUN": kvm_structures.RUN,
    "KVM_GET_REGS": kvm_structures.GET_REGS,
    "KVM_SET_REGS": kvm_structures.SET_REGS,
    "KVM_GET_SREGS": kvm_structures.GET_SREGS,
    "KVM_SET_SREGS": kvm_structures.SET_SREGS,
    "KVM_SET_MSRS": kvm_structures.SET_MSRS,
    "KVM_SET_FPU": kvm_structures.SET_FPU,
    "KVM_GET_FPU": kvm_structures.GET_FPU,
    "KVM_GET_XSAVE": kvm_structures.GET_XSAVE,
    "KVM_SET_XSAVE": kvm_structures.SET_XSAVE,
    "KVM_CAP_VM_TYPES": kvm_structures.CAP_VM_TYPES,
    "KVM_SET_CPUID2": kvm_structures.SET_CPUID2,
    "KVM_GET_TSC_KHZ": kvm_structures.GET_TSC_KHZ,
    "KVM_SET_XCRS": kvm_structures.SET_XCRS,
    **{f"KVM_X86_{kind.name}_VM": kind for kind in kvm_sev.VmType},
    **{f"KVM_SEV_{command.name}": command for command in kvm_sev.SevCmdId},
    **{
        f"KVM_SEV_SNP_PAGE_TYPE_{kind.name}": kind
        for kind in kvm_snp.SnpPageType
        if kind is not kvm_snp.SnpPageType.VMSA
    },
    **{f"KVM_EXIT_{reason.name}": reason for reason in machine_calls.ExitReason},
    **{
        (command.name if command.name.startswith("SNP") else f"SEV_{command.name}"): command
        for command in psp_sev.SevCommand
    },
}
# The kernel's spelling where it is not the specification's.
STATUS_NAMES = {
    SevStatus.INVALID_LENGTH: "INVALID_LEN",
    SevStatus.HWERROR_PLATFORM: "HWSEV_RET_PLATFORM",
    SevStatus.HWERROR_UNSAFE: "HWSEV_RET_UNSAFE",
    **{
        SevStatus[name]: f"SEV_STATUS_{name}"
        for name in (
            "INVALID_DEV_CTX",
            "INVALID_TDI_CTX",
            "INVALID_TDI",
            "RECLAIM_REQUIRED",
            "INVALID_DEV_STATE",
            "INVALID_TDI_STATE",
            "DEV_CERT_CHANGED",
            "RESYNC_REQ",
            "RESPONSE_TOO_LARGE",
        )
    },
    SevStatus.IN_DEV_CONN: "SEV_STATUS_ERR_IN_DEV_CONN",
}


def status_constant(status: SevStatus) -> str:
    return f"SEV_RET_{STATUS_NAMES.get(status, status.name)}"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    structures = {
        name: [field for field, *_ in ours._fields_ if (name, field) not in BIT_FIELDS]
        for name, ours in STRUCTURES.items()
    }
    structures["kvm_run"] = [*RUN_FIELDS.values(), "immediate_exit"]
    statuses = [status_constant(status) for status in SevStatus]
    return ask(tmp_path_factory.mktemp("probe"), structures, [*CONSTANTS, *statuses, "SEV_RET_MAX"])


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure_lies_as_the_kernel_lays_it(name: str, kernel: dict[str, int]) -> None:
    ours = STRUCTURES[name]
    assert ctypes.sizeof(ours) == kernel[f"sizeof {name}"]
    for field, *_ in ours._fields_:
        if (name, field) not in BIT_FIELDS:
            assert getattr(ours, field).offset == kernel[f"{name}.{field}"], field


@pytest.mark.parametrize("name", CONSTANTS)
def test_number_is_the_kernels(name: str, kernel: dict[str, int]) -> None:
    assert CONSTANTS[name] == kernel[name]


@pytest.mark.parametrize("status", SevStatus, ids=lambda status: status.name)
def test_status_code_is_the_kernels(status: SevStatus, kernel: dict[str, int]) -> None:
    assert kernel[status_constant(status)] == status & (1 << 64) - 1


def test_every_status_code_of_the_kernel_is_known(kernel: dict[str, int]) -> None:
    unused = {0x1E, 0x29, 0x2A, 0x2B, 0x2C, 0x2D, 0x2E, 0x2F, 0x34}
    assert {*range(kernel["SEV_RET_MAX"])} == {status for status in SevStatus if status >= 0} | unused


SNP_STATUS_BITS = {
    ("is_rmp_initialized", 3): psp_sev.RMP_INITIALIZED,
    ("mask_chip_id", 8): psp_sev.MASK_CHIP_ID,
    ("mask_chip_key", 8): psp_sev.MASK_CHIP_KEY,
    ("vlek_en", 8): psp_sev.VLEK_EN,
    ("rapl_dis", 8): psp_sev.RAPL_DIS,
    ("ciphertext_hiding_en", 8): psp_sev.CIPHERTEXT_HIDING_EN,
}


def test_bits_of_a_hosts_status_are_the_kernels(tmp_path: Path) -> None:
    """A structure with one bit set, as its bytes: a bit field has no offset to ask for."""
    values = {
        f"({{ struct sev_user_data_snp_status s = {{0}}; s.{bit} = 1; ((char *)&s)[{byte}]; }})": ours
        for (bit, byte), ours in SNP_STATUS_BITS.items()
    }
    assert ask(tmp_path, {}, list(values)) == values
    assert psp_sev.SevUserDataSnpStatus.rmp.offset == 3  # type: ignore[attr-defined]
    assert psp_sev.SevUserDataSnpStatus.flags.offset == 8  # type: ignore[attr-defined]


def test_run_state_is_the_beginning_of_kvm_run(kernel: dict[str, int]) -> None:
    for field, theirs in RUN_FIELDS.items():
        assert getattr(machine_calls.RunState, field).offset == kernel[f"kvm_run.{theirs}"]
    assert kernel["kvm_run.exit_reason"] == kvm_structures.RUN_EXIT_REASON
    assert kernel["kvm_run.io.direction"] == kvm_structures.RUN_EXIT_DATA
    assert kernel["kvm_run.immediate_exit"] == kvm_structures.RUN_IMMEDIATE_EXIT
    assert kernel["kvm_run.mmio.data"] == kvm_structures.RUN_MMIO_DATA
    assert machine_calls.RunState.rip.offset == 56  # type: ignore[attr-defined] # ours, from here on
    assert ctypes.sizeof(machine_calls.RunState) == machine_calls.RUN_STATE_SIZE == 72


def test_pointers_stand_where_the_structures_have_them() -> None:
    """The builders of calls name offsets; they must be those fields'."""
    assert psp_sev.SevIssueCmd.data.offset == psp_sev._ISSUE_DATA  # type: ignore[attr-defined]
    assert kvm_sev.KvmSevCmd.data.offset == kvm_sev._DATA  # type: ignore[attr-defined]
    assert kvm_snp.KvmSevSnpLaunchUpdate.uaddr.offset == kvm_snp._UPDATE_UADDR  # type: ignore[attr-defined]
    finish = kvm_snp.KvmSevSnpLaunchFinish
    assert finish.id_block_uaddr.offset == kvm_snp._FINISH_ID_BLOCK  # type: ignore[attr-defined]
    assert finish.id_auth_uaddr.offset == kvm_snp._FINISH_ID_AUTH  # type: ignore[attr-defined]
    assert psp_sev.SevUserDataGetId2.address.offset == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("header", [Path("/usr/include/linux/sev-guest.h")], ids=lambda path: path.name)
def test_this_systems_own_header_says_the_same(header: Path, tmp_path: Path) -> None:
    """What the system's own C programs are compiled against, where it has that."""
    if not header.exists():
        pytest.skip(f"no {header} here")
    names = [name for name, ours in STRUCTURES.items() if ours.__module__ == sev_guest.__name__]
    assert len(names) == 6
    constants = [name for name in CONSTANTS if name.startswith(("SNP_GET_", "SNP_GUEST_VMM_"))]
    structures = {name: [field for field, *_ in STRUCTURES[name]._fields_] for name in names}
    system = ask(tmp_path, structures, constants, ("stddef.h", "stdio.h", "linux/ioctl.h", str(header)))
    for name, fields in structures.items():
        assert ctypes.sizeof(STRUCTURES[name]) == system[f"sizeof {name}"]
        assert [getattr(STRUCTURES[name], field).offset for field in fields] == [
            system[f"{name}.{field}"] for field in fields
        ]
    assert [CONSTANTS[name] for name in constants] == [system[name] for name in constants]


def test_probe_notices_a_difference(tmp_path: Path) -> None:
    """The control: a structure that is not the kernel's is told apart."""
    kernel = ask(tmp_path, {"sev_issue_cmd": ["data"]}, [])

    class Unpacked(ctypes.LittleEndianStructure):
        _fields_ = (("cmd", ctypes.c_uint32), ("data", ctypes.c_uint64), ("error", ctypes.c_uint32))

    assert ctypes.sizeof(Unpacked) != kernel["sizeof sev_issue_cmd"]
    assert Unpacked.data.offset != kernel["sev_issue_cmd.data"]
