"""A vCPU's registers after reset, begun somewhere else: real mode, in a VMSA's layout (architecture manual
volume 2, 14.1.3 and table B-4; SEV.md B.5).
"""

from __future__ import annotations

import struct

from wasmkeep.hardware.machine_calls import VMSA_SIZE

_SEGMENT = struct.Struct("<HHIQ")  # selector, attributes (packed), limit, base
_CODE, _DATA, _LDT, _TSS = 0x9B, 0x93, 0x82, 0x8B
_LIMIT = 0xFFFF
_DATA_SEGMENTS = (0x000, 0x020, 0x030, 0x040, 0x050)  # es, ss, ds, fs, gs
_CS, _GDTR, _LDTR, _IDTR, _TR = 0x010, 0x060, 0x070, 0x080, 0x090
_QUADWORDS = {
    0x0D0: 1 << 12,  # efer: SVME, which every VMSA has
    0x148: 1 << 6,  # cr4: MCE, as KVM sets it for SEV-ES
    0x158: 0x10,  # cr0: ET
    0x160: 0x400,  # dr7
    0x168: 0xFFFF_0FF0,  # dr6
    0x170: 2,  # rflags
    0x268: 0x0007_0406_0007_0406,  # g_pat
    0x3E8: 1,  # xcr0
}
_RIP, _MXCSR, _FCW = 0x178, 0x408, 0x410
MAX_ENTRY = 1 << 20


def reset_vmsa(entry: int) -> bytes:
    """4096 bytes: the vCPU begins at linear address `entry`, below 1 MiB, with all segments but CS at 0."""
    selector, offset = split_entry(entry)
    page = bytearray(VMSA_SIZE)
    for at in _DATA_SEGMENTS:
        _SEGMENT.pack_into(page, at, 0, _DATA, _LIMIT, 0)
    _SEGMENT.pack_into(page, _CS, selector, _CODE, _LIMIT, selector << 4)
    for at in (_GDTR, _IDTR):
        _SEGMENT.pack_into(page, at, 0, 0, _LIMIT, 0)
    _SEGMENT.pack_into(page, _LDTR, 0, _LDT, _LIMIT, 0)
    _SEGMENT.pack_into(page, _TR, 0, _TSS, _LIMIT, 0)
    for at, value in _QUADWORDS.items():
        struct.pack_into("<Q", page, at, value)
    struct.pack_into("<Q", page, _RIP, offset)
    struct.pack_into("<I", page, _MXCSR, 0x1F80)
    struct.pack_into("<H", page, _FCW, 0x37F)
    return bytes(page)


def split_entry(entry: int) -> tuple[int, int]:
    """Code segment and instruction pointer of a real-mode address: the segment begins at whole 64 KiB."""
    if not 0 <= entry < MAX_ENTRY:
        raise ValueError("real mode begins below 1 MiB")
    return entry >> 16 << 12, entry & 0xFFFF
