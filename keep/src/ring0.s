# Everything that runs in ring 0, and the tables the processor reads. All of it is constant in the image.
#
# Ring 0 does two things: it turns an exception into a report and continues ring 3 at the trap handler, and it
# maps memory for ring 3 under rules that ring 3 cannot bend. It is entered by exceptions only; the mapping
# service is the #UD of the one `ud2` at `ring0_call` (on some virtual machines `syscall` does not change rings).
# Interrupts are never enabled and no vector above 31 exists: whatever a host injects is a trap that ends the keep.
#
# Rules of the mapping service (a call that breaks one is refused with rax = 1 and changes nothing):
#   - physical memory comes from the pool only, in whole blocks of 2 MiB, inside the guest's measured memory size;
#   - program segments: read-write or read-only, and not at all after the lock;
#   - contents of files and linear memory: read-write;
#   - the first segment mapped read-write holds the program's text: its blocks leave the pool at once, so that
#     they have no second address, ever;
#   - executable memory is made by the lock, once: it maps that text read-execute where it is. Nothing becomes
#     executable afterwards.
#
# Ring 0 is emulated by software on some development machines (a microsecond an instruction, 25 to enter and leave,
# no SSE), so it is short rather than pretty: fresh entries need no flush, and checks are shared.

.intel_syntax noprefix

.equ BOOT,            0x100000
.equ RING0,           0x101000
.equ UNDEFINED,       RING0 + 32 * 16   # handler of #UD, after the stubs of the others
.equ STATE,           0x102000
.equ TRAP,            0x103000
.equ PML4,            0x104000
.equ PDPT,            0x105000
.equ PD_LOW,          0x106000
.equ PT_IMAGE,        0x107000
.equ PT_WINDOW,       0x108000
.equ PD_CONTENTS,     0x109000
.equ PD_LINEAR,       0x10A000      # four tables
.equ PD_SEGMENTS,     0x10E000
.equ PT_TAIL,         0x10F000
.equ CONFIGURED_MEMORY, 0x14008     # configuration page: bytes of memory

.equ TRAP_STACK_END,  0x3F0000
.equ FIRST_CONTENTS,  0xA00000      # one block each is mapped from the start: most programs need no more
.equ FIRST_LINEAR,    0xC00000
.equ POOL,            0xE00000

# Page table entries. Accessed and dirty are preset: the processor has nothing to write.
.equ NX,              1 << 63
.equ TABLE,           0x027         # present, writable, user, accessed
.equ PAGE_R0,         0x061         # present, accessed, dirty: ring 0, read (and execute)
.equ PAGE_RW0,        0x063
.equ PAGE_R,          0x065         # ... user
.equ PAGE_RW,         0x067
.equ LARGE,           0x080
.equ PRESENT,         0x001
.equ BLOCK_SHIFT,     21
.equ BLOCK_OFFSET,    (1 << BLOCK_SHIFT) - 1

# State of ring 0; its stack grows down from the end of the same page.
.equ POOL_START,      STATE + 0x00  # blocks below this cannot be mapped
.equ LOCKED,          STATE + 0x08
.equ TRAPPED,         STATE + 0x10
.equ TAIL_USED,       STATE + 0x18  # the tail's table is not empty
.equ TEXT_ENTRY,      STATE + 0x20  # table entry, physical address and blocks of the program's text
.equ TEXT_PHYSICAL,   STATE + 0x28
.equ TEXT_BLOCKS,     STATE + 0x30  # 0: not mapped yet
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
    .if vector == 6
    .set handler, UNDEFINED
    .else
    .set handler, RING0 + vector * 16
    .endif
    .short handler & 0xFFFF
    .short 0x08, 0x8E00
    .short handler >> 16
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
    .quad 0x13000 + PAGE_RW + NX                # launch page, wiped by the keep
    .quad 0x14000 + PAGE_R + NX                 # configuration
    .quad TRAP + PAGE_R + NX                    # the trap page as ring 3 sees it
    .fill 0x100 - 0x16, 8, 0
    .quad BOOT + PAGE_R0 + NX
    .quad RING0 + PAGE_R0
    .quad STATE + PAGE_RW0 + NX
    .quad TRAP + PAGE_RW0 + NX
    .fill 5, 8, 0                               # the constant tables are mapped nowhere
    pages 0x109, 0x10F, PAGE_RW0 + NX           # those that ring 0 changes
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

.section .open_tables, "a"
    # PD_CONTENTS, PD_LINEAR: the first block of each
    .quad FIRST_CONTENTS + PAGE_RW + LARGE + NX
    .fill 511, 8, 0
    .quad FIRST_LINEAR + PAGE_RW + LARGE + NX
    .fill 511, 8, 0

.section .empty_tables, "aw", @nobits
    # PD_SEGMENTS, PT_TAIL, and the rest of PD_LINEAR
    .fill 0x5000, 1, 0

.section .state, "aw"
    .quad POOL, 0, 0, 0
    .fill 0x2000 - 32, 1, 0

.section .ring0, "ax"
# One 16-byte stub a vector, at RING0 + 16 * vector: leaves [vector, error code, frame] on the stack.
.altmacro
.macro stub number
    .org \number * 16, 0xCC
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

    .org UNDEFINED - RING0, 0xCC
    cmp qword ptr [rsp], offset ring0_call
    je service
    push 0
    push 6
