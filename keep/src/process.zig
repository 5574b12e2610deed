//! The process kinds' machine: a Linux process that has given up everything but an exit. The machine starts it with
//!
//!     descriptor 3  the window, a shared memory file of 1 MiB
//!     descriptor 4  exits, a stream socket: one byte out is an exit, one byte in continues
//!     descriptor 5  the configuration page, then the launch page; read once and closed
//!
//! and nothing else. Memory has the same virtual addresses as in a guest. It protects against a host that
//! can neither be root on this computer nor trace this process; docs/host-interface.md says what it is for.

const layout = @import("layout.zig");
const linux = @import("linux.zig");
const machine = @import("machine.zig");
const sandbox = @import("sandbox.zig");

const window_descriptor = 3;
const pages_descriptor = 5;

/// Statuses of a process that could not become a keep, or lost its machine; the machine reports them.
const status = struct {
    const memory = 1;
    const pages = 2;
    const signals = 3;
    const restrictions = 4;
    const lost_machine = 5;
};

/// On the stack that the kernel made: sets up memory, then leaves that stack for good.
export fn _start() callconv(.naked) noreturn {
    asm volatile (
        \\ xorl %%ebp, %%ebp
        \\ andq $-16, %%rsp
        \\ call processBegin
        \\ movl %[stack], %%esp
        \\ call keepMain
        \\ ud2
        :
        : [stack] "i" (layout.stack_end - 64),
    );
}

export fn processBegin() callconv(.c) void {
    withdraw();
    const whole = [_][3]u64{
        .{ layout.launch_page, layout.configuration_page + layout.page, read_write },
        .{ layout.trap_stack, layout.trap_stack_end, read_write },
        .{ layout.buffers, layout.buffers_end, read_write },
        .{ layout.stack, layout.stack_end, read_write },
        .{ layout.segments, layout.contents_end, linux.protection.none },
        .{ layout.linear, layout.linear_guard_end, linux.protection.none },
    };
    for (whole) |range| if (!linux.reserve(range[0], range[1] - range[0], range[2])) end(status.memory);
    const window = linux.call(.mmap, layout.window, layout.window_size, read_write, linux.map.shared | linux.map.fixed_no_replace, window_descriptor, 0);
    if (window != layout.window) end(status.memory);
    for ([_]u64{ layout.contents, layout.linear }) |first| if (!linux.protect(first, layout.block, read_write)) end(status.memory);
    readPage(layout.configuration_page);
    readPage(layout.launch_page);
    if (!linux.protect(layout.configuration_page, layout.page, linux.protection.read)) end(status.memory);
    _ = linux.call(.close, window_descriptor, 0, 0, 0, 0, 0);
    _ = linux.call(.close, pages_descriptor, 0, 0, 0, 0, 0);
}

fn readPage(address: u64) void {
    var filled: u64 = 0;
    while (filled < layout.page) {
        const count = linux.call(.read, pages_descriptor, address + filled, layout.page - filled, 0, 0, 0);
        if (count == linux.eintr) continue;
        if (count <= 0) end(status.pages);
        filled += @intCast(count);
    }
}

/// Nobody dumps or traces this process, it gains no privilege, and it ends with its parent.
fn withdraw() void {
    const pr_set_pdeathsig = 1;
    const pr_set_dumpable = 4;
    const pr_set_no_new_privs = 38;
    const rlimit_core = 4;
    const done = linux.call(.prctl, pr_set_pdeathsig, linux.signal.kill, 0, 0, 0, 0) == 0 and
        linux.call(.prctl, pr_set_dumpable, 0, 0, 0, 0, 0) == 0 and
        linux.call(.prctl, pr_set_no_new_privs, 1, 0, 0, 0, 0) == 0 and
        linux.call(.prlimit64, 0, rlimit_core, @intFromPtr(&[2]u64{ 0, 0 }), 0, 0, 0) == 0;
    if (!done) end(status.restrictions);
}

/// Linux gives it so.
pub const memory_is_zero = true;

/// Traps come to us; from here on only exits and `mprotect` are left.
pub fn start() void {
    takeSignals();
    if (!sandbox.enterLoading()) end(status.restrictions);
}

fn takeSignals() void {
    const stack: linux.signal.Stack = .{ .base = layout.trap_stack, .size = layout.trap_stack_end - layout.trap_stack };
    if (linux.call(.sigaltstack, @intFromPtr(&stack), 0, 0, 0, 0, 0) != 0) end(status.signals);
    const action: linux.signal.Action = .{
        .handler = @intFromPtr(&onSignal),
        .flags = linux.signal.info_flag | linux.signal.on_stack | linux.signal.restorer,
        .restorer = @intFromPtr(&neverReturn),
        .mask = ~@as(u64, 0), // a trap in the trap handler ends the process
    };
    const signals = [_]u64{ linux.signal.illegal, linux.signal.trap, linux.signal.bus, linux.signal.floating_point, linux.signal.segmentation, linux.signal.system_call };
    for (signals) |number| if (linux.call(.rt_sigaction, number, @intFromPtr(&action), 0, 8, 0, 0) != 0) end(status.signals);
}

var last_trap: machine.Trap = undefined;

extern fn keepTrapped() callconv(.c) noreturn;

fn onSignal(number: i32, _: *const anyopaque, context: *const linux.signal.Context) callconv(.c) noreturn {
    const registers = &context.registers;
    const register = linux.signal.register;
    last_trap = .{
        .vector = registers[register.vector],
        .error_code = registers[register.error_code],
        .instruction = registers[register.rip],
        .fault_address = registers[register.cr2],
        .stack_pointer = registers[register.rsp],
        .frame_pointer = registers[register.rbp],
    };
    // A system call of the program's own is an instruction that a keep does not have.
    if (number == linux.signal.system_call) {
        last_trap.vector = 6;
        last_trap.error_code = 0;
        last_trap.fault_address = 0;
        last_trap.instruction -|= 2;
    }
    keepTrapped();
}

fn neverReturn() callconv(.naked) noreturn {
    asm volatile ("ud2");
}

pub fn trap() machine.Trap {
    return last_trap;
}

pub fn leave() void {
    var byte: u8 = 0;
    transfer(.write, &byte);
    transfer(.read, &byte);
}

/// One byte; a machine that is gone is the end.
fn transfer(direction: linux.Number, byte: *u8) void {
    while (true) {
        const count = linux.call(direction, sandbox.exit_descriptor, @intFromPtr(byte), 1, 0, 0, 0);
        if (count == 1) return;
        if (count != linux.eintr) end(status.lost_machine);
    }
}

const read_write = linux.protection.read | linux.protection.write;

pub fn map(region: machine.Region, address: u64, _: u64, blocks: u64) bool {
    return linux.protect(address, blocks * layout.block, if (region == .read_only_segments) linux.protection.read else read_write);
}

pub fn mapTail(address: u64, _: u64, first: u64, last: u64) bool {
    return linux.protect(address + first * layout.wasm_page, (last - first) * layout.wasm_page, read_write);
}

pub fn lock(address: u64, blocks: u64) bool {
    return linux.protect(address, blocks * layout.block, linux.protection.read | linux.protection.execute) and sandbox.enterRunning();
}

fn end(code: u64) noreturn {
    while (true) _ = linux.call(.exit_group, code, 0, 0, 0, 0, 0);
}
