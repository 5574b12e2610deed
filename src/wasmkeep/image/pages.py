"""What a launch of the keep looks like, page by page: the one description that host and tenant share.

A host launches these regions in this order; a tenant computes from them, and from its own copy of the image,
what the secure processor must measure. Nothing here asks a host.

SNP measures pages with type and address (SNP firmware ABI 8.17.2). SEV and SEV-ES measure plaintext in the
order of launch, and no address (SEV API 0.24, AMD 55766, 6.5): there every region has its contents, zeros
too, and they stand in ascending order of address.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import StrEnum

from wasmkeep.errors import ConfigurationError
from wasmkeep.evidence.sev import measurement as sev
from wasmkeep.evidence.snp.measurement import PAGE_SIZE, PageType, launch_digest
from wasmkeep.image.elf import Segment, load_segments, malformed
from wasmkeep.image.vmsa import SEV_FEATURE_SNP, ImageHeader, process_state, sev_entry, snp_entry

__all__ = [
    "CONFIGURATION_GPA",
    "IMAGE_GPA",
    "MAX_MEMORY",
    "MEMORY_GRANULE",
    "MIN_MEMORY",
    "SECRETS_GPA",
    "SLOT_GPA",
    "Launch",
    "MachineKind",
    "Region",
    "expected_launch_digest",
    "launch",
]

SECRETS_GPA = SLOT_GPA = 0x1_3000
"""What the launch gives one keep alone: the secrets page of SNP, or the slot for the tenant's packet."""
CONFIGURATION_GPA = 0x1_4000
IMAGE_GPA = 0x10_0000
WINDOW_GPA = 0x20_0000
WINDOW_SIZE = 0x10_0000
MIN_MEMORY = 32 << 20
MAX_MEMORY = 1 << 40
MEMORY_GRANULE = 2 << 20
"""Bytes: a guest's memory is a multiple of this."""

_CONFIGURATION = struct.Struct("<8s Q I")
_CONFIGURATION_MAGIC = b"WKCONF01"
_VCPUS = 1


class MachineKind(StrEnum):
    """How a keep's code runs, and on which TEE; each kind has its own image and digest.

    A process kind is a sandboxed process of the simulated machine, where no virtual processor is to be had;
    the others are guests of a processor with that TEE, or of the simulated machine with a real processor.
    """

    SNP = "snp"
    PROCESS = "process"
    SEV = "sev"
    SEV_ES = "sev-es"
    PROCESS_SEV = "process-sev"
    PROCESS_SEV_ES = "process-sev-es"

    @classmethod
    def of(cls, tee: str, *, process: bool) -> MachineKind:
        """The kind of this TEE: "snp", "sev" or "sev-es". Raises ConfigurationError ``image.tee``."""
        for kind in cls:
            if (kind.tee, kind.process) == (tee, process):
                return kind
        raise ConfigurationError(
            "image.tee", f"there is no keep for {tee!r}", found=tee, required="snp, sev-es or sev"
        )

    @property
    def tee(self) -> str:
        """The name in evidence and statements."""
        if self in (MachineKind.SEV_ES, MachineKind.PROCESS_SEV_ES):
            return "sev-es"
        return "sev" if self in (MachineKind.SEV, MachineKind.PROCESS_SEV) else "snp"

    @property
    def process(self) -> bool:
        """Whether it runs on a simulated machine only, as a process."""
        return self.value.startswith("process")

    @property
    def pre_attested(self) -> bool:
        """Whether the tenant attests its launch before it runs, and the launch gives it a secret."""
        return self.tee != "snp"


@dataclass(frozen=True, slots=True)
class Region:
    """Whole pages at a guest-physical address; ``data`` is empty for SNP's zero and secrets pages."""

    gpa: int
    size: int
    page_type: PageType
    data: bytes


@dataclass(frozen=True, slots=True)
class Launch:
    """``sha256`` of the image file (32 bytes); ``regions`` in launch order; ``vmsa`` of the one vCPU, which
    SEV does not measure (`wasmkeep.image.vmsa`)."""

    kind: MachineKind
    sha256: bytes
    regions: tuple[Region, ...]
    vmsa: bytes


