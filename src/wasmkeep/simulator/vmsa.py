"""The initial state of a vCPU as its VMSA says it (architecture manual, SEV-ES state save area; SEV.md
B.5).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wasmkeep.hardware.machine_calls import VMSA_SIZE

SEV_FEATURE_SNP_ACTIVE = 1 << 0
EFER_SVME = 1 << 12  # set in every VMSA by rule; the guest does not see nested virtualisation from it
_SEGMENT = struct.Struct("<HHIQ")
_SEGMENTS = {"es": 0x000, "cs": 0x010, "ss": 0x020, "ds": 0x030, "fs": 0x040, "gs": 0x050}
_SEGMENTS |= {"gdtr": 0x060, "ldtr": 0x070, "idtr": 0x080, "tr": 0x090}
_GENERAL = {"rax": 0x1F8, "rcx": 0x308, "rdx": 0x310, "rbx": 0x318, "rbp": 0x328, "rsi": 0x330, "rdi": 0x338}
_GENERAL |= {f"r{number}": 0x340 + 8 * (number - 8) for number in range(8, 16)}
_GENERAL |= {"rip": 0x178, "rsp": 0x1D8, "rflags": 0x170}
_CONTROL = {"cr0": 0x158, "cr2": 0x240, "cr3": 0x150, "cr4": 0x148, "efer": 0x0D0, "xcr0": 0x3E8}
# Model-specific registers and where the VMSA holds them.
_MSRS = {
    0x174: 0x228,  # SYSENTER_CS
    0x175: 0x230,  # SYSENTER_ESP
    0x176: 0x238,  # SYSENTER_EIP
    0xC000_0081: 0x200,  # STAR
    0xC000_0082: 0x208,  # LSTAR
    0xC000_0083: 0x210,  # CSTAR
    0xC000_0084: 0x218,  # SFMASK
    0xC000_0102: 0x220,  # KERNEL_GS_BASE
}
_PAT, _PAT_OFFSET, _PAT_RESET = 0x277, 0x268, 0x0007_0406_0007_0406


@dataclass(frozen=True, slots=True)
class Segment:
    """`attributes` packed as AMD does: type 3:0, S 4, DPL 6:5, P 7, AVL 8, L 9, DB 10, G 11."""

    selector: int
    attributes: int
    limit: int
    base: int


@dataclass(frozen=True, slots=True)
class InitialState:
    """What the machine's CPU takes from a VMSA; `msrs` only those that differ from their reset value."""

    segments: dict[str, Segment]
    general: dict[str, int]
    control: dict[str, int]
    msrs: tuple[tuple[int, int], ...]
    fcw: int
    mxcsr: int
    sev_features: int
    vmpl: int


def _u64(page: bytes, offset: int) -> int:
    (value,) = struct.unpack_from("<Q", page, offset)
    return int(value)


def parse_vmsa(page: bytes) -> InitialState:
    """`page` is 4096 bytes. Every bit pattern parses; the CPU decides whether it can run from it."""
    if len(page) != VMSA_SIZE:
        raise ValueError("a VMSA is one page")
    msrs = [(index, _u64(page, offset)) for index, offset in _MSRS.items() if _u64(page, offset)]
    pat = _u64(page, _PAT_OFFSET)
    if pat != _PAT_RESET:
        msrs.append((_PAT, pat))
    return InitialState(
        segments={name: Segment(*_SEGMENT.unpack_from(page, at)) for name, at in _SEGMENTS.items()},
        general={name: _u64(page, at) for name, at in _GENERAL.items()},
        control={name: _u64(page, at) for name, at in _CONTROL.items()},
        msrs=tuple(msrs),
        fcw=struct.unpack_from("<H", page, 0x410)[0],
        mxcsr=struct.unpack_from("<I", page, 0x408)[0],
        sev_features=_u64(page, 0x3B0),
        vmpl=page[0x0CA],
    )


class InvalidVmsa(Exception):
    """VMRUN would fail: the guest ends in KVM_EXIT_FAIL_ENTRY before its first instruction."""


def require_runnable(state: InitialState) -> None:
    """This CPU has SNP and no other optional feature, and guests start at VMPL 0. Raises `InvalidVmsa`."""
    if state.sev_features != SEV_FEATURE_SNP_ACTIVE:
        raise InvalidVmsa(f"SEV_FEATURES {state.sev_features:#x}, and this CPU has SNP only")
    if state.vmpl != 0:
        raise InvalidVmsa("a vCPU starts at VMPL 0")
