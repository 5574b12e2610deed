"""What this computer has of the devices that trusted execution needs: absent, not permitted, or present."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum

from wasmkeep.errors import PlatformUnavailable

__all__ = [
    "DEVICES",
    "KVM",
    "SEV",
    "SEV_GUEST",
    "SGX",
    "TSM",
    "Device",
    "DeviceFound",
    "DeviceState",
    "open_device",
    "survey",
]


class DeviceState(StrEnum):
    ABSENT = "absent"
    NO_PERMISSION = "no permission"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Device:
    """A path that the kernel makes when it can serve `purpose`."""

    name: str
    path: str
    purpose: str
    needs: str


@dataclass(frozen=True, slots=True)
class DeviceFound:
    device: Device
    state: DeviceState

    def __str__(self) -> str:
        return f"{self.device.name} ({self.state.value})"


SEV = Device(
    "/dev/sev",
    "/dev/sev",
    "launch AMD SEV, SEV-ES and SEV-SNP guests (host)",
    "an EPYC processor with SEV enabled in firmware, and the kernel's ccp driver",
)
SEV_GUEST = Device(
    "/dev/sev-guest",
    "/dev/sev-guest",
    "ask for SNP reports (inside a guest)",
    "an SNP guest with the kernel's sev-guest driver",
)
TSM = Device(
    "configfs tsm",
    "/sys/kernel/config/tsm/report",
    "ask for reports (inside a guest)",
    "a confidential guest with the kernel's tsm driver and configfs mounted",
)
SGX = Device(
    "/dev/sgx_enclave",
    "/dev/sgx_enclave",
    "run Intel SGX enclaves",
    "a processor with SGX enabled in firmware and a kernel with SGX",
)
KVM = Device("/dev/kvm", "/dev/kvm", "run virtual machines", "virtualisation enabled and the kvm module")

DEVICES = (SEV, SEV_GUEST, TSM, SGX, KVM)


def state_of(path: str) -> DeviceState:
    if not os.path.exists(path):
        return DeviceState.ABSENT
    if not os.access(path, os.R_OK | os.W_OK):
        return DeviceState.NO_PERMISSION
    return DeviceState.PRESENT


def survey(devices: tuple[Device, ...] = DEVICES) -> tuple[DeviceFound, ...]:
    """Look for each device; nothing is opened."""
    return tuple(DeviceFound(device, state_of(device.path)) for device in devices)


def open_device(device: Device) -> int:
    """A descriptor of `device`, read-write, close-on-exec. Raises `PlatformUnavailable`, saying why."""
    try:
        return os.open(device.path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise PlatformUnavailable(
            "platform.device.absent",
            f"this computer has no {device.name}",
            found="absent",
            required=device.path,
            remedy=f"it needs {device.needs}",
        ) from error
    except PermissionError as error:
        raise PlatformUnavailable(
            "platform.device.permission",
            f"this user may not open {device.name}",
            found="permission denied",
            required=f"read and write access to {device.path}",
            remedy="join the device's group, or ask the administrator",
        ) from error
    except OSError as error:
        raise PlatformUnavailable(
            "platform.device.unusable",
            f"{device.name} cannot be opened",
            found=os.strerror(error.errno or 0),
            required=device.path,
            remedy=f"it needs {device.needs}",
        ) from error