def launch(kind: MachineKind, elf: bytes, memory: int) -> Launch:
    """The launch of an image with ``memory`` bytes of guest memory.

    Raises `InputError` ``image.malformed`` for an image that cannot be launched, and `ConfigurationError`
    ``image.memory`` for a size that is not a multiple of 2 MiB from 32 MiB to 1 TiB.
    """
    if not MIN_MEMORY <= memory <= MAX_MEMORY or memory % MEMORY_GRANULE:
        raise ConfigurationError(
            "image.memory",
            "a keep cannot have that much memory",
            found=f"{memory} bytes",
            required="a multiple of 2 MiB, from 32 MiB to 1 TiB",
        )
    image = _file_regions(elf) if kind.process else _guest_regions(elf)
    page = _CONFIGURATION.pack(_CONFIGURATION_MAGIC, memory, _VCPUS).ljust(PAGE_SIZE, b"\0")
    configuration = Region(CONFIGURATION_GPA, PAGE_SIZE, PageType.NORMAL, page)
    if kind.pre_attested:
        slot = Region(SLOT_GPA, PAGE_SIZE, PageType.NORMAL, bytes(PAGE_SIZE))
        regions = (slot, configuration, *map(_with_contents, image))
        vmsa = process_state(features=0) if kind.process else sev_entry(_header(image))
    else:
        regions = (*image, configuration, Region(SECRETS_GPA, PAGE_SIZE, PageType.SECRETS, b""))
        vmsa = process_state(features=SEV_FEATURE_SNP) if kind.process else snp_entry(_header(image))
    return Launch(kind, hashlib.sha256(elf).digest(), regions, vmsa)


def expected_launch_digest(described: Launch) -> bytes:
    """The launch digest that evidence of this launch must carry: SNP 48 bytes, SEV and SEV-ES 32."""
    if described.kind.pre_attested:
        vmsas = (described.vmsa,) if described.kind.tee == "sev-es" else ()
        return sev.launch_digest((region.data for region in described.regions), vmsas)
    pages = ((region.page_type, region.gpa, region.data or None, region.size) for region in described.regions)
    return launch_digest(pages, (described.vmsa,))


def _guest_regions(elf: bytes) -> tuple[Region, ...]:
    """Segments are guest memory: their file bytes as normal pages, the rest as zero pages."""
    segments = load_segments(elf)
    regions: list[Region] = []
    end = CONFIGURATION_GPA + PAGE_SIZE
    for segment in segments:
        if segment.address % PAGE_SIZE or segment.address < end:
            raise malformed(
                f"segment at {segment.address:#x}", "on its own pages, above the configuration page"
            )
        end = segment.address + _page_round(segment.size)
        if segment.address < WINDOW_GPA + WINDOW_SIZE and end > WINDOW_GPA:
            raise malformed(f"segment at {segment.address:#x}", "outside the shared window")
        if end > MIN_MEMORY:
            raise malformed(f"segment up to {end:#x}", f"below {MIN_MEMORY:#x}")
        regions += _segment_regions(segment, end)
    return tuple(regions)


def _segment_regions(segment: Segment, end: int) -> list[Region]:
    data = segment.data.ljust(_page_round(len(segment.data)), b"\0")
    zeros = segment.address + len(data)
    regions = [Region(segment.address, len(data), PageType.NORMAL, data)] if data else []
    return regions + ([Region(zeros, end - zeros, PageType.ZERO, b"")] if zeros < end else [])


def _with_contents(region: Region) -> Region:
    return Region(region.gpa, region.size, PageType.NORMAL, region.data or bytes(region.size))


def _file_regions(elf: bytes) -> tuple[Region, ...]:
    """A process loads its own file: the file itself is what is measured."""
    if not load_segments(elf):
        raise malformed("nothing to load", "loadable segments")
    data = elf.ljust(_page_round(len(elf)), b"\0")
    return (Region(IMAGE_GPA, len(data), PageType.NORMAL, data),)


def _header(regions: tuple[Region, ...]) -> ImageHeader:
    for region in regions:
        if region.gpa == IMAGE_GPA:
            return ImageHeader.decode(region.data)
    raise malformed("nothing there", f"a segment at {IMAGE_GPA:#x}")


def _page_round(size: int) -> int:
    return -(-size // PAGE_SIZE) * PAGE_SIZE
