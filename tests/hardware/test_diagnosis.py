"""What is missing and what helps: from the files of a computer as its kernel shows them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware import devices, psp_sev, sev_host, surroundings
from wasmkeep.hardware.calls import Call, Result
from wasmkeep.hardware.devices import Device, DeviceFound, DeviceState
from wasmkeep.hardware.diagnosis import MissingKind, missing, snp_missing
from wasmkeep.hardware.psp_sev import (
    CIPHERTEXT_HIDING_EN,
    MASK_CHIP_ID,
    RMP_INITIALIZED,
    VLEK_EN,
    SevCommand,
    SevIssueCmd,
    SevUserDataSnpStatus,
    SevUserDataStatus,
)
from wasmkeep.hardware.sev_commands import STATUS_ES, STATUS_OWNER, SevPlatformState
from wasmkeep.hardware.surroundings import AMD, INTEL, Surroundings

HOST = Surroundings(
    vendor=AMD,
    flags=frozenset({"svm", "sev", "sev_es", "sev_snp"}),
    kernel=(6, 12),
    modules=frozenset({"ccp", "kvm_amd"}),
    parameters={"kvm_amd/sev_snp": "Y"},
)
GUEST = Surroundings(
    vendor=AMD,
    flags=frozenset({"hypervisor", "sev_snp"}),
    kernel=(6, 12),
    modules=frozenset({"sev_guest"}),
    configfs_mounted=True,
    vmpl=0,
)
TD = Surroundings(
    vendor=INTEL, flags=frozenset({"hypervisor", "tdx_guest"}), kernel=(6, 8), configfs_mounted=True
)
INTEL_HOST = Surroundings(vendor=INTEL, flags=frozenset({"vmx"}), kernel=(6, 8))


def of(around: Surroundings, **changes: object) -> Surroundings:
    fields = {name: getattr(around, name) for name in Surroundings.__dataclass_fields__}
    return Surroundings(**{**fields, **changes})


def without(around: Surroundings, *flags: str) -> Surroundings:
    return of(around, flags=around.flags - set(flags))


K = MissingKind
ABSENT = [
    (devices.SEV, INTEL_HOST, K.PROCESSOR, "AMD EPYC"),
    (devices.SEV, GUEST, K.MACHINE, "look on its host"),
    (devices.SEV, without(HOST, "sev", "sev_es", "sev_snp"), K.FIRMWARE, "SMEE"),
    (devices.SEV, of(HOST, modules=frozenset()), K.MODULE, "modprobe ccp"),
    (devices.SEV, HOST, K.FIRMWARE, "dmesg"),
    (devices.SEV_GUEST, TD, K.PROCESSOR, "SNP guest"),
    (devices.SEV_GUEST, HOST, K.MACHINE, "inside a confidential"),
    (devices.SEV_GUEST, of(GUEST, kernel=(5, 18)), K.KERNEL, "Linux 5.19"),
    (devices.SEV_GUEST, of(without(GUEST, "sev_snp"), vmpl=None), K.MACHINE, "have its host launch it"),
    (devices.SEV_GUEST, of(GUEST, modules=frozenset()), K.MODULE, "modprobe sev-guest"),
    (devices.SEV_GUEST, of(without(GUEST, "sev_snp"), modules=frozenset()), K.MODULE, "modprobe sev-guest"),
    (devices.SEV_GUEST, GUEST, K.KERNEL, "start this guest again"),
    (devices.TSM, HOST, K.MACHINE, "inside a confidential"),
    (devices.TSM, of(TD, kernel=(6, 6)), K.KERNEL, "Linux 6.7"),
    (devices.TSM, of(TD, vendor="CentaurHauls"), K.PROCESSOR, "SNP or TDX"),
    (devices.TSM, without(TD, "tdx_guest"), K.MACHINE, "modprobe tdx-guest"),
    (devices.TSM, of(GUEST, configfs_mounted=False), K.MOUNT, "mount -t configfs"),
    (devices.TSM, GUEST, K.MODULE, "modprobe sev-guest"),
    (devices.TSM, TD, K.MODULE, "modprobe tdx-guest"),
    (devices.SGX, HOST, K.PROCESSOR, "SGX"),
    (devices.SGX, of(INTEL_HOST, flags=frozenset({"sgx"})), K.KERNEL, "CONFIG_X86_SGX"),
    (devices.SGX, TD, K.MACHINE, "have its host enable it"),
    (devices.SGX, INTEL_HOST, K.FIRMWARE, "Software Guard Extensions"),
    (devices.KVM, of(HOST, vendor="CentaurHauls"), K.PROCESSOR, "virtualisation"),
    (devices.KVM, HOST, K.MODULE, "modprobe kvm_amd"),
    (devices.KVM, INTEL_HOST, K.MODULE, "modprobe kvm_intel"),
    (devices.KVM, GUEST, K.MACHINE, "nested"),
    (devices.KVM, without(HOST, "svm"), K.FIRMWARE, "SVM Mode"),
    (devices.KVM, without(INTEL_HOST, "vmx"), K.FIRMWARE, "Virtualization Technology"),
]


@pytest.mark.parametrize(
    ("device", "around", "kind", "fix"), ABSENT, ids=[f"{row[0].name}-{row[2]}-{row[3]}" for row in ABSENT]
)
def test_what_is_absent_comes_with_the_first_thing_in_the_way(
    device: Device, around: Surroundings, kind: MissingKind, fix: str
) -> None:
    lacks = missing(DeviceFound(device, DeviceState.ABSENT), around)
    assert lacks is not None
    assert lacks.kind is kind
    assert fix in lacks.fix
    assert lacks.why


@pytest.mark.parametrize("device", devices.DEVICES, ids=lambda device: device.name)
def test_every_device_is_diagnosed(device: Device) -> None:
    """Also where nothing at all can be read of the computer."""
    assert missing(DeviceFound(device, DeviceState.ABSENT), Surroundings()) is not None
    assert missing(DeviceFound(device, DeviceState.PRESENT), Surroundings()) is None


def test_a_permission_is_a_group_to_join_or_roots() -> None:
    locked = DeviceFound(devices.KVM, DeviceState.NO_PERMISSION)
    lacks = missing(locked, of(HOST, groups={"/dev/kvm": "kvm"}))
    assert lacks is not None
    assert (lacks.kind, lacks.fix) == (K.PERMISSION, "`sudo usermod -aG kvm $USER`, then log in again")
    lacks = missing(
        DeviceFound(devices.SEV, DeviceState.NO_PERMISSION), of(HOST, groups={"/dev/sev": "root"})
    )
    assert lacks is not None
    assert 'KERNEL=="sev"' in lacks.fix
    lacks = missing(DeviceFound(devices.TSM, DeviceState.NO_PERMISSION), GUEST)
    assert lacks is not None
    assert lacks.fix == "run it as root"


@pytest.mark.parametrize(
    ("around", "kind", "fix"),
    [
        (without(HOST, "sev_snp"), K.FIRMWARE, "RMP Table"),
        (of(HOST, kernel=(6, 10)), K.KERNEL, "Linux 6.11"),
        (of(HOST, modules=frozenset({"ccp"})), K.MODULE, "modprobe kvm_amd"),
        (of(HOST, parameters={"kvm_amd/sev_snp": "N"}), K.MODULE, "sev_snp=1"),
        (HOST, K.FIRMWARE, "update the SEV firmware"),
    ],
    ids=["flag", "kernel", "module", "parameter", "firmware"],
)
def test_a_host_without_snp_learns_why(around: Surroundings, kind: MissingKind, fix: str) -> None:
    lacks = snp_missing(around)
    assert lacks.kind is kind
    assert fix in lacks.fix


# What a computer's files say


CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
flags\t\t: fpu svm sev sev_es sev_snp

processor\t: 1
vendor_id\t: AuthenticAMD
flags\t\t: fpu
"""


