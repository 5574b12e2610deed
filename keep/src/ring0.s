# Everything that runs in ring 0, and the tables the processor reads. All of it is constant in the image.
#
# Ring 0 does two things: it turns an exception into a report and continues ring 3 at the trap handler, and it
# maps memory for ring 3 under rules that ring 3 cannot bend. It is entered by exceptions only; the mapping
# service is the #UD of the one `ud2` at `ring0_call` (on some virtual machines `syscall` does not change rings).
# Interrupts are never enabled and no vector above 31 exists: whatever a host injects is a trap that ends the keep.
#
# Rules of the mapping service (checked in this order, refused with rax = 1):
#   - physical memory comes from the pool only, in whole blocks of 2 MiB, inside the guest's measured memory size;
#   - program segments: read, read-write, or read-execute; never write and execute; not at all after the lock;
#   - contents of files and linear memory: read-write, never executable;
#   - the lock, once, takes the blocks that hold program text out of the pool: nothing becomes executable
#     afterwards, and nothing executable becomes writable under a second address.
#
# Ring 0 is emulated by software on some development machines (half a microsecond an instruction, no SSE), so
# it is short rather than pretty.

.intel_syntax noprefix

.equ BOOT,            0x100000
.equ RING0,           0x101000
.equ STATE,           0x102000
.equ TRAP,            0x103000
.equ PML4,            0x104000
.equ PDPT,            0x105000
.equ PD_LOW,          0x106000
.equ PT_IMAGE,        0x107000
.equ PT_WINDOW,       0x108000
.equ PD_SEGMENTS,     0x109000
.equ PD_CONTENTS,     0x10A000
.equ PD_LINEAR,       0x10B000      # four tables
.equ PT_TAIL,         0x10F000
.equ CONFIGURED_MEMORY, 0x14008     # configuration page: bytes of memory

.equ TRAP_STACK_END,  0x3F0000
.equ POOL,            0xA00000

# Page table entries. Accessed and dirty are preset: the processor has nothing to write.
.equ NX,              1 << 63
.equ TABLE,           0x027         # present, writable, user, accessed
.equ PAGE_R0,         0x061         # present, accessed, dirty: ring 0, read (and execute)
.equ PAGE_RW0,        0x063
.equ PAGE_R,          0x065         # ... user
.equ PAGE_RW,         0x067
.equ LARGE,           0x080
.equ BLOCK_SHIFT,     21

# State of ring 0; its stack grows down from the end of the same page.
.equ POOL_START,      STATE + 0x00  # blocks below this cannot be mapped
.equ LOCKED,          STATE + 0x08
.equ TRAPPED,         STATE + 0x10
.equ STACK_END,       STATE + 0x1000

.section .boot, "a"
# Header for whoever launches the image: where the tables are, how the processor starts.
image_header:
    .ascii "WKIMAGE1"
    .quad _start
    .quad 0xA00000 - 64             # stack pointer at the start
    .quad PML4
    .quad gdt
    .quad idt
    .quad tss
    .short gdt_end - gdt - 1, idt_end - idt - 1, tss_end - tss - 1, 0

    .balign 16
gdt:                                # accessed bits preset, so that the processor never writes here
    .quad 0
    .quad 0x00AF9B000000FFFF        # 08 code, ring 0
    .quad 0x00CF93000000FFFF        # 10 data, ring 0
    .quad 0x00AFFB000000FFFF        # 18 code, ring 3
    .quad 0x00CFF3000000FFFF        # 20 data, ring 3
gdt_end:

    .balign 16
idt:                                # 32 interrupt gates, ring 0 only: `int` from ring 3 is #GP
.set vector, 0
.rept 32
    .short (RING0 + vector * 16) & 0xFFFF
    .short 0x08, 0x8E00
    .short (RING0 + vector * 16) >> 16
    .quad 0
.set vector, vector + 1
.endr
idt_end:

    .balign 16
tss:
    .long 0
    .quad STACK_END                 # rsp0
    .fill 22, 4, 0
    .short 0
    .short 104                      # I/O permission bitmap follows
    .byte 0xFF, 0xFF, 0xFE, 0xFF    # port 0x10 alone; ports past the limit are refused
tss_end:

