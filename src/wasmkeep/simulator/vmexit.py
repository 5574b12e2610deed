"""Why a guest stopped running: the exit codes of AMD's virtualisation (architecture manual volume 2, appendix
C), as the processor gives them to the hypervisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """``VMEXIT_*``. Those from CPUID on that a SEV-ES guest's #VC handler sees as its error code too."""

    INTR = 0x60
    RDPMC = 0x6F
    CPUID = 0x72
    INVD = 0x76
    HLT = 0x78
    IOIO = 0x7B
    MSR = 0x7C
    SHUTDOWN = 0x7F
    VMMCALL = 0x81
    WBINVD = 0x89
    MONITOR = 0x8A
    MWAIT = 0x8B
    NPF = 0x400
    VMGEXIT = 0x403
    INVALID = 0xFFFF_FFFF_FFFF_FFFF


# IOIO's EXITINFO1: bit 0 IN, 4 to 6 the size in bytes, 31:16 the port.
IOIO_IN = 1 << 0
IOIO_SIZE_SHIFT = 4
IOIO_PORT_SHIFT = 16

# NPF's EXITINFO1: a page fault's error code, and what was being translated.
NPF_PRESENT, NPF_WRITE, NPF_USER, NPF_RESERVED, NPF_FETCH = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
NPF_FINAL, NPF_TABLE = 1 << 32, 1 << 33


@dataclass(frozen=True, slots=True)
class Vmexit:
    """One exit.

    `info1` and `info2` are EXITINFO1 and 2: for IOIO the access and the next RIP, for NPF the error code and
    the guest-physical address, for MSR 0 (read) or 1 (write). `data` is the guest's instruction where the
    processor gives it (NPF of a guest without SEV-ES). `next_rip` is where the guest goes on once the
    instruction is done for it; with SEV-ES the hypervisor sees neither.
    """

    code: ExitCode
    info1: int = 0
    info2: int = 0
    data: bytes = b""
    next_rip: int = 0

    @property
    def port(self) -> int:
        return self.info1 >> IOIO_PORT_SHIFT & 0xFFFF

    @property
    def size(self) -> int:
        """Of a port access, in bytes."""
        return self.info1 >> IOIO_SIZE_SHIFT & 7

    @property
    def is_in(self) -> bool:
        return bool(self.info1 & IOIO_IN)
