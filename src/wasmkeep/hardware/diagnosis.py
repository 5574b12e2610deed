"""Why a device is not there, or SNP not on, and what helps: from what the kernel says of the computer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from wasmkeep.hardware import devices
from wasmkeep.hardware.devices import DeviceFound, DeviceState
from wasmkeep.hardware.surroundings import AMD, INTEL, Surroundings

__all__ = ["Missing", "MissingKind", "missing", "snp_missing"]

_SEV_GUEST_SINCE = (5, 19)
_TSM_SINCE = (6, 7)
_SNP_HOST_SINCE = (6, 11)
_GUEST_DRIVERS = {AMD: ("an SNP", "sev-guest"), INTEL: ("a TDX", "tdx-guest")}


class MissingKind(StrEnum):
    """What has to change."""

    PROCESSOR = "processor"
    FIRMWARE = "firmware setup"
    MACHINE = "virtual machine"
    KERNEL = "kernel"
    MODULE = "module"
    MOUNT = "mount"
    PERMISSION = "permission"


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that is missing: the first of those in the way. `fix` says what to do about it."""

    kind: MissingKind
    why: str
    fix: str


def missing(found: DeviceFound, around: Surroundings) -> Missing | None:
    """What `found` lacks; None where it is present."""
    if found.state is DeviceState.PRESENT:
        return None
    if found.state is DeviceState.NO_PERMISSION:
        return _permission(found, around)
    return _WHY_ABSENT[found.device.name](around)


def snp_missing(around: Surroundings) -> Missing:
    """What keeps a host that has ``/dev/sev`` from SNP."""
    if "sev_snp" not in around.flags:
        return Missing(
            MissingKind.FIRMWARE,
            "the firmware leaves SEV-SNP off, or this processor is older than Milan",
            "in the firmware setup enable SEV-SNP Support, SNP Memory (RMP Table) Coverage and the IOMMU",
        )
    if around.kernel < _SNP_HOST_SINCE:
        return _older(around, _SNP_HOST_SINCE, "cannot launch SNP guests")
    if "kvm_amd" not in around.modules:
        return Missing(MissingKind.MODULE, "the module kvm_amd is not loaded", "`sudo modprobe kvm_amd`")
    if around.parameters.get("kvm_amd/sev_snp") == "N":
        return Missing(
            MissingKind.MODULE,
            "the module kvm_amd runs without SNP",
            "`sudo modprobe -r kvm_amd; sudo modprobe kvm_amd sev=1 sev_es=1 sev_snp=1`",
        )
    return Missing(
        MissingKind.FIRMWARE,
        "the secure processor did not initialise SNP",
        "see `dmesg | grep -i -e ccp -e sev -e rmp`, and update the SEV firmware",
    )


def _permission(found: DeviceFound, around: Surroundings) -> Missing:
    if found.device is devices.TSM:
        return Missing(MissingKind.PERMISSION, "only root may ask there", "run it as root")
    group = around.groups.get(found.device.path, "")
    if group not in ("", "root"):
        return Missing(
            MissingKind.PERMISSION,
            f"it belongs to the group {group}",
            f"`sudo usermod -aG {group} $USER`, then log in again",
        )
    name = found.device.path.rpartition("/")[2]
    return Missing(
        MissingKind.PERMISSION,
        "it belongs to root alone",
        f'run it as root, or give it a group with a udev rule: KERNEL=="{name}", GROUP="kvm", MODE="0660"',
    )


def _sev(around: Surroundings) -> Missing:
    if around.vendor != AMD:
        return _not_of("AMD", "an AMD EPYC processor")
    if around.in_guest:
        return Missing(
            MissingKind.MACHINE, "this is a virtual machine; hosts launch SEV guests", "look on its host"
        )
    if "sev" not in around.flags:
        return Missing(
            MissingKind.FIRMWARE,
            "the firmware leaves SEV off, or this processor is no EPYC",
            "in the firmware setup (AMD CBS, CPU Common Options) enable SMEE, "
            "and set SEV-ES ASID Space Limit above 1",
        )
    if "ccp" not in around.modules:
        return Missing(MissingKind.MODULE, "the module ccp is not loaded", "`sudo modprobe ccp`")
    return Missing(
        MissingKind.FIRMWARE,
        "the ccp driver found no secure processor that answers",
        "see `dmesg | grep -i -e ccp -e sev`, and update the firmware",
    )


