//! Arguments and environment variables: `args_*`, `environ_*`.
const abi = @import("abi.zig");
const memory_ = @import("memory.zig");
const Failure = abi.Failure;
const Memory = memory_.Memory;
const Wasi = @import("wasi.zig").Wasi;

pub fn args_get(self: *Wasi, pointers: u32, buffer: u32) u32 {
    const environment = &self.environment;
    return abi.result(strings(self.memory(), pointers, buffer, environment.arguments, environment.argument_count));
}

pub fn args_sizes_get(self: *Wasi, count_out: u32, size_out: u32) u32 {
    const environment = &self.environment;
    return abi.result(sizes(self.memory(), count_out, size_out, environment.arguments, environment.argument_count));
}

pub fn environ_get(self: *Wasi, pointers: u32, buffer: u32) u32 {
    const environment = &self.environment;
    return abi.result(strings(self.memory(), pointers, buffer, environment.variables, environment.variable_count));
}

pub fn environ_sizes_get(self: *Wasi, count_out: u32, size_out: u32) u32 {
    const environment = &self.environment;
    return abi.result(sizes(self.memory(), count_out, size_out, environment.variables, environment.variable_count));
}

fn sizes(memory: Memory, count_out: u32, size_out: u32, text: []const u8, count: u32) Failure!void {
    try memory.check(count_out, 4);
    try memory.check(size_out, 4);
    try memory.store(u32, count_out, count);
    try memory.store(u32, size_out, @intCast(text.len));
}

/// Copies the strings and, for each, the address where it now begins.
fn strings(memory: Memory, pointers: u32, buffer: u32, text: []const u8, count: u32) Failure!void {
    try memory.check(pointers, @as(u64, count) * 4);
    try memory.storeBytes(buffer, text);
    var found: u32 = 0;
    var begin: usize = 0;
    for (text, 0..) |byte, i| if (byte == 0) {
        if (found == count) return; // the loader counted them; never write more pointers than it said
        try memory.store(u32, try memory_.element(pointers, found, 4), try memory_.element(buffer, begin, 1));
        found += 1;
        begin = i + 1;
    };
}
