"""The emulator's register state, by name, and its way into and out of a save area.

The emulator's interface has no hidden parts of segment registers and no SVM intercepts, but its saved context
is the whole state in one block. Where things lie there is private to the library, so this module is the one
place that knows, and `Engine` compares it with the library at hand before anything relies on it.
All offsets are in bytes, integers little-endian.
"""

from __future__ import annotations

import struct

from wasmkeep.simulator.core.instructions import GENERAL
from wasmkeep.simulator.save_area import X87_OFFSET, XMM_COUNT, XMM_OFFSET, SaveArea, Segment, offset

HEADER_SIZE = 40  # before the state proper
CONTEXT_SIZE = 5608  # the whole block, header included

_SEGMENT = struct.Struct("<IxxxxQII")  # selector, base, limit, high half of the descriptor
_SEGMENT_BASE = HEADER_SIZE + 184
_SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr", "gdtr", "idtr")
QUADWORDS = {name: HEADER_SIZE + 8 * index for index, name in enumerate(GENERAL)}
QUADWORDS |= {"rip": HEADER_SIZE + 128, "efer": HEADER_SIZE + 592}
QUADWORDS |= {f"cr{number}": HEADER_SIZE + 424 + 8 * number for number in (0, 2, 3, 4)}
QUADWORDS |= {"sysenter_esp": HEADER_SIZE + 4808, "sysenter_eip": HEADER_SIZE + 4816}
QUADWORDS |= {"star": HEADER_SIZE + 4824, "lstar": HEADER_SIZE + 4840, "cstar": HEADER_SIZE + 4848}
QUADWORDS |= {"sfmask": HEADER_SIZE + 4856, "kernel_gs_base": HEADER_SIZE + 4864, "g_pat": HEADER_SIZE + 5280}
SYSENTER_CS = HEADER_SIZE + 4800  # u32
_FLAGS, _HIDDEN_FLAGS = HEADER_SIZE + 136, HEADER_SIZE + 176
_X87_TOP, _X87_STATUS, _X87_CONTROL, _X87_TAGS, X87 = (HEADER_SIZE + at for at in (604, 608, 610, 612, 624))
MXCSR, XMM, XMM_STRIDE = HEADER_SIZE + 816, HEADER_SIZE + 824, 64
_ERROR_CODE, _VMCB, _INTERCEPTS, _DEBUG_INTERCEPTS = (CONTEXT_SIZE - at for at in (184, 64, 48, 36))
_EXCEPTION_INTERCEPTS = CONTEXT_SIZE - 32
DR7, _PORT_BREAKPOINT = HEADER_SIZE + 5456, 2 << 16 | 1 << 10 | 3  # breakpoint 0: one byte of ports

FLAGS_VM, FLAGS_RESERVED = 1 << 17, 1 << 1
_CR0_PE, _CR4_OSFXSR, _CR4_SMAP, _EFER_LMA, _EFER_SVME = 1 << 0, 1 << 9, 1 << 21, 1 << 10, 1 << 12
# How the emulator sums the mode up: CPL 1:0, CS32 4, SS32 5, ADDSEG 6, PE 7, MP EM TS 11:9, LMA 14, CS64 15,
# guest under intercepts 21, OSFXSR 22, SMAP 23, port breakpoints 24; TF, IOPL, RF, VM and AC where RFLAGS has
# them.
_HF_CS32, _HF_SS32, _HF_ADDSEG, _HF_PE, _HF_LMA, _HF_CS64 = 1 << 4, 1 << 5, 1 << 6, 1 << 7, 1 << 14, 1 << 15
_HF_GUEST, _HF_OSFXSR, _HF_SMAP, _HF_PORTS = 1 << 21, 1 << 22, 1 << 23, 1 << 24
_HF_FROM_FLAGS = 1 << 8 | 3 << 12 | 1 << 16 | 1 << 17 | 1 << 18
_CS_LONG, _DEFAULT_BIG = 1 << 9, 1 << 10  # L and DB of a segment's attributes
_X87_TOP_BITS = 0x3800
# Offset here, offset in a save area, size.
_COPIED = [(at, offset(name), 8) for name, at in QUADWORDS.items()]
_COPIED += [
    (SYSENTER_CS, offset("sysenter_cs"), 4),
    (MXCSR, offset("mxcsr"), 4),
    (_X87_CONTROL, offset("fcw"), 2),
]
_COPIED += [(XMM + XMM_STRIDE * number, XMM_OFFSET + 16 * number, 16) for number in range(XMM_COUNT)]
_COPIED += [(X87 + 16 * number, X87_OFFSET + 10 * number, 10) for number in range(8)]


