//! What the keep's own functions leave on a stack: copies of keys that compiled code made. The program's wasm code
//! cannot read them; they are wiped all the same, so that keys do not outlive their use.

const layout = @import("layout.zig");

/// More than any function of the keep uses below its caller.
const reach = 48 << 10;

/// The lowest stack address at which the keep used a key while the program ran.
var deepest: usize = layout.stack_end;

/// To be called where keys are used at a depth that the program chooses.
pub fn note() void {
    deepest = @min(deepest, @frameAddress());
}

/// Wipes what lies below the caller's frame, as far as functions it called could have reached.
pub noinline fn wipeBelow() void {
    const here = @frameAddress();
    const bottom: usize = if (here > layout.stack) layout.stack else layout.trap_stack;
    wipe(@max(bottom, here -| reach), here -| 256);
}

/// Wipes all that the keep left on the program's stack, for the end: nothing there is needed any more.
pub noinline fn wipeAll() void {
    const here = @frameAddress();
    wipe(@max(layout.stack, deepest -| reach), if (here > layout.stack) here -| 256 else layout.stack_end);
    if (here < layout.stack) wipeBelow();
}

inline fn wipe(from: usize, to: usize) void {
    if (from >= to) return;
    asm volatile ("rep stosb"
        :
        : [address] "{rdi}" (from),
          [count] "{rcx}" (to - from),
          [zero] "{al}" (@as(u8, 0)),
        : .{ .rdi = true, .rcx = true, .memory = true });
}