def put(root: Path, path: str, content: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


def test_files_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", CPUINFO)
    put(tmp_path, "proc/sys/kernel/osrelease", "6.11.0-rc3+\n")
    put(
        tmp_path,
        "proc/mounts",
        "tmpfs / tmpfs rw 0 0\nconfigfs /sys/kernel/config configfs rw,nosuid 0 0\n",
    )
    put(tmp_path, "sys/module/kvm_amd/parameters/sev_snp", "Y\n")
    put(tmp_path, "sys/module/ccp/initstate", "live\n")
    put(tmp_path, "sys/devices/system/cpu/sev/vmpl", "2\n")
    put(tmp_path, "dev/kvm")
    around = surroundings.look(tmp_path)
    assert around.vendor == AMD
    assert around.flags == {"fpu", "svm", "sev", "sev_es", "sev_snp"}
    assert not around.in_guest
    assert around.kernel == (6, 11)
    assert around.modules == {"kvm_amd", "ccp"}
    assert around.parameters["kvm_amd/sev_snp"] == "Y"
    assert around.parameters["kvm_amd/sev"] == ""
    assert around.configfs_mounted
    assert around.vmpl == 2
    assert around.groups["/dev/kvm"]
    assert around.groups["/dev/sev"] == ""


def test_a_group_without_a_name_is_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "dev/kvm")

    def nameless(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("grp.getgrgid", nameless)
    assert surroundings.look(tmp_path).groups["/dev/kvm"] == str(os.stat(tmp_path / "dev/kvm").st_gid)


@pytest.mark.parametrize("content", ["", "\xff", "vendor_id", "flags :"])
def test_files_that_say_nothing_are_no_error(tmp_path: Path, content: str) -> None:
    put(tmp_path, "proc/cpuinfo", content)
    put(tmp_path, "proc/sys/kernel/osrelease", content)
    put(tmp_path, "proc/mounts", content + "\n\n")
    put(tmp_path, "sys/devices/system/cpu/sev/vmpl", content)
    around = surroundings.look(tmp_path)
    assert (around.vendor, around.flags, around.kernel) == ("", frozenset(), (0, 0))
    assert around.vmpl is None
    assert not around.configfs_mounted


def test_this_computer_can_be_looked_at() -> None:
    around = surroundings.look()
    assert around.kernel > (0, 0)
    assert around.groups.keys() == {device.path for device in devices.DEVICES}


# A host's status


SEV_STATUS = SevUserDataStatus(
    api_major=1, api_minor=55, state=2, flags=STATUS_ES | STATUS_OWNER, build=21, guest_count=3
)
SNP_STATUS = SevUserDataSnpStatus(
    api_major=1,
    api_minor=55,
    state=1,
    build_id=21,
    rmp=RMP_INITIALIZED,
    flags=VLEK_EN | MASK_CHIP_ID | CIPHERTEXT_HIDING_EN,
    guest_count=4,
    current_tcb_version=0x48_17_00_00_00_00_00_09,
    reported_tcb_version=0x47_17_00_00_00_00_00_09,
)


def answering(sev: bytes | int, snp: bytes | int) -> sev_host.HostStatus:
    """``/dev/sev`` that answers so: bytes, or an errno."""

    def ask(call: Call) -> Result:
        command = SevIssueCmd.from_buffer_copy(call.memory[0])
        answer = sev if command.cmd == SevCommand.PLATFORM_STATUS else snp
        if isinstance(answer, int):
            return Result(-answer, (bytes(SevIssueCmd(cmd=command.cmd, error=0x01)), *call.memory[1:]))
        assert len(answer) == len(call.memory[1])
        return Result(0, (call.memory[0], answer))

    return sev_host.host_status(ask)


def test_a_host_says_what_it_is() -> None:
    status = answering(bytes(SEV_STATUS), bytes(SNP_STATUS))
    assert status.sev is not None
    assert status.snp is not None
    assert (status.sev.state, status.sev.es, status.sev.owned) == (SevPlatformState.WORKING, True, True)
    assert (status.sev.api_major, status.sev.api_minor, status.sev.build) == (1, 55, 21)
    assert status.snp.initialized
    assert status.snp.vlek_loaded
    assert status.snp.mask_chip_id
    assert status.snp.rmp_initialized
    assert status.snp.ciphertext_hiding
    assert not status.snp.mask_chip_key
    assert not status.snp.rapl_disabled
    assert status.snp.reported_tcb == SNP_STATUS.reported_tcb_version
    assert (status.sev_refused, status.snp_refused) == ("", "")


def test_what_is_refused_says_how() -> None:
    status = answering(errno.EIO, errno.EINVAL)
    assert (status.sev, status.snp) == (None, None)
    assert status.sev_refused == "INVALID_PLATFORM_STATE (0x01)"
    assert status.snp_refused.startswith("EINVAL")


def test_a_state_that_nobody_knows_is_no_status() -> None:
    odd = SevUserDataStatus(state=9)
    status = answering(bytes(odd), bytes(SNP_STATUS))
    assert status.sev is None
    assert "9" in status.sev_refused
    assert status.snp is not None


def test_a_computer_that_is_no_host_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "SEV", Device("/dev/sev", str(tmp_path / "sev"), "launch", "an EPYC"))
    with pytest.raises(PlatformUnavailable):
        sev_host.read_host_status()
    (tmp_path / "sev").touch()  # no device: both questions are refused
    status = sev_host.read_host_status()
    assert status.sev_refused.startswith("ENOTTY")
    assert status.snp_refused.startswith("ENOTTY")
    assert psp_sev.SEV_ISSUE_CMD > 1 << 31