def _sev_guest(around: Surroundings) -> Missing:
    if around.vendor != AMD:
        return _not_of("AMD", "an SNP guest on an AMD EPYC processor")
    if not around.in_guest:
        return _no_guest()
    if around.kernel < _SEV_GUEST_SINCE:
        return _older(around, _SEV_GUEST_SINCE, "has no sev-guest driver")
    if not _looks_confidential(around):
        return _not_confidential(around)
    if "sev_guest" not in around.modules:
        return Missing(MissingKind.MODULE, "the module sev-guest is not loaded", "`sudo modprobe sev-guest`")
    return Missing(
        MissingKind.KERNEL,
        "the sev-guest driver has no message key: it was given up, or is another level's",
        "see `dmesg | grep -i sev`, and start this guest again",
    )


def _tsm(around: Surroundings) -> Missing:
    if not around.in_guest:
        return _no_guest()
    if around.kernel < _TSM_SINCE:
        return _older(around, _TSM_SINCE, "has no configfs tsm")
    if around.vendor not in _GUEST_DRIVERS:
        return _not_of("AMD or Intel", "an SNP or TDX guest")
    if not _looks_confidential(around):
        return _not_confidential(around)
    if not around.configfs_mounted:
        return Missing(
            MissingKind.MOUNT, "configfs is not mounted", "`sudo mount -t configfs none /sys/kernel/config`"
        )
    _, driver = _GUEST_DRIVERS[around.vendor]
    return Missing(MissingKind.MODULE, f"the module {driver} is not loaded", f"`sudo modprobe {driver}`")


def _sgx(around: Surroundings) -> Missing:
    if around.vendor != INTEL:
        return _not_of("Intel", "an Intel Xeon with SGX")
    if "sgx" in around.flags:
        return Missing(
            MissingKind.KERNEL, "the kernel was built without SGX", "use one with CONFIG_X86_SGX (Linux 5.11)"
        )
    if around.in_guest:
        return Missing(
            MissingKind.MACHINE, "the host gives this virtual machine no SGX", "have its host enable it"
        )
    return Missing(
        MissingKind.FIRMWARE,
        "the firmware leaves SGX off, or this processor has none",
        "in the firmware setup enable Software Guard Extensions (SGX) and memory encryption (TME)",
    )


def _kvm(around: Surroundings) -> Missing:
    wanted = {AMD: ("svm", "kvm_amd", "SVM Mode"), INTEL: ("vmx", "kvm_intel", "Virtualization Technology")}
    if around.vendor not in wanted:
        return _not_of("AMD or Intel", "an x86-64 processor with virtualisation")
    flag, module, setting = wanted[around.vendor]
    if flag in around.flags:
        return Missing(MissingKind.MODULE, f"the module {module} is not loaded", f"`sudo modprobe {module}`")
    if around.in_guest:
        return Missing(
            MissingKind.MACHINE,
            "the host gives this virtual machine no virtualisation",
            "have its host enable nested virtualisation",
        )
    return Missing(
        MissingKind.FIRMWARE,
        "the firmware leaves virtualisation off",
        f"in the firmware setup enable {setting}",
    )


def _looks_confidential(around: Surroundings) -> bool:
    """Whether the kernel shows that this is an SNP or TDX guest. Kernels before 6.11 may not show SNP."""
    return around.vmpl is not None or bool(around.flags & {"sev_snp", "tdx_guest"})


def _not_confidential(around: Surroundings) -> Missing:
    tee, driver = _GUEST_DRIVERS[around.vendor]
    return Missing(
        MissingKind.MACHINE,
        f"this virtual machine does not look like {tee} guest",
        f"have its host launch it as one; if it is one, `sudo modprobe {driver}`",
    )


def _not_of(vendor: str, wanted: str) -> Missing:
    return Missing(MissingKind.PROCESSOR, f"this processor is not {vendor}'s", f"it takes {wanted}")


def _no_guest() -> Missing:
    return Missing(
        MissingKind.MACHINE, "this is no virtual machine", "ask inside a confidential virtual machine"
    )


def _older(around: Surroundings, since: tuple[int, int], lacks: str) -> Missing:
    return Missing(
        MissingKind.KERNEL,
        f"Linux {around.kernel[0]}.{around.kernel[1]} {lacks}",
        f"use Linux {since[0]}.{since[1]} or later",
    )


_WHY_ABSENT: dict[str, Callable[[Surroundings], Missing]] = {
    devices.SEV.name: _sev,
    devices.SEV_GUEST.name: _sev_guest,
    devices.TSM.name: _tsm,
    devices.SGX.name: _sgx,
    devices.KVM.name: _kvm,
}
