"""A vCPU's registers as a VMSA lays them out (architecture manual volume 2, SEV-ES state save area; SEV.md
B.5): what a core loads at VMRUN and saves at an exit. All integers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SAVE_AREA_SIZE = 4096
_SEGMENT = struct.Struct("<HHIQ")
SEGMENTS = {"es": 0x000, "cs": 0x010, "ss": 0x020, "ds": 0x030, "fs": 0x040, "gs": 0x050}
SEGMENTS |= {"gdtr": 0x060, "ldtr": 0x070, "idtr": 0x080, "tr": 0x090}
GENERAL = {"rax": 0x1F8, "rcx": 0x308, "rdx": 0x310, "rbx": 0x318, "rsp": 0x1D8, "rbp": 0x328, "rsi": 0x330}
GENERAL |= {"rdi": 0x338} | {f"r{number}": 0x340 + 8 * (number - 8) for number in range(8, 16)}
GENERAL |= {"rip": 0x178, "rflags": 0x170}
CONTROL = {"cr0": 0x158, "cr2": 0x240, "cr3": 0x150, "cr4": 0x148, "efer": 0x0D0, "xcr0": 0x3E8}
DEBUG = {"dr0": 0x180, "dr1": 0x188, "dr2": 0x190, "dr3": 0x198, "dr6": 0x168, "dr7": 0x160}
SYSTEM_CALL = {"star": 0x200, "lstar": 0x208, "cstar": 0x210, "sfmask": 0x218, "kernel_gs_base": 0x220}
SYSTEM_CALL |= {"sysenter_cs": 0x228, "sysenter_esp": 0x230, "sysenter_eip": 0x238}
OTHER = {"g_pat": 0x268, "sev_features": 0x3B0}
_QUADWORDS = GENERAL | CONTROL | DEBUG | SYSTEM_CALL | OTHER
_NARROW = {"vmpl": (0x0CA, 1), "cpl": (0x0CB, 1), "mxcsr": (0x408, 4)}
_NARROW |= {"ftw": (0x40C, 2), "fsw": (0x40E, 2), "fcw": (0x410, 2)}
_FIELDS = {name: (at, 8) for name, at in _QUADWORDS.items()} | _NARROW
XMM_OFFSET, _XMM_SIZE, XMM_COUNT = 0x470, 16, 16
X87_OFFSET, _X87_SIZE = 0x420, 10


@dataclass(frozen=True, slots=True)
class Segment:
    """`attributes` packed as AMD does: type 3:0, S 4, DPL 6:5, P 7, AVL 8, L 9, DB 10, G 11."""

    selector: int
    attributes: int
    limit: int
    base: int


class SaveArea:
    """Registers by name, over a page of their bytes. It is the guest's secret: no repr shows a value."""

    def __init__(self, page: bytes = bytes(SAVE_AREA_SIZE)) -> None:
        if len(page) != SAVE_AREA_SIZE:
            raise ValueError("a VMSA is one page")
        self._page = bytearray(page)

    def __getitem__(self, name: str) -> int:
        at, size = _FIELDS[name]
        return int.from_bytes(self._page[at : at + size], "little")

    def __setitem__(self, name: str, value: int) -> None:
        at, size = _FIELDS[name]
        self._page[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def segment(self, name: str) -> Segment:
        return Segment(*_SEGMENT.unpack_from(self._page, SEGMENTS[name]))

    def set_segment(self, name: str, segment: Segment) -> None:
        parts = (segment.selector, segment.attributes, segment.limit, segment.base)
        _SEGMENT.pack_into(self._page, SEGMENTS[name], *parts)

    def xmm(self, number: int) -> bytes:
        """The 16 bytes of XMM `number`."""
        at = _xmm(number)
        return bytes(self._page[at : at + _XMM_SIZE])

    def set_xmm(self, number: int, value: bytes) -> None:
        if len(value) != _XMM_SIZE:
            raise ValueError("an XMM register has 16 bytes")
        at = _xmm(number)
        self._page[at : at + _XMM_SIZE] = value

    def x87(self, number: int) -> bytes:
        """The 10 bytes of x87 register `number`."""
        at = _x87(number)
        return bytes(self._page[at : at + _X87_SIZE])

    def set_x87(self, number: int, value: bytes) -> None:
        if len(value) != _X87_SIZE:
            raise ValueError("an x87 register has 10 bytes")
        at = _x87(number)
        self._page[at : at + _X87_SIZE] = value

    def put(self, at: int, data: bytes | bytearray) -> None:
        """Bytes in place."""
        self._page[at : at + len(data)] = data

    def copy(self) -> SaveArea:
        return SaveArea(bytes(self._page))

    def encode(self) -> bytes:
        """The page: what was loaded, with the fields that were set."""
        return bytes(self._page)


def offset(name: str) -> int:
    """Where a field lies."""
    return _FIELDS[name][0]


def _xmm(number: int) -> int:
    if not 0 <= number < XMM_COUNT:
        raise ValueError("XMM 0 to 15")
    return XMM_OFFSET + _XMM_SIZE * number


def _x87(number: int) -> int:
    if not 0 <= number < 8:
        raise ValueError("x87 registers 0 to 7")
    return X87_OFFSET + _X87_SIZE * number
