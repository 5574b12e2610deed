"""Which TEEs this computer has, by its devices."""

from __future__ import annotations

from wasmkeep.errors import PlatformUnavailable

__all__ = ["no_tee"]

_MEANING = "see `wasmkeep platform` for what this processor and kernel would need"


def no_tee() -> PlatformUnavailable:
    """The error for a computer without a TEE that wasmkeep can use; says where it looked.

    This release launches keeps on simulated machines only, so a present device leads to the same exit code,
    and the message says that it is wasmkeep that cannot use it yet.
    """
    from wasmkeep.hardware.devices import DeviceState, survey

    found = [one for one in survey() if one.device.name != "/dev/kvm"]
    if any(one.state is DeviceState.PRESENT for one in found):
        message = "this computer has a TEE device, but this release launches keeps on simulated machines only"
    else:
        message = "this computer has no TEE that wasmkeep can use"
    return PlatformUnavailable(
        "platform.none",
        message,
        found=", ".join(str(one) for one in found),
        remedy="add --simulated: everything works, nothing is protected",
        meaning=_MEANING,
    )
