"""What stands behind configfs ``tsm/report``: SNP's and TDX's providers, as the kernel has them."""

from __future__ import annotations

import errno
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.hardware.configfs import Blobs, Request, error
from tests.hardware.guest_kernel import SevGuestKernel
from wasmkeep.errors import SystemFailure
from wasmkeep.hardware.calls import perform
from wasmkeep.hardware.sev_status import FirmwareError
from wasmkeep.hardware.snp_guest_device import SnpGuestDevice

SNP_ATTRIBUTES = frozenset(
    {"generation", "provider", "privlevel", "privlevel_floor", "inblob", "outblob", "auxblob"}
)
SERVICE_ATTRIBUTES = frozenset(
    {"service_provider", "service_guid", "service_manifest_version", "manifestblob"}
)
TDX_ATTRIBUTES = frozenset({"generation", "provider", "inblob", "outblob"})
MANIFEST = b"the services of this SVSM"


@dataclass
class SevGuestProvider:
    """``drivers/virt/coco/sev-guest``; `svsm`: one runs below the guest, whose level is then not 0."""

    kernel: SevGuestKernel
    svsm: bool = False
    name: str = "sev_guest"

    @property
    def floor(self) -> int:
        return self.kernel.channel.vmpck

    @property
    def attributes(self) -> frozenset[str]:
        return SNP_ATTRIBUTES | (SERVICE_ATTRIBUTES if self.svsm else frozenset())

    def report(self, request: Request) -> Blobs:
        if len(request.inblob) != 64:
            raise error(errno.EINVAL)
        if not request.service:
            return Blobs(*self._extended(request.inblob, request.level))
        if request.service != "svsm":
            raise error(errno.EINVAL)
        manifest = MANIFEST + f" {request.guid} {request.manifest_version}".encode()
        bound = hashlib.sha512(request.inblob + manifest).digest()
        return Blobs(*self._extended(bound, self.floor), manifest)

    def _extended(self, data: bytes, level: int) -> tuple[bytes, bytes]:
        device = SnpGuestDevice(partial(perform, 7, ioctl=self.kernel))
        try:
            return device.extended_report(data, vmpl=level)
        except FirmwareError as refused:
            raise error(errno.EINVAL) from refused
        except SystemFailure as failed:
            raise error(getattr(errno, failed.found.split()[0])) from failed


@dataclass
class TdxGuestProvider:
    """``drivers/virt/coco/tdx-guest``; `failure`: what its host's quoting service ends with instead."""

    quote: Callable[[bytes], bytes]
    failure: int = 0
    name: str = "tdx_guest"
    floor: int = 0
    attributes: frozenset[str] = TDX_ATTRIBUTES

    def report(self, request: Request) -> Blobs:
        if len(request.inblob) != 64:
            raise error(errno.EINVAL)
        if self.failure:
            raise error(self.failure)
        return Blobs(self.quote(request.inblob))


def quote_of_nobody(report_data: bytes) -> bytes:
    """As long as a TDX quote's header and body, version 4, type 81h; REPORTDATA last; signed by nobody."""
    return struct.pack("<HHI", 4, 2, 0x81).ljust(48 + 520, b"\0") + report_data
