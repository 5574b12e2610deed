"""A small SEV-ES guest in long mode: page tables with C-bits, a #VC handler, and no trust in answers.

Memory, 64 KiB of it, mapped one to one: 1000h to 4FFFh page tables, 5000h GDT and IDT, 6000h code, 9000h
data, A000h stack up to B000h, B000h the GHCB page, the only one without C-bit. 2_0000h is mapped and no
memory: MMIO.

The handler serves CPUID, IN and OUT of a byte, and 32-bit MMIO, through the GHCB. Of CPUID it believes
nothing that it can check: the vendor, the range of leaves, the C-bit's position, which it knows from the page
tables that were measured with it, and that SEV and SEV-ES are on, which SEV_STATUS told it without a
hypervisor. An answer that contradicts ends the guest by a termination request: set 2 (its own), reason as
below.
"""

from __future__ import annotations

import functools
import struct

from tests.keep.assembly import assemble
from tests.simulator.machine.bare import reset_area
from wasmkeep.simulator.memory_controller import C_BIT
from wasmkeep.simulator.save_area import SaveArea, Segment

CODE, DATA, STACK, GHCB, MMIO = 0x6000, 0x9000, 0xB000, 0xB000, 0x2_0000
TABLES, DESCRIPTORS, IDT_OFFSET = 0x1000, 0x5000, 0x100
REASON_SET = 2
NOT_PROTECTED, WRONG_VENDOR, WRONG_RANGE, WRONG_C_BIT, SEV_DENIED, ODD_EVENT = 1, 2, 3, 4, 5, 6
MESSAGE = b"protected\n"

_HANDLER = 0x400  # of #VC, in the code
_ASSEMBLY = f"""
    # Entered with RSP set. First: is this really SEV-ES? The processor says so, not the hypervisor.
    mov ecx, 0xC0010131
    rdmsr
    and eax, 3
    cmp eax, 3
    mov edi, {NOT_PROTECTED}
    jne terminate

    mov eax, {GHCB}             # the GHCB: tell the hypervisor where, then clean it
    xor edx, edx
    mov ecx, 0xC0010130
    wrmsr
    mov edi, {GHCB}
    mov ecx, 512
    xor eax, eax
    rep stosq

    xor eax, eax                # leaf 0: vendor and range
    cpuid
    mov edi, {WRONG_VENDOR}
    cmp ebx, 0x68747541         # Auth
    jne terminate
    cmp edx, 0x69746e65         # enti
    jne terminate
    cmp ecx, 0x444d4163         # cAMD
    jne terminate
    mov edi, {WRONG_RANGE}
    cmp eax, 0xd
    jb terminate
    cmp eax, 0x20
    ja terminate

    mov eax, 0x8000001f         # encrypted memory: the measured page tables know where the C-bit is
    xor ecx, ecx
    cpuid
    mov edi, {SEV_DENIED}
    and eax, 0x0a
    cmp eax, 0x0a
    jne terminate
    mov edi, {WRONG_C_BIT}
    and ebx, 0x3f
    cmp ebx, 51
    jne terminate

    mov edx, 0x3f8              # the message, from private memory, a byte at a time
    mov esi, {DATA}
    mov ecx, {len(MESSAGE)}
again:
    lodsb
    out dx, al
    loop again

    mov dx, 0x60                # a byte in, and out again to MMIO
    in al, dx
    movzx eax, al
    mov edi, {MMIO}
    mov [rdi], eax
    mov eax, [rdi]
    mov edx, 0x3f8
    out dx, al
end:
    hlt
    jmp end

terminate:                      # GHCB MSR protocol 100h: set and reason; nobody answers
    mov eax, edi
    shl eax, 16
    or eax, {REASON_SET << 12 | 0x100}
    xor edx, edx
    mov ecx, 0xC0010130
    wrmsr
    rep; vmmcall
    hlt
    jmp terminate

.org {_HANDLER}
    # #VC: the error code is the exit's. What the hypervisor is to know goes into the GHCB, nothing else.
    push rdi
    push rsi
    push rbx
    push rdx
    push rcx
    push rax                    # rsp: rax 0, rcx 8, rdx 16, rbx 24, rsi 32, rdi 40, error 48, rip 56
    mov edi, {GHCB}
    mov word ptr [rdi + 0xffa], 2
    mov dword ptr [rdi + 0xffc], 0
    mov rax, [rsp + 48]
    mov [rdi + 0x390], rax      # exit code
    mov qword ptr [rdi + 0x398], 0
    mov qword ptr [rdi + 0x3a0], 0
    mov qword ptr [rdi + 0x3f0], 0
    mov qword ptr [rdi + 0x3f8], 0
    mov byte ptr [rdi + 0x3fe], 0x1c            # valid: exitcode, exitinfo1, exitinfo2 (bits 114 to 116)
    cmp eax, 0x72
    je cpuid_event
    cmp eax, 0x7b
    je port_event
    cmp eax, 0x400
    je mmio_event
odd:
    mov edi, {ODD_EVENT}
    jmp terminate

cpuid_event:
    mov eax, [rsp]
    mov [rdi + 0x1f8], rax
    mov ecx, [rsp + 8]
    mov [rdi + 0x308], rcx
    call tell_rax
    or byte ptr [rdi + 0x3fc], 2                # rcx: bit 97
    call ask
    # Each answer is read once, into the registers of the guest, which judges it there.
    mov eax, [rdi + 0x1f8]
    mov [rsp], rax
    mov eax, [rdi + 0x308]
    mov [rsp + 8], rax
    mov eax, [rdi + 0x310]
    mov [rsp + 16], rax
    mov eax, [rdi + 0x318]
    mov [rsp + 24], rax
    add qword ptr [rsp + 56], 2
    jmp resume

port_event:                     # EC: IN AL, DX · EE: OUT DX, AL. Nothing but the byte and the port is told.
    mov rsi, [rsp + 56]
    movzx ebx, byte ptr [rsi]
    movzx eax, word ptr [rsp + 16]
    shl eax, 16
    or eax, 0x10
    cmp bl, 0xec
    je input
    cmp bl, 0xee
    jne odd
    mov [rdi + 0x398], rax
    movzx eax, byte ptr [rsp]
    mov [rdi + 0x1f8], rax
    call tell_rax
    call ask
    inc qword ptr [rsp + 56]
    jmp resume
input:
    or eax, 1
    mov [rdi + 0x398], rax
    call ask
    mov al, [rdi + 0x1f8]
    mov [rsp], al
    inc qword ptr [rsp + 56]
    jmp resume

mmio_event:                     # 89 07: MOV [RDI], EAX · 8B 07: MOV EAX, [RDI]
    mov rsi, [rsp + 56]
    movzx ebx, word ptr [rsi]
    mov rax, [rsp + 40]
    mov [rdi + 0x398], rax      # the address is the guest-physical one: the mapping is the identity
    mov qword ptr [rdi + 0x3a0], 4
    mov qword ptr [rdi + 0x3a8], {GHCB + 0x800}
    mov eax, 0x80000001
    cmp ebx, 0x078b
    je load
    cmp ebx, 0x0789
    jne odd
    mov eax, [rsp]
    mov [rdi + 0x800], eax
    mov eax, 0x80000002
load:
    mov [rdi + 0x390], rax
    or byte ptr [rdi + 0x3fe], 0x20             # scratch: bit 117
    call ask
    cmp ebx, 0x078b
    jne stored
    mov eax, [rdi + 0x800]
    mov [rsp], rax
stored:
    add qword ptr [rsp + 56], 2
    jmp resume

tell_rax:
    or byte ptr [rdi + 0x3f7], 0x80             # rax: bit 63
    ret

ask:
    rep; vmmcall
    cmp dword ptr [rdi + 0x398], 0              # anything but "done" is not what was asked for
    jne odd
    ret

resume:
    pop rax
    pop rcx
    pop rdx
    pop rbx
    pop rsi
    pop rdi
    add rsp, 8
    iretq
"""


