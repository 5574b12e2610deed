//! `proc_exit`, `proc_raise`, `sched_yield`, `random_get`.
const abi = @import("abi.zig");
const Failure = abi.Failure;
const Wasi = @import("wasi.zig").Wasi;

pub fn proc_exit(self: *Wasi, code: u32) noreturn {
    self.environment.exit(code);
}

/// There are no signals.
pub fn proc_raise(self: *Wasi, signal: u32) u32 {
    _ = self;
    _ = signal;
    return abi.result(error.NotImplemented);
}

/// There is nothing else to run.
pub fn sched_yield(self: *Wasi) u32 {
    _ = self;
    return abi.result({});
}

pub fn random_get(self: *Wasi, buffer: u32, length: u32) u32 {
    return abi.result(random(self, buffer, length));
}

fn random(self: *Wasi, buffer: u32, length: u32) Failure!void {
    const destination = try self.memory().slice(buffer, length);
    if (destination.len > 0) self.environment.random(destination);
}