# Stack: vector, error code, rip, cs, rflags, rsp, ss. Report the exception to ring 3, once: a trap in the trap
# handler, like one of ring 0 itself, ends the keep.
exception:
    test byte ptr [rsp + 24], 3
    jz die
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

# rax operation; rdi virtual address, rsi physical address, rdx blocks (at least one):
#   1 segment read-write, 2 segment read-only, 3 contents, 4 linear,
#   5 tail: one block of linear memory in part: r10 first and r11 end of its 64 KiB pages (r10 < r11 < 32),
#   6 lock: maps the text read-execute; the other registers do not matter.
# Returns rax 0 done, 1 refused; rcx, rdx, rsi, rdi, r8, r9, r10, r11 are lost.
service:
    cmp eax, 6
    je lock
    cmp rsi, [POOL_START]
    jb refuse
    mov rcx, rsi
    or rcx, rdi
    test ecx, BLOCK_OFFSET
    jnz refuse
    lea rcx, [rdx - 1]
    cmp rcx, 0x1000                 # blocks in 8 GiB: keeps the sums below from wrapping
    jae refuse
    inc rcx
    shl rcx, BLOCK_SHIFT
    add rcx, rsi
    jc refuse
    cmp rcx, [CONFIGURED_MEMORY]
    ja refuse
    shr rdi, BLOCK_SHIFT            # rdi: first virtual block, rcx: one past the last
    lea rcx, [rdi + rdx]
    movabs r9, NX + PAGE_RW + LARGE
    cmp eax, 4
    jb low

    cmp rdi, 0x800
    jb refuse
    cmp rcx, 0x1000
    ja refuse
    lea r8, [PD_LINEAR + rdi * 8 - 0x800 * 8]
    cmp eax, 5
    jb map
    je tail
refuse:
    mov eax, 1
    add qword ptr [rsp], 2          # past the ud2
    iretq

low:
    cmp eax, 3
    je contents
    cmp qword ptr [LOCKED], 0
    jne refuse
    cmp rdi, 0x200
    jb refuse
    cmp rcx, 0x400
    ja refuse
    lea r8, [PD_SEGMENTS + rdi * 8 - 0x200 * 8]
    dec eax
    jz segment
    movabs r9, NX + PAGE_R + LARGE
    dec eax
    jz map
    jmp refuse
segment:
    cmp qword ptr [TEXT_BLOCKS], 0
    jne map
    mov [TEXT_BLOCKS], rdx          # the text: nobody else gets these blocks
    mov [TEXT_ENTRY], r8
    mov [TEXT_PHYSICAL], rsi
    mov rcx, rdx
    shl rcx, BLOCK_SHIFT
    add rcx, rsi
    mov [POOL_START], rcx
    jmp map

contents:
    cmp rdi, 0x400
    jb refuse
    cmp rcx, 0x600
    ja refuse
    lea r8, [PD_CONTENTS + rdi * 8 - 0x400 * 8]

map:                                # r8 first entry, r9 flags, rsi physical, rdx blocks
    or rsi, r9
    mov r10, [r8]                   # an entry that was there has to be flushed; a run is all new or all old
1:  mov [r8], rsi
    add rsi, 1 << BLOCK_SHIFT
    add r8, 8
    dec rdx
    jnz 1b
    test r10b, PRESENT
    jnz flush
    xor eax, eax
    add qword ptr [rsp], 2
    iretq
flush:
    mov rcx, cr3
    mov cr3, rcx
    xor eax, eax
    add qword ptr [rsp], 2
    iretq

# The table of 4 KiB pages holds the last block of linear memory as far as it is there, 16 entries a wasm page. The
# block becomes whole by the linear operation; then the table serves the next tail, which starts at page 0.
tail:
    dec rdx
    jnz refuse
    cmp r11, 32
    jae refuse
    cmp r10, r11
    jae refuse
    movabs r9, NX + PAGE_RW
    or rsi, r9
    shl r11d, 7
    add r11d, PT_TAIL               # past the last entry
    mov ecx, r10d
    shl ecx, 16
    add rsi, rcx
    shr ecx, 9
    add ecx, PT_TAIL                # first entry
    test r10d, r10d
    jnz 2f
    cmp qword ptr [TAIL_USED], 0
    jne empty
3:  mov qword ptr [TAIL_USED], 1
2:
.set entry, 0
.rept 16
    mov [rcx + entry], rsi
    add rsi, 0x1000
.set entry, entry + 8
.endr
    add ecx, 128
    cmp ecx, r11d
    jb 2b
    mov qword ptr [r8], PT_TAIL + TABLE
    xor eax, eax
    add qword ptr [rsp], 2
    iretq
empty:
    mov edi, PT_TAIL
    mov edx, ecx
    mov ecx, 512
    xor eax, eax
    cld                             # the flag is ring 3's
    rep stosq
    mov ecx, edx
    jmp 3b

lock:
    cmp qword ptr [LOCKED], 0
    jne refuse
    mov rdx, [TEXT_BLOCKS]
    test rdx, rdx
    jz refuse
    mov qword ptr [LOCKED], 1
    mov r8, [TEXT_ENTRY]
    mov rsi, [TEXT_PHYSICAL]
    or rsi, PAGE_R + LARGE
4:  mov [r8], rsi
    add rsi, 1 << BLOCK_SHIFT
    add r8, 8
    dec rdx
    jnz 4b
    jmp flush

.text
.globl ring0_call
ring0_call:
    ud2
    ret
