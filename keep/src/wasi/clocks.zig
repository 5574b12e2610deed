//! Clocks: `clock_*`. Time is the tenant's claim at the start plus the processor's counter, whose rate is a hint
//! of the host's: good for a program's timers, not for a decision about security.
const abi = @import("abi.zig");
const Failure = abi.Failure;
const Wasi = @import("wasi.zig").Wasi;

/// Nanoseconds: the unit in which both clocks count.
const resolution: u64 = 1;

pub fn clock_res_get(self: *Wasi, clock: u32, out: u32) u32 {
    return abi.result(res(self, clock, out));
}

/// The precision asked for is never coarser than what the clocks have.
pub fn clock_time_get(self: *Wasi, clock: u32, precision: u64, out: u32) u32 {
    _ = precision;
    return abi.result(time(self, clock, out));
}

fn res(self: *Wasi, clock: u32, out: u32) Failure!void {
    _ = try clockOf(clock);
    try self.memory().store(u64, out, resolution);
}

fn time(self: *Wasi, clock: u32, out: u32) Failure!void {
    const reading = switch (try clockOf(clock)) {
        .realtime => self.environment.realtime(),
        .monotonic => self.environment.monotonic(),
    };
    try self.memory().store(u64, out, reading);
}

/// "For unsupported clocks, return errno::inval" (clock_res_get in wasi_snapshot_preview1.witx).
pub fn clockOf(number: u32) error{Invalid}!abi.Clock {
    return switch (number) {
        0 => .realtime,
        1 => .monotonic,
        else => error.Invalid,
    };
}
