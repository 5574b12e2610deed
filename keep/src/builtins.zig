//! What a program may call, by number (docs/protocol.md section 4): WASI preview 1, and the few helpers that
//! wasmtime's code needs. Each is the address of a function in the calling convention of wasmtime's trampolines.

const std = @import("std");
const Keep = @import("keep.zig").Keep;
const Wasi = @import("wasi/wasi.zig").Wasi;

/// One wasm value as the trampolines pass it.
pub const Value = [2]u64;

/// wasmtime's array-call convention: arguments come in `values`, results replace them. false would mean that a trap
/// is pending, which no builtin of the keep reports.
pub const ArrayCall = fn (callee: u64, caller: u64, values: [*]Value, count: usize) callconv(.c) bool;

/// Numbers 0 to 45, in alphabetical order.
const wasi_names = [_][]const u8{
    "args_get",             "args_sizes_get",          "clock_res_get",        "clock_time_get",
    "environ_get",          "environ_sizes_get",       "fd_advise",            "fd_allocate",
    "fd_close",             "fd_datasync",             "fd_fdstat_get",        "fd_fdstat_set_flags",
    "fd_fdstat_set_rights", "fd_filestat_get",         "fd_filestat_set_size", "fd_filestat_set_times",
    "fd_pread",             "fd_prestat_dir_name",     "fd_prestat_get",       "fd_pwrite",
    "fd_read",              "fd_readdir",              "fd_renumber",          "fd_seek",
    "fd_sync",              "fd_tell",                 "fd_write",             "path_create_directory",
    "path_filestat_get",    "path_filestat_set_times", "path_link",            "path_open",
    "path_readlink",        "path_remove_directory",   "path_rename",          "path_symlink",
    "path_unlink_file",     "poll_oneoff",             "proc_exit",            "proc_raise",
    "random_get",           "sched_yield",             "sock_accept",          "sock_recv",
    "sock_send",            "sock_shutdown",
};

const memory_grow = 64;
const memory_copy = 65;
const memory_fill = 66;
const trap = 67;

/// The address of a builtin, or null if there is none of that number.
pub fn address(number: u32) ?u64 {
    if (number < wasi_names.len) return @intFromPtr(wasi_table[number]);
    return switch (number) {
        memory_grow => @intFromPtr(&grow),
        memory_copy => @intFromPtr(&copy),
        memory_fill => @intFromPtr(&fill),
        trap => @intFromPtr(&unsupported),
        else => null,
    };
}

const wasi_table = blk: {
    @setEvalBranchQuota(10_000);
    var table: [wasi_names.len]*const ArrayCall = undefined;
    for (wasi_names, &table) |name, *entry| entry.* = wrap(name);
    break :blk table;
};

/// Wraps a method of `Wasi`, whose parameters are u32 or u64 as the function's wasm type says.
fn wrap(comptime name: []const u8) *const ArrayCall {
    const method = @field(Wasi, name);
    const parameters = @typeInfo(@TypeOf(method)).@"fn".param_types;
    return struct {
        fn call(_: u64, _: u64, values: [*]Value, _: usize) callconv(.c) bool {
            const keep = Keep.current();
            var arguments: std.meta.ArgsTuple(@TypeOf(method)) = undefined;
            arguments[0] = &keep.wasi;
            inline for (1..parameters.len) |index| arguments[index] = @truncate(values[index - 1][0]);
            const result = @call(.auto, method, arguments);
            keep.deliver();
            values[0] = .{ result, 0 };
            return true;
        }
    }.call;
}

/// memory.grow by `delta` wasm pages; the old size in pages, or all ones.
fn grow(_: u64, delta: u64, _: u32) callconv(.c) u64 {
    return Keep.current().growMemory(delta) orelse std.math.maxInt(u64);
}

/// memory.copy; wasmtime's code has checked the bounds.
fn copy(_: u64, destination: [*]u8, source: [*]const u8, length: usize) callconv(.c) u8 {
    @memmove(destination[0..length], source[0..length]);
    return 1;
}

/// memory.fill; wasmtime's code has checked the bounds.
fn fill(_: u64, destination: [*]u8, byte: u32, length: usize) callconv(.c) u8 {
    @memset(destination[0..length], @truncate(byte));
    return 1;
}

/// Any other helper: the tenant's compiler was to refuse programs that need one.
fn unsupported() callconv(.naked) noreturn {
    asm volatile ("ud2");
}
