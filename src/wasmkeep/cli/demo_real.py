"""The demonstration on this computer's own ``/dev/sev`` and ``/dev/kvm``."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from wasmkeep.cli.demo_machines import Opened, owner_of, vendor_trust, vouched
from wasmkeep.cli.demo_screen import plain_sev
from wasmkeep.demo.drivers import DrivenGuest, DrivenMachine
from wasmkeep.endorsements import SevProduct, VendorSource
from wasmkeep.errors import PlatformUnavailable
from wasmkeep.evidence.roots import format_pin
from wasmkeep.hardware.bare_vm import BareVm, Encryption, RealSevPlatform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wasmkeep.cli.console import Console

__all__ = ["product_of", "real"]

_PRODUCTS = {
    (0x17, 0x0): SevProduct.NAPLES,
    (0x17, 0x3): SevProduct.ROME,
    (0x19, 0x0): SevProduct.MILAN,
    (0x19, 0x1): SevProduct.GENOA,
    (0x1A, 0x0): SevProduct.TURIN,
}
"""By family, and the upper four bits of the model."""


@asynccontextmanager
async def real(console: Console) -> AsyncIterator[Opened]:
    """This computer's SEV. Raises PlatformUnavailable, which tells a missing device from a missing permission
    and from a kernel or processor without the feature."""
    platform = RealSevPlatform()
    try:
        product = product_of(_cpuinfo())
        async with VendorSource() as amd:
            vouchers = await vouched(platform, amd, product)
        owner = await owner_of(platform)
        console.show(plain_sev())
        machine = DrivenMachine(platform, _create)
        yield Opened(machine, vouchers, vendor_trust(owner), {"owner": format_pin(owner)})
    finally:
        platform.close()


async def _create(memory: int, entry: int) -> DrivenGuest:
    guest = await BareVm.create(memory, Encryption.REQUIRED)
    try:
        await guest.set_entry(entry)
    except BaseException:
        await guest.close()
        raise
    return DrivenGuest(guest)


def _cpuinfo() -> str:
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        return file.read(1 << 14)


def product_of(cpuinfo: str) -> SevProduct:
    """The generation of this processor, by ``/proc/cpuinfo``. Raises PlatformUnavailable."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    family, model = fields.get("cpu family", ""), fields.get("model", "")
    known = None
    if family.isdigit() and model.isdigit() and fields.get("vendor_id") == "AuthenticAMD":
        known = _PRODUCTS.get((int(family), int(model) >> 4))
    if known is None:
        raise PlatformUnavailable(
            "platform.processor",
            "this processor is none that has SEV",
            found=fields.get("model name", "an unknown processor"),
            required="an AMD EPYC: " + ", ".join(product.capitalize() for product in SevProduct),
        )
    return known
