//! `proc_exit`, `proc_raise`, `sched_yield`, `random_get`.
const std = @import("std");
const abi = @import("abi.zig");
const Failure = abi.Failure;
const Wasi = @import("wasi.zig").Wasi;

pub fn proc_exit(self: *Wasi, code: u32) noreturn {
    self.environment.exit(code);
}

/// A signal of the program's to itself has its default effect, since nothing can be installed for it: it is ignored, or
/// ends the program with the code that a shell would show. There is nobody to continue a program that stops itself.
pub fn proc_raise(self: *Wasi, signal: u32) u32 {
    switch (std.enums.fromInt(Signal, signal) orelse return abi.result(error.Invalid)) {
        .none, .chld, .cont, .urg, .winch => return abi.result({}),
        .stop, .tstp, .ttin, .ttou => return abi.result(error.NotSupported),
        else => self.environment.exit(ended_by_signal + signal),
    }
}

const ended_by_signal = 128;

/// `signal` (typenames.witx), numbered as on Linux.
const Signal = enum(u8) {
    none,
    hup,
    int,
    quit,
    ill,
    trap,
    abrt,
    bus,
    fpe,
    kill,
    usr1,
    segv,
    usr2,
    pipe,
    alrm,
    term,
    chld,
    cont,
    stop,
    tstp,
    ttin,
    ttou,
    urg,
    xcpu,
    xfsz,
    vtalrm,
    prof,
    winch,
    poll,
    pwr,
    sys,
};

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