@functools.cache
def code() -> bytes:
    return assemble({"guest": _ASSEMBLY})["guest"]


def _tables() -> bytes:
    """Four levels for the first 2 MiB: 16 pages of memory and a page of MMIO."""
    tables = bytearray(0x4000)
    for level in range(3):
        struct.pack_into("<Q", tables, 0x1000 * level, TABLES + 0x1000 * (level + 1) | 3 | C_BIT)
    for page in range(16):
        encrypted = 0 if page == GHCB >> 12 else C_BIT
        struct.pack_into("<Q", tables, 0x3000 + 8 * page, page << 12 | 3 | encrypted)
    struct.pack_into("<Q", tables, 0x3000 + 8 * (MMIO >> 12), MMIO | 3)
    return bytes(tables)


def _descriptors() -> bytes:
    page = bytearray(0x1000)
    struct.pack_into("<QQQ", page, 0, 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF)
    handler = CODE + _HANDLER
    gate = struct.pack("<HHBBHII", handler & 0xFFFF, 8, 0, 0x8E, handler >> 16, 0, 0)
    page[IDT_OFFSET + 16 * 29 : IDT_OFFSET + 16 * 30] = gate
    return bytes(page)


def contents() -> dict[int, bytes]:
    """What is launched, by address. The GHCB page is the host's."""
    message = MESSAGE.ljust(0x1000, b"\0")
    return {
        TABLES: _tables(),
        DESCRIPTORS: _descriptors(),
        CODE: code(),
        DATA: message,
        0xA000: bytes(0x1000),
    }


def area() -> SaveArea:
    """In 64-bit mode, at the code's first instruction."""
    state = reset_area(CODE)
    values = {"cr0": 0x8000_0013, "cr3": TABLES, "cr4": 0x620, "efer": 0x1D00, "rsp": STACK}
    for name, value in values.items():
        state[name] = value
    state.set_segment("cs", Segment(8, 0xA9B, 0xFFFF_FFFF, 0))
    for name in ("ds", "es", "ss"):
        state.set_segment(name, Segment(16, 0xC93, 0xFFFF_FFFF, 0))
    state.set_segment("gdtr", Segment(0, 0, 0x17, DESCRIPTORS))
    state.set_segment("idtr", Segment(0, 0, 0x1FF, DESCRIPTORS + IDT_OFFSET))
    return state
