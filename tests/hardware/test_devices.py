"""Which devices are here: three different answers, three different errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware import devices
from wasmkeep.hardware.devices import Device, DeviceState


def device(path: Path) -> Device:
    return Device("thing", str(path), "be tested", "nothing")


def test_the_four_devices_of_a_tee_and_kvm_are_looked_for() -> None:
    assert [found.device.name for found in devices.survey()] == [
        "/dev/sev",
        "/dev/sev-guest",
        "configfs tsm",
        "/dev/sgx_enclave",
        "/dev/kvm",
    ]


def test_absent_is_absent(tmp_path: Path) -> None:
    missing = device(tmp_path / "no")
    (found,) = devices.survey((missing,))
    assert found.state is DeviceState.ABSENT
    assert str(found) == "thing (absent)"
    with pytest.raises(PlatformUnavailable) as refusal:
        devices.open_device(missing)
    assert refusal.value.check == "platform.device.absent"


def test_present_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "yes"
    path.touch()
    (found,) = devices.survey((device(path),))
    assert found.state is DeviceState.PRESENT
    descriptor = devices.open_device(device(path))
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_not_permitted_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the answers of the system, since an administrator may open everything."""
    path = tmp_path / "locked"
    path.touch()

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "open", denied)
    (found,) = devices.survey((device(path),))
    assert found.state is DeviceState.NO_PERMISSION
    with pytest.raises(PlatformUnavailable) as refusal:
        devices.open_device(device(path))
    assert refusal.value.check == "platform.device.permission"


def test_a_device_that_does_not_work_is_a_third_error(tmp_path: Path) -> None:
    with pytest.raises(PlatformUnavailable) as refusal:
        devices.open_device(device(tmp_path))  # a folder cannot be opened for writing
    assert refusal.value.check == "platform.device.unusable"
