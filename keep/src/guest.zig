//! The guest kinds' machine (snp, sev, sev-es): memory through the ring-0 service of `ring0.s`, exits through a port.

const layout = @import("layout.zig");
const machine = @import("machine.zig");
const ghcb = @import("ghcb.zig");
const tee = @import("tee.zig");

const Service = enum(u64) { segments = 1, read_only_segments = 2, contents = 3, linear = 4, tail = 5, lock = 6 };

/// Registers of one call; what they mean is at `service` in `ring0.s`.
const Call = struct { address: u64 = 0, physical: u64 = 0, blocks: u64 = 0, first: u64 = 0, end: u64 = 0 };

fn call(service: Service, arguments: Call) bool {
    const refused = asm volatile ("call ring0_call"
        : [result] "={rax}" (-> u64),
        : [service] "{rax}" (@backingInt(service)),
          [address] "{rdi}" (arguments.address),
          [physical] "{rsi}" (arguments.physical),
          [blocks] "{rdx}" (arguments.blocks),
          [first] "{r10}" (arguments.first),
          [end] "{r11}" (arguments.end),
        : .{ .rcx = true, .rdx = true, .rsi = true, .rdi = true, .r8 = true, .r9 = true, .r10 = true, .r11 = true, .memory = true });
    return refused == 0;
}

fn physical(block: u64) u64 {
    return layout.pool + block * layout.block;
}

/// SEV and SEV-ES only encrypt: memory reads as whatever the ciphertext that lay there decrypts to.
pub const memory_is_zero = tee.current == .snp;

/// Nothing: the tables of the image already are the whole address space.
pub fn start() void {}

pub fn leave() void {
    if (tee.current == .sev) return leaveBare();
    asm volatile ("outb %[zero], %[port]"
        :
        : [zero] "{al}" (@as(u8, 0)),
          [port] "N{dx}" (@as(u16, ghcb.port)),
        : .{ .memory = true });
}

extern fn leaveBare() callconv(.c) void;

/// On SEV the host sees the registers at each exit. This one leaves nothing in them but the stack pointer: what is
/// still needed waits on the stack. (A host can also stop the guest at any other instruction; that is SEV's limit.)
fn bareExit() callconv(.naked) void {
    asm volatile (
        \\ pushq %%rbx
        \\ pushq %%rbp
        \\ pushq %%r12
        \\ pushq %%r13
        \\ pushq %%r14
        \\ pushq %%r15
        \\ vzeroall
        \\ xorl %%eax, %%eax
        \\ xorl %%ebx, %%ebx
        \\ xorl %%ecx, %%ecx
        \\ xorl %%edx, %%edx
        \\ xorl %%esi, %%esi
        \\ xorl %%edi, %%edi
        \\ xorl %%ebp, %%ebp
        \\ xorl %%r8d, %%r8d
        \\ xorl %%r9d, %%r9d
        \\ xorl %%r10d, %%r10d
        \\ xorl %%r11d, %%r11d
        \\ xorl %%r12d, %%r12d
        \\ xorl %%r13d, %%r13d
        \\ xorl %%r14d, %%r14d
        \\ xorl %%r15d, %%r15d
        \\ outb %%al, %[port]
        \\ popq %%r15
        \\ popq %%r14
        \\ popq %%r13
        \\ popq %%r12
        \\ popq %%rbp
        \\ popq %%rbx
        \\ retq
        :
        : [port] "N" (@as(u8, ghcb.port)),
    );
}

comptime {
    if (tee.current == .sev) @export(&bareExit, .{ .name = "leaveBare" });
}

pub fn map(region: machine.Region, address: u64, first: u64, blocks: u64) bool {
    return call(switch (region) {
        .segments => .segments,
        .read_only_segments => .read_only_segments,
        .contents => .contents,
        .linear => .linear,
    }, .{ .address = address, .physical = physical(first), .blocks = blocks });
}

pub fn mapTail(address: u64, block: u64, first: u64, end: u64) bool {
    return call(.tail, .{ .address = address, .physical = physical(block), .blocks = 1, .first = first, .end = end });
}

pub fn lock(address: u64, blocks: u64) bool {
    return call(.lock, .{ .address = address, .blocks = blocks });
}

pub fn trap() machine.Trap {
    return @as(*const volatile machine.Trap, @ptrFromInt(layout.trap_page)).*;
}

export fn _start() callconv(.naked) noreturn {
    asm volatile (
        \\ andq $-16, %%rsp
        \\ xorl %%ebp, %%ebp
        \\ call keepMain
        \\ ud2
    );
}

/// Ring 0 continues here, on the trap stack, after an exception.
export fn trap_entry() callconv(.naked) noreturn {
    asm volatile (
        \\ xorl %%ebp, %%ebp
        \\ call keepTrapped
        \\ ud2
    );
}
