//! What a keep of a process kind may ask of Linux, as seccomp filters (linux/seccomp.h, linux/filter.h). The first
//! is installed before anything secret exists; the second, with the lock, leaves no way to an executable page.

const layout = @import("layout.zig");
const linux = @import("linux.zig");

/// The descriptor for exits; the only one that is open by then.
pub const exit_descriptor = 4;

const Instruction = extern struct { code: u16, if_true: u8 = 0, if_false: u8 = 0, operand: u32 };

const load_word = 0x20; // BPF_LD | BPF_W | BPF_ABS
const jump_equal = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const jump_at_least = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const return_value = 0x06; // BPF_RET | BPF_K

const allow = 0x7FFF_0000;
/// SIGSYS: reported to the tenant like any other trap.
const trap = 0x0003_0000;
const kill_process = 0x8000_0000;

/// Offsets in `struct seccomp_data`.
const data = struct {
    const number = 0;
    const architecture = 4;
    fn argument(comptime index: u32) u32 {
        return 16 + 8 * index;
    }
    fn argumentHigh(comptime index: u32) u32 {
        return 20 + 8 * index;
    }
};
const architecture_x86_64 = 0xC000_003E;

/// Another calling convention than x86-64's ends the process; a call that no rule allows is a trap.
const prologue = [_]Instruction{
    .{ .code = load_word, .operand = data.architecture },
    .{ .code = jump_equal, .operand = architecture_x86_64, .if_true = 1 },
    .{ .code = return_value, .operand = kill_process },
    .{ .code = load_word, .operand = data.number },
};
const epilogue = [_]Instruction{.{ .code = return_value, .operand = trap }};

fn anyArguments(comptime number: linux.Number) [2]Instruction {
    return .{
        .{ .code = jump_equal, .operand = @backingInt(number), .if_false = 1 },
        .{ .code = return_value, .operand = allow },
    };
}

/// `read` or `write` on the exit descriptor.
fn onExitDescriptor(comptime number: linux.Number) [5]Instruction {
    return .{
        .{ .code = jump_equal, .operand = @backingInt(number), .if_false = 4 },
        .{ .code = load_word, .operand = data.argument(0) },
        .{ .code = jump_equal, .operand = exit_descriptor, .if_false = 1 },
        .{ .code = return_value, .operand = allow },
        .{ .code = return_value, .operand = trap },
    };
}

/// `mprotect` of what is reserved for the program: read, read-write or read-execute.
const mprotect_loading = [_]Instruction{
    .{ .code = jump_equal, .operand = @backingInt(linux.Number.mprotect), .if_false = 10 },
    .{ .code = load_word, .operand = data.argumentHigh(0) },
    .{ .code = jump_at_least, .operand = 1, .if_true = 2 },
    .{ .code = load_word, .operand = data.argument(0) },
    .{ .code = jump_at_least, .operand = layout.segments, .if_false = 5 },
    .{ .code = load_word, .operand = data.argument(2) },
    .{ .code = jump_equal, .operand = linux.protection.read, .if_true = 2 },
    .{ .code = jump_equal, .operand = linux.protection.read | linux.protection.write, .if_true = 1 },
    .{ .code = jump_equal, .operand = linux.protection.read | linux.protection.execute, .if_false = 1 },
    .{ .code = return_value, .operand = allow },
    .{ .code = return_value, .operand = trap },
};

/// `mprotect` above the segments, to read-write and nothing else.
const mprotect_running = [_]Instruction{
    .{ .code = jump_equal, .operand = @backingInt(linux.Number.mprotect), .if_false = 8 },
    .{ .code = load_word, .operand = data.argumentHigh(0) },
    .{ .code = jump_at_least, .operand = 1, .if_true = 2 },
    .{ .code = load_word, .operand = data.argument(0) },
    .{ .code = jump_at_least, .operand = layout.contents, .if_false = 3 },
    .{ .code = load_word, .operand = data.argument(2) },
    .{ .code = jump_equal, .operand = linux.protection.read | linux.protection.write, .if_false = 1 },
    .{ .code = return_value, .operand = allow },
    .{ .code = return_value, .operand = trap },
};

const loading = prologue ++ onExitDescriptor(.read) ++ onExitDescriptor(.write) ++ mprotect_loading ++
    anyArguments(.seccomp) ++ anyArguments(.exit_group) ++ epilogue;
const running = prologue ++ onExitDescriptor(.read) ++ onExitDescriptor(.write) ++ mprotect_running ++
    anyArguments(.exit_group) ++ epilogue;

/// Before anything secret exists.
pub fn enterLoading() bool {
    return install(&loading);
}

/// With the lock: filters add up, so this one only takes away.
pub fn enterRunning() bool {
    return install(&running);
}

const set_mode_filter = 1;

fn install(filter: []const Instruction) bool {
    const program: extern struct { length: u16, filter: [*]const Instruction } = .{ .length = @intCast(filter.len), .filter = filter.ptr };
    return linux.call(.seccomp, set_mode_filter, 0, @intFromPtr(&program), 0, 0, 0) == 0;
}