class State:
    """A saved context, with `rflags` canonical in it. Changes count when it is loaded again."""

    def __init__(self, context: bytes, rflags: int) -> None:
        self._raw = bytearray(context)
        self.rflags = rflags

    def __getitem__(self, name: str) -> int:
        (value,) = struct.unpack_from("<Q", self._raw, QUADWORDS[name])
        return int(value)

    def __setitem__(self, name: str, value: int) -> None:
        struct.pack_into("<Q", self._raw, QUADWORDS[name], value & 0xFFFF_FFFF_FFFF_FFFF)

    def segment(self, name: str) -> Segment:
        at = _SEGMENT_BASE + _SEGMENT.size * _SEGMENTS.index(name)
        selector, base, limit, high = _SEGMENT.unpack_from(self._raw, at)
        return Segment(selector & 0xFFFF, high >> 8 & 0xFF | high >> 12 & 0xF00, limit, base)

    def set_segment(self, name: str, segment: Segment) -> None:
        at = _SEGMENT_BASE + _SEGMENT.size * _SEGMENTS.index(name)
        high = (segment.attributes & 0xFF) << 8 | (segment.attributes & 0xF00) << 12
        _SEGMENT.pack_into(self._raw, at, segment.selector, segment.base, segment.limit, high)

    @property
    def cpl(self) -> int:
        if not self["cr0"] & _CR0_PE:
            return 0
        return 3 if self.rflags & FLAGS_VM else self.segment("ss").attributes >> 5 & 3

    @property
    def is_protected(self) -> bool:
        return bool(self["cr0"] & _CR0_PE) and not self.rflags & FLAGS_VM

    @property
    def is_long(self) -> bool:
        return bool(self["efer"] & _EFER_LMA)

    @property
    def error_code(self) -> int:
        """Of the exception or intercept that stopped the emulator."""
        (value,) = struct.unpack_from("<I", self._raw, _ERROR_CODE)
        return int(value)

    @property
    def fcw(self) -> int:
        return self._u16(_X87_CONTROL)

    @property
    def mxcsr(self) -> int:
        (value,) = struct.unpack_from("<I", self._raw, MXCSR)
        return int(value)

    def _u16(self, at: int) -> int:
        (value,) = struct.unpack_from("<H", self._raw, at)
        return int(value)

    def intercept(self, bits: int, vmcb: int) -> None:
        """Have the emulator stop at these instructions (bit n: exit code 60h + n), at every exception, at
        accesses to debug registers, and behind a port access whose port is in DR0.
        """
        struct.pack_into("<Q", self._raw, _INTERCEPTS, bits)
        struct.pack_into("<I", self._raw, _EXCEPTION_INTERCEPTS, 0xFFFF_FFFF)
        struct.pack_into("<I", self._raw, _DEBUG_INTERCEPTS, 0xFFFF_FFFF)
        struct.pack_into("<Q", self._raw, DR7, _PORT_BREAKPOINT)
        struct.pack_into("<Q", self._raw, _VMCB, vmcb)

    def encode(self) -> bytes:
        """The context to load."""
        struct.pack_into("<Q", self._raw, _FLAGS, self.rflags | FLAGS_RESERVED)
        struct.pack_into("<I", self._raw, _HIDDEN_FLAGS, self._summary())
        return bytes(self._raw)

    def _summary(self) -> int:
        cr0, cr4, flags = self["cr0"], self["cr4"], self.rflags
        cs, stack = self.segment("cs"), self.segment("ss")
        summary = self.cpl | _HF_GUEST | _HF_PORTS | flags & _HF_FROM_FLAGS | (cr0 & 0b1110) << 8
        summary |= _HF_PE if cr0 & _CR0_PE else 0
        summary |= _HF_OSFXSR if cr4 & _CR4_OSFXSR else 0
        summary |= _HF_SMAP if cr4 & _CR4_SMAP else 0
        if self.is_long:
            summary |= _HF_LMA
            if cs.attributes & _CS_LONG:
                return summary | _HF_CS64 | _HF_CS32 | _HF_SS32
        big = cs.attributes & _DEFAULT_BIG
        summary |= _HF_CS32 if big else 0
        summary |= _HF_SS32 if stack.attributes & _DEFAULT_BIG else 0
        bases = stack.base or self.segment("ds").base or self.segment("es").base
        return summary | (_HF_ADDSEG if bases or not big or not self.is_protected else 0)

    # Save areas

    def take_in(self, area: SaveArea) -> None:
        """All registers from a save area, as VMRUN loads them."""
        page = area.encode()
        for here, there, size in _COPIED:
            self._raw[here : here + size] = page[there : there + size]
        self["efer"] &= ~_EFER_SVME
        for name in _SEGMENTS:
            self.set_segment(name, area.segment(name))
        self.rflags = area["rflags"]
        status, tags = area["fsw"], area["ftw"]
        struct.pack_into("<IH", self._raw, _X87_TOP, status >> 11 & 7, status & ~_X87_TOP_BITS)
        for number in range(8):  # as FXSAVE has them: a bit for each register in use
            self._raw[_X87_TAGS + number] = not tags >> number & 1

    def give_out(self, area: SaveArea) -> None:
        """All registers into a save area, as an exit saves them; what the core does not have stays there.

        Debug registers are in the area alone: the emulator's own serve the core.
        """
        svme = area["efer"] & _EFER_SVME
        for here, there, size in _COPIED:
            area.put(there, self._raw[here : here + size])
        area["efer"] |= svme
        for name in _SEGMENTS:
            area.set_segment(name, self.segment(name))
        area["rflags"], area["cpl"] = self.rflags, self.cpl
        top, status = struct.unpack_from("<IH", self._raw, _X87_TOP)
        area["fsw"] = status & ~_X87_TOP_BITS | (top & 7) << 11
        area["ftw"] = sum((not self._raw[_X87_TAGS + number]) << number for number in range(8))
