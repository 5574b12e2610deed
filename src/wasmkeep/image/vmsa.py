"""The VMSA: the register state a vCPU starts with, 4096 bytes (APM volume 2, table B-4). Measured but on SEV,
whose host sets the same state as it likes: there the page only says what a keep needs.

A keep is entered directly in 64-bit mode, ring 3: descriptor tables, page tables and entry point come from a
64-byte header at the start of the image, and everything else is constant. Integers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wasmkeep.image.elf import malformed

__all__ = [
    "HEADER_SIZE",
    "SEV_FEATURE_SNP",
    "VMSA_SIZE",
    "ImageHeader",
    "process_state",
    "sev_entry",
    "snp_entry",
]

VMSA_SIZE = 4096
HEADER_SIZE = 64

_MAGIC = b"WKIMAGE1"
_HEADER = struct.Struct("<8s Q Q Q Q Q Q H H H H")
_SEGMENT = struct.Struct("<H H I Q")  # selector, attributes (packed), limit, base

# Offsets of fields (kernel: struct sev_es_save_area).
_ES, _CS, _SS, _DS, _FS, _GS = 0x000, 0x010, 0x020, 0x030, 0x040, 0x050
_GDTR, _LDTR, _IDTR, _TR = 0x060, 0x070, 0x080, 0x090
_CPL = 0x0CB
_EFER, _CR4, _CR3, _CR0 = 0x0D0, 0x148, 0x150, 0x158
_DR7, _DR6, _RFLAGS, _RIP, _RSP = 0x160, 0x168, 0x170, 0x178, 0x1D8
_G_PAT, _SEV_FEATURES, _XCR0 = 0x268, 0x3B0, 0x3E8
_MXCSR, _FCW = 0x408, 0x410

_SELECTOR_CODE_RING3, _SELECTOR_DATA_RING3 = 0x1B, 0x23
_ATTRIB_CODE64_RING3 = 0xAFB  # present, ring 3, execute and read, accessed; long mode, 4 KiB granularity
_ATTRIB_DATA_RING3 = 0xCF3  # present, ring 3, read and write, accessed; 32-bit, 4 KiB granularity
_ATTRIB_LDT, _ATTRIB_BUSY_TSS = 0x82, 0x8B
_FLAT_LIMIT = 0xFFFF_FFFF

_CR0_VALUE = 0x8005_0033  # PG, AM, WP, NE, ET, MP, PE
_CR4_VALUE = 0x4_0620  # OSXSAVE, OSXMMEXCPT, OSFXSR, PAE
_CR4_MCE = 1 << 6  # KVM runs SEV-ES guests with it, whatever is asked for
_EFER_VALUE = 0xD00 | 1 << 12  # NXE, LMA, LME; no SCE: `syscall` is #UD. SVME: VMRUN requires it in a VMSA
SEV_FEATURE_SNP = 1 << 0


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the image says about how it starts: addresses, and table limits (size minus one)."""

    entry: int
    stack_pointer: int
    cr3: int
    gdt: int
    idt: int
    tss: int
    gdt_limit: int
    idt_limit: int
    tss_limit: int

    @classmethod
    def decode(cls, data: bytes) -> ImageHeader:
        """Read the first 64 bytes of an image; raises `InputError` ``image.malformed``."""
        if len(data) < HEADER_SIZE:
            raise malformed("no header", f"{HEADER_SIZE} bytes at the start of the image")
        magic, *fields, reserved = _HEADER.unpack_from(data)
        if magic != _MAGIC or reserved:
            raise malformed(f"header {data[:8].hex()}", f"header {_MAGIC.hex()} and zero padding")
        entry, stack, cr3, gdt, idt, tss, *limits = fields
        gdt_limit, idt_limit, tss_limit = limits
        return cls(entry, stack, cr3, gdt, idt, tss, gdt_limit, idt_limit, tss_limit)


def snp_entry(header: ImageHeader) -> bytes:
    """The VMSA of a guest of the ``snp`` kind."""
    return _direct_entry(header, cr4=_CR4_VALUE, features=SEV_FEATURE_SNP)


def sev_entry(header: ImageHeader) -> bytes:
    """The VMSA of a guest of the ``sev-es`` kind, as KVM makes it; the state of one of the ``sev`` kind."""
    return _direct_entry(header, cr4=_CR4_VALUE | _CR4_MCE, features=0)


def _direct_entry(header: ImageHeader, *, cr4: int, features: int) -> bytes:
    page = bytearray(VMSA_SIZE)
    for offset in (_ES, _SS, _DS):
        _SEGMENT.pack_into(page, offset, _SELECTOR_DATA_RING3, _ATTRIB_DATA_RING3, _FLAT_LIMIT, 0)
    _SEGMENT.pack_into(page, _CS, _SELECTOR_CODE_RING3, _ATTRIB_CODE64_RING3, _FLAT_LIMIT, 0)
    for offset in (_FS, _GS):
        _SEGMENT.pack_into(page, offset, 0, _ATTRIB_DATA_RING3, _FLAT_LIMIT, 0)
    _SEGMENT.pack_into(page, _GDTR, 0, 0, header.gdt_limit, header.gdt)
    _SEGMENT.pack_into(page, _IDTR, 0, 0, header.idt_limit, header.idt)
    _SEGMENT.pack_into(page, _LDTR, 0, _ATTRIB_LDT, 0, 0)
    _SEGMENT.pack_into(page, _TR, 0, _ATTRIB_BUSY_TSS, header.tss_limit, header.tss)
    page[_CPL] = 3
    quadwords = {
        _EFER: _EFER_VALUE,
        _CR4: cr4,
        _CR3: header.cr3,
        _CR0: _CR0_VALUE,
        _DR7: 0x400,
        _DR6: 0xFFFF_0FF0,
        _RFLAGS: 0x2,
        _RIP: header.entry,
        _RSP: header.stack_pointer,
        _G_PAT: 0x0007_0406_0007_0406,
        _SEV_FEATURES: features,
        _XCR0: 0x7,
    }
    for offset, value in quadwords.items():
        struct.pack_into("<Q", page, offset, value)
    struct.pack_into("<I", page, _MXCSR, 0x1F80)
    struct.pack_into("<H", page, _FCW, 0x37F)
    return bytes(page)


def process_state(features: int) -> bytes:
    """The VMSA of a process kind, which has no vCPU: all zero but ``features``, those of its TEE."""
    page = bytearray(VMSA_SIZE)
    struct.pack_into("<Q", page, _SEV_FEATURES, features)
    return bytes(page)