.section .tables, "a"
    # PML4
    .quad PDPT + TABLE
    .fill 511, 8, 0
    # PDPT: 0 image; 1 segments; 2 contents; 3 nothing; 4-7 linear memory
    .quad PD_LOW + TABLE, PD_SEGMENTS + TABLE, PD_CONTENTS + TABLE, 0
    .quad PD_LINEAR + TABLE, PD_LINEAR + 0x1000 + TABLE, PD_LINEAR + 0x2000 + TABLE, PD_LINEAR + 0x3000 + TABLE
    .fill 504, 8, 0
    # PD_LOW
    .quad PT_IMAGE + TABLE, PT_WINDOW + TABLE
    .quad 0x400000 + PAGE_RW + LARGE + NX       # buffers
    .quad 0                                     # guard
    .quad 0x800000 + PAGE_RW + LARGE + NX       # stack
    .fill 507, 8, 0
.macro pages first, last, flags
    .set address, \first
    .rept \last - \first + 1
    .quad (address << 12) + \flags
    .set address, address + 1
    .endr
.endm
    # PT_IMAGE: 0 to 2 MiB
    .fill 0x13, 8, 0
    .quad 0x13000 + PAGE_RW + NX                # secrets, wiped by the keep
    .quad 0x14000 + PAGE_R + NX                 # configuration
    .quad TRAP + PAGE_R + NX                    # the trap page as ring 3 sees it
    .fill 0x100 - 0x16, 8, 0
    .quad BOOT + PAGE_R0 + NX
    .quad RING0 + PAGE_R0
    .quad STATE + PAGE_RW0 + NX
    .quad TRAP + PAGE_RW0 + NX
    .fill 5, 8, 0                               # the constant tables are mapped nowhere
    pages 0x109, 0x10F, PAGE_RW0 + NX           # the others: for ring 0
    pages 0x110, 0x18F, PAGE_R                  # text
    pages 0x190, 0x1CF, PAGE_R + NX             # read-only data
    pages 0x1D0, 0x1EF, PAGE_RW + NX            # data
    .fill 0x10, 8, 0
    # PT_WINDOW: 2 to 4 MiB
    pages 0x200, 0x2FF, PAGE_RW + NX            # window
    pages 0x300, 0x3DE, PAGE_RW + NX            # zero-initialised data
    .quad 0                                     # guard
    pages 0x3E0, 0x3EF, PAGE_RW + NX            # trap stack
    .fill 0x10, 8, 0                            # guard

.section .empty_tables, "aw", @nobits
    .fill 0x7000, 1, 0

.section .state, "aw"
    .quad POOL, 0, 0
    .fill 0x2000 - 24, 1, 0

.section .ring0, "ax"
# One 16-byte stub a vector, at RING0 + 16 * vector: leaves [vector, error code, frame] on the stack.
.altmacro
.macro stub number
    .balign 16
    .if (\number == 8) || (\number == 10) || (\number == 11) || (\number == 12) || (\number == 13) || (\number == 14) || (\number == 17) || (\number == 21) || (\number == 29) || (\number == 30)
    .else
    push 0
    .endif
    push \number
    jmp exception
.endm
.set vector, 0
.rept 32
    stub %vector
.set vector, vector + 1
.endr

    .balign 16
# Stack: vector, error code, rip, cs, rflags, rsp, ss.
exception:
    test byte ptr [rsp + 24], 3
    jz die                          # ring 0 itself failed
    cmp dword ptr [rsp], 6
    jne reflect
    cmp qword ptr [rsp + 16], offset ring0_call
    je service

# Report the exception to ring 3, once: a trap in the trap handler ends the keep.
reflect:
    cmp qword ptr [TRAPPED], 0
    jne die
    mov qword ptr [TRAPPED], 1
    mov [TRAP + 0x28], rbp
    pop qword ptr [TRAP + 0x00]     # vector
    pop qword ptr [TRAP + 0x08]     # error code
    mov rax, [rsp]
    mov [TRAP + 0x10], rax          # instruction
    mov rax, cr2
    mov [TRAP + 0x18], rax          # fault address
    mov rax, [rsp + 24]
    mov [TRAP + 0x20], rax          # stack pointer
    mov qword ptr [rsp], offset trap_entry
    mov qword ptr [rsp + 16], 2     # rflags: nothing of the program's
    mov qword ptr [rsp + 24], TRAP_STACK_END
    iretq

# No way on: without an interrupt table the next exception shuts the machine down.
die:
    lidt [no_idt]
    ud2
no_idt:
    .fill 10, 1, 0

