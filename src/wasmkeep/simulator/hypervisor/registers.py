"""A save area's registers in KVM's structures, for a host that looks at a guest without SEV-ES."""

from __future__ import annotations

import struct

from wasmkeep.hardware.kvm_structures import XSAVE_SIZE, Dtable, Regs, Sregs
from wasmkeep.hardware.kvm_structures import Segment as KvmSegment
from wasmkeep.simulator.save_area import GENERAL, XMM_COUNT, SaveArea, Segment
from wasmkeep.simulator.vmsa import EFER_SVME

_NAMED = {name: name for name in ("cs", "ds", "es", "fs", "gs", "ss", "tr")} | {"ldt": "ldtr"}
_TABLES = {"gdt": "gdtr", "idt": "idtr"}
_CONTROL = ("cr0", "cr2", "cr3", "cr4")
_APIC_BASE = 0xFEE0_0900  # on, boot processor; there is no APIC behind it
_X87, _XMM, _HEADER, _X87_AND_SSE = 32, 160, 512, 3
_BITS = (  # of a segment's attributes: name, position, width
    *(("type", 0, 4), ("s", 4, 1), ("dpl", 5, 2), ("present", 7, 1)),
    *(("avl", 8, 1), ("l", 9, 1), ("db", 10, 1), ("g", 11, 1)),
)


def get_regs(area: SaveArea) -> Regs:
    return Regs(**{name: area[name] for name in GENERAL})


def set_regs(area: SaveArea, regs: Regs) -> None:
    for name in GENERAL:
        area[name] = getattr(regs, name)


def get_sregs(area: SaveArea) -> Sregs:
    sregs = Sregs(**{name: area[name] for name in _CONTROL}, efer=area["efer"] & ~EFER_SVME)
    sregs.apic_base = _APIC_BASE
    for theirs, ours in _NAMED.items():
        segment = area.segment(ours)
        packed = {name: segment.attributes >> at & (1 << bits) - 1 for name, at, bits in _BITS}
        kvm = KvmSegment(base=segment.base, limit=segment.limit, selector=segment.selector, **packed)
        setattr(sregs, theirs, kvm)
    for theirs, ours in _TABLES.items():
        segment = area.segment(ours)
        setattr(sregs, theirs, Dtable(base=segment.base, limit=segment.limit & 0xFFFF))
    return sregs


def set_sregs(area: SaveArea, sregs: Sregs) -> None:
    for name in _CONTROL:
        area[name] = getattr(sregs, name)
    area["efer"] = sregs.efer | EFER_SVME
    for theirs, ours in _NAMED.items():
        kvm = getattr(sregs, theirs)
        attributes = sum((getattr(kvm, name) & (1 << bits) - 1) << at for name, at, bits in _BITS)
        area.set_segment(ours, Segment(kvm.selector, attributes, kvm.limit, kvm.base))
    for theirs, ours in _TABLES.items():
        table = getattr(sregs, theirs)
        area.set_segment(ours, Segment(0, 0, table.limit, table.base))


def get_xsave(area: SaveArea) -> bytes:
    """x87 and XMM registers as FXSAVE lays them out, with XSAVE's header."""
    image = bytearray(XSAVE_SIZE)
    struct.pack_into("<HHBx", image, 0, area["fcw"], area["fsw"], area["ftw"] & 0xFF)
    struct.pack_into("<I", image, 24, area["mxcsr"])
    for number in range(8):
        image[_X87 + 16 * number : _X87 + 16 * number + 10] = area.x87(number)
    for number in range(XMM_COUNT):
        image[_XMM + 16 * number : _XMM + 16 * (number + 1)] = area.xmm(number)
    struct.pack_into("<Q", image, _HEADER, _X87_AND_SSE)
    return bytes(image)


def set_xsave(area: SaveArea, image: bytes) -> None:
    area["fcw"], area["fsw"], area["ftw"] = struct.unpack_from("<HHB", image, 0)
    (area["mxcsr"],) = struct.unpack_from("<I", image, 24)
    for number in range(8):
        area.set_x87(number, image[_X87 + 16 * number : _X87 + 16 * number + 10])
    for number in range(XMM_COUNT):
        area.set_xmm(number, image[_XMM + 16 * number : _XMM + 16 * (number + 1)])
