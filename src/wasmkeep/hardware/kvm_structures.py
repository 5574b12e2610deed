"""Structures and numbers of ``linux/kvm.h`` and ``asm/kvm.h`` (x86) that a bare virtual machine needs."""

from __future__ import annotations

import ctypes

from wasmkeep.hardware.ioctl import io, ior, iow, iowr

u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64

_KVMIO = 0xAE
API_VERSION = 12
MAX_CPUID_ENTRIES = 256


class UserspaceMemoryRegion(ctypes.LittleEndianStructure):
    _fields_ = (
        ("slot", u32),
        ("flags", u32),
        ("guest_phys_addr", u64),
        ("memory_size", u64),
        ("userspace_addr", u64),
    )


class Regs(ctypes.LittleEndianStructure):
    rax: int
    rip: int
    rflags: int
    _fields_ = tuple(
        (name, u64)
        for name in (
            "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags".split()  # noqa: SIM905
        )
    )


class Segment(ctypes.LittleEndianStructure):
    """`base` u64, `limit` u32 in bytes, then the descriptor's bits a byte each."""

    base: int
    limit: int
    selector: int
    type: int
    present: int
    dpl: int
    db: int
    s: int
    l: int  # noqa: E741 - the header's name
    g: int
    avl: int

    _fields_ = (
        ("base", u64),
        ("limit", u32),
        ("selector", u16),
        ("type", u8),
        ("present", u8),
        ("dpl", u8),
        ("db", u8),
        ("s", u8),
        ("l", u8),
        ("g", u8),
        ("avl", u8),
        ("unusable", u8),
        ("padding", u8),
    )


class Dtable(ctypes.LittleEndianStructure):
    base: int
    limit: int
    _fields_ = (("base", u64), ("limit", u16), ("padding", u16 * 3))


class Sregs(ctypes.LittleEndianStructure):
    cs: Segment
    gdt: Dtable
    idt: Dtable
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    cr8: int
    efer: int
    apic_base: int
    _fields_ = (
        *((name, Segment) for name in ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")),
        ("gdt", Dtable),
        ("idt", Dtable),
        *((name, u64) for name in ("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")),
        ("interrupt_bitmap", u64 * 4),
    )


class Xcr(ctypes.LittleEndianStructure):
    _fields_ = (("xcr", u32), ("reserved", u32), ("value", u64))


class Xcrs(ctypes.LittleEndianStructure):
    _fields_ = (("nr_xcrs", u32), ("flags", u32), ("xcrs", Xcr * 16), ("padding", u64 * 16))


class MsrEntry(ctypes.LittleEndianStructure):
    _fields_ = (("index", u32), ("reserved", u32), ("data", u64))


class MsrsHeader(ctypes.LittleEndianStructure):
    """``struct kvm_msrs`` without its entries, which follow."""

    _fields_ = (("nmsrs", u32), ("pad", u32))


class CpuidEntry2(ctypes.LittleEndianStructure):
    _fields_ = (
        ("function", u32),
        ("index", u32),
        ("flags", u32),
        ("eax", u32),
        ("ebx", u32),
        ("ecx", u32),
        ("edx", u32),
        ("padding", u32 * 3),
    )


class Cpuid2(ctypes.LittleEndianStructure):
    """``struct kvm_cpuid2`` without its entries, which follow."""

    nent: int
    _fields_ = (("nent", u32), ("padding", u32))


class Fpu(ctypes.LittleEndianStructure):
    """``struct kvm_fpu``."""

    _fields_ = (
        ("fpr", u8 * 16 * 8),
        ("fcw", u16),
        ("fsw", u16),
        ("ftwx", u8),
        ("pad1", u8),
        ("last_opcode", u16),
        ("last_ip", u64),
        ("last_dp", u64),
        ("xmm", u8 * 16 * 16),
        ("mxcsr", u32),
        ("pad2", u32),
    )


class Xsave(ctypes.LittleEndianStructure):
    """``struct kvm_xsave``: the XSAVE area in its standard form."""

    _fields_ = (("region", u32 * 1024),)


XSAVE_SIZE = ctypes.sizeof(Xsave)
XSAVE_XMM, XSAVE_YMM_HIGH = 160, 576  # offsets; 16 registers of 16 bytes each
CAP_VM_TYPES = 235

GET_API_VERSION = io(_KVMIO, 0x00)
CREATE_VM = io(_KVMIO, 0x01)
CHECK_EXTENSION = io(_KVMIO, 0x03)
GET_VCPU_MMAP_SIZE = io(_KVMIO, 0x04)
GET_SUPPORTED_CPUID = iowr(_KVMIO, 0x05, Cpuid2)
CREATE_VCPU = io(_KVMIO, 0x41)
SET_USER_MEMORY_REGION = iow(_KVMIO, 0x46, UserspaceMemoryRegion)
RUN = io(_KVMIO, 0x80)
GET_REGS = ior(_KVMIO, 0x81, Regs)
SET_REGS = iow(_KVMIO, 0x82, Regs)
GET_SREGS = ior(_KVMIO, 0x83, Sregs)
SET_SREGS = iow(_KVMIO, 0x84, Sregs)
SET_MSRS = iow(_KVMIO, 0x89, MsrsHeader)
GET_FPU = ior(_KVMIO, 0x8C, Fpu)
SET_FPU = iow(_KVMIO, 0x8D, Fpu)
SET_CPUID2 = iow(_KVMIO, 0x90, Cpuid2)
GET_TSC_KHZ = io(_KVMIO, 0xA3)
GET_XSAVE = ior(_KVMIO, 0xA4, Xsave)
SET_XSAVE = iow(_KVMIO, 0xA5, Xsave)
SET_XCRS = iow(_KVMIO, 0xA7, Xcrs)

# Offsets in struct kvm_run, the page that a vCPU shares with its user.
RUN_IMMEDIATE_EXIT = 1
RUN_EXIT_REASON = 8
RUN_EXIT_DATA = 32
RUN_MMIO_DATA = 40