# rax operation: 1 segment, 2 contents, 3 linear, 4 tail of linear, 5 lock.
# rdi virtual address, rsi physical address, rdx blocks; for segments r10 protection (1 read, 2 read-write,
# 3 read-execute); for the tail, which is one block in part: r10 first and r11 end of its 64 KiB pages.
# Returns rax 0 done, 1 refused; rcx, rdx, rsi, rdi, r8, r9, r10, r11 are lost.
service:
    cmp eax, 5
    je lock
    mov r9d, (1 << BLOCK_SHIFT) - 1
    test rsi, r9
    jnz refuse
    test rdi, r9
    jnz refuse
    cmp rdx, 0x1000                 # blocks in 8 GiB; keeps the sums below from wrapping
    ja refuse
    cmp rsi, [POOL_START]
    jb refuse
    mov r9, [CONFIGURED_MEMORY]
    cmp rsi, r9
    ja refuse
    mov rcx, rdx
    shl rcx, BLOCK_SHIFT
    add rcx, rsi
    cmp rcx, r9
    ja refuse
    shr rdi, BLOCK_SHIFT            # rdi: virtual block, r8: its table entry, rcx: one past the last block
    lea rcx, [rdi + rdx]
    movabs r9, NX + PAGE_RW + LARGE
    cmp eax, 2
    jb segment
    je contents

    cmp rdi, 0x800
    jb refuse
    cmp rcx, 0x1000
    ja refuse
    lea r8, [PD_LINEAR + rdi * 8 - 0x800 * 8]
    cmp eax, 4
    jb map
    je tail
    jmp refuse

contents:
    cmp rdi, 0x400
    jb refuse
    cmp rcx, 0x600
    ja refuse
    lea r8, [PD_CONTENTS + rdi * 8 - 0x400 * 8]
    jmp map

segment:
    cmp eax, 1
    jne refuse
    cmp qword ptr [LOCKED], 0
    jne refuse
    cmp rdi, 0x200
    jb refuse
    cmp rcx, 0x400
    ja refuse
    lea r8, [PD_SEGMENTS + rdi * 8 - 0x200 * 8]
    dec r10
    cmp r10, 2
    ja refuse
    mov r9, [protections + r10 * 8]

map:                                # r8 first entry, r9 flags, rsi physical, rdx blocks
    or rsi, r9
1:  test rdx, rdx
    jz done
    mov [r8], rsi
    add rsi, 1 << BLOCK_SHIFT
    add r8, 8
    dec rdx
    jmp 1b

# The last block of linear memory, mapped in part by 4 KiB pages, 16 to a wasm page. It becomes a whole block
# by the linear operation; then the table serves the next tail, and is emptied when that starts at page 0.
tail:
    cmp rdx, 1
    jne refuse
    cmp r11, 31
    ja refuse
    cmp r10, r11
    ja refuse
    movabs r9, NX + PAGE_RW
    or rsi, r9
    mov ecx, r10d
    shl ecx, 16
    add rsi, rcx
    shr ecx, 9
    add ecx, PT_TAIL                # rcx: entry of the first page
    shl r11d, 7
    add r11d, PT_TAIL               # r11: past the entry of the last
    test r10, r10
    jnz 2f
    mov edi, PT_TAIL                # a new tail: empty the table
    mov rdx, rcx                    # (rep needs rcx; r10 and rax are kept)
    mov ecx, 512
    mov r9, rax
    xor eax, eax
    rep stosq
    mov rax, r9
    mov rcx, rdx
2:  cmp rcx, r11
    jae 3f
.set entry, 0
.rept 16
    mov [rcx + entry], rsi
    add rsi, 0x1000
.set entry, entry + 8
.endr
    add rcx, 128
    jmp 2b
3:  mov qword ptr [r8], PT_TAIL + TABLE

done:
    mov rcx, cr3                    # flush what the processor remembers of the old entries
    mov cr3, rcx
    xor eax, eax
answer:
    add rsp, 16                     # vector, error code
    add qword ptr [rsp], 2          # past the ud2
    iretq

# rdi: first physical address past the program's text.
lock:
    cmp qword ptr [LOCKED], 0
    jne refuse
    cmp rdi, [POOL_START]
    jb refuse
    cmp rdi, [CONFIGURED_MEMORY]
    ja refuse
    mov [POOL_START], rdi
    mov qword ptr [LOCKED], 1
    xor eax, eax
    jmp answer
refuse:
    mov eax, 1
    jmp answer

    .balign 8
protections:
    .quad NX + PAGE_R + LARGE, NX + PAGE_RW + LARGE, PAGE_R + LARGE

.text
.globl ring0_call
ring0_call:
    ud2
    ret
