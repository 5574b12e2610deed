//! What the keep's own functions leave on a stack: copies of keys that compiled code made. The program's wasm code
//! cannot read them; they are wiped all the same, so that keys do not outlive their use.

const layout = @import("layout.zig");

/// More than any function of the keep uses below its caller.
const reach = 48 << 10;

/// The lowest stack address at which the keep used a key while the program ran.
var deepest: usize = layout.stack_end;

/// To be called where keys are used at a depth that the program chooses.
pub inline fn note() void {
    deepest = @min(deepest, @frameAddress());
}

/// Wipes what lies below the caller's frame, as far as functions it called could have reached.
pub inline fn wipeBelow() void {
    const here = @frameAddress();
    const bottom: usize = if (here > layout.stack) layout.stack else layout.trap_stack;
    wipeDownTo(@max(bottom, here -| reach));
}

/// Wipes all that the keep left on the program's stack, for the end: nothing there is needed any more.
pub inline fn wipeAll() void {
    const lowest = @max(layout.stack, deepest -| reach);
    if (@frameAddress() > layout.stack) {
        wipeDownTo(lowest);
    } else { // on the trap stack
        @memset(@as([*]u8, @ptrFromInt(lowest))[0 .. layout.stack_end - lowest], 0);
        wipeDownTo(layout.trap_stack);
    }
}

inline fn wipeDownTo(lowest: usize) void {
    asm volatile ("call *%[wipe]"
        :
        : [wipe] "r" (&wipe),
          [lowest] "{rdi}" (lowest),
        : .{ .rax = true, .rcx = true, .rdi = true, .memory = true });
}

/// Has no frame of its own: everything from rdi up to the stack pointer is dead.
fn wipe() callconv(.naked) void {
    asm volatile (
        \\ xorl %%eax, %%eax
        \\ movq %%rsp, %%rcx
        \\ subq %%rdi, %%rcx
        \\ jbe 1f
        \\ rep stosb
        \\1: retq
    );
}
